package bus

import (
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// Kind is what a client says it is. It grants nothing by itself (spec/02 "Who
// may do what").
type Kind string

// The kinds of clients on a socket, and that of the members in process.
const (
	KindCLI    Kind = "cli"
	KindAgent  Kind = "agent"
	KindUI     Kind = "ui"
	KindTUI    Kind = "tui"
	KindTool   Kind = "tool"
	KindDaemon Kind = "daemon"
)

// Config holds the limits of a bus. Zero values are replaced by defaults.
type Config struct {
	// Codec is the registry and the body limit.
	Codec rmp.Codec
	// MaxTTL is the largest time to live that a publisher may ask for.
	// Default 24 h.
	MaxTTL time.Duration
	// PublishWait is how long a publisher waits for room in the queues of
	// its subscribers, all together. Default 250 ms.
	PublishWait time.Duration
	// LagLimit is how long a subscriber may go on losing frames until it is
	// disconnected. Default 2 s.
	LagLimit time.Duration
	// QueueMessages and QueueBytes bound the queue of a subscription that
	// does not say otherwise. Default 1024 and 8 MiB.
	QueueMessages int
	QueueBytes    int
	// DedupeIDs is how many of the last frames of a subscription are
	// remembered at least, to recognise those that come again. It costs less
	// than a byte for each frame of one publisher in a row, and up to 96 for
	// frames that have nothing in common. Default 4096, negative for none.
	DedupeIDs int
	// DropNotices is how many drop notices are published a second at most.
	// Default 10, negative for none.
	DropNotices int
	// Log is told about disconnected subscribers. Default is nobody.
	Log *slog.Logger
}

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	if c.MaxTTL <= 0 {
		c.MaxTTL = 24 * time.Hour
	}
	if c.PublishWait <= 0 {
		c.PublishWait = 250 * time.Millisecond
	}
	if c.LagLimit <= 0 {
		c.LagLimit = 2 * time.Second
	}
	if c.DedupeIDs == 0 {
		c.DedupeIDs = 4096
	}
	if c.DropNotices == 0 {
		c.DropNotices = 10
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.QueueMessages = orDefault(c.QueueMessages, 1024)
	c.QueueBytes = orDefault(c.QueueBytes, 8<<20)
	return c
}

// Bus routes frames from publishers to subscriptions. The zero value is not
// usable; see [New].
type Bus struct {
	cfg     Config
	clock   *clock
	seed    maphash.Seed // of topic hashes
	notices notices
	drops   [len(reasonNames)]atomic.Uint64
	late    atomic.Uint64 // copies that were queued after a wait

	// gen changes with the tree, so that publishers know when the routes
	// that they remember are out of date.
	gen atomic.Uint64

	mu       sync.RWMutex // of all below
	tree     node
	targets  map[*target]struct{}
	members  map[*Client]struct{}
	watchers map[*watcher]struct{}
	closers  []func()     // what Close ends besides members
	past     publishStats // of publishers that are gone
	closed   bool
}

// target is where frames for one filter go: a subscription in process or one
// of a connection.
type target struct {
	filter string
	queue  string // name of its group, "" for none
	owner  string // name of its client, for blame
	gate   *gate
	out    *outbox       // of a connection, or
	sub    *Subscription // in process, or
	handle func(*Msg)    // of a connection at its other end
	seen   seenSet       // under the gate's lock, unused in a group
	end    func(why error)
}

// group is the queue group of some targets with the same filter.
type group struct {
	name string

	mu      sync.Mutex
	seen    seenSet
	members []*target // replaced, never changed
	next    int       // whose turn it is
}

// New returns a bus without members.
func New(cfg Config) *Bus {
	b := &Bus{
		cfg:      cfg.withDefaults(),
		clock:    newClock(),
		seed:     maphash.MakeSeed(),
		targets:  make(map[*target]struct{}),
		members:  make(map[*Client]struct{}),
		watchers: make(map[*watcher]struct{}),
	}
	b.gen.Store(1)
	b.notices.start(b)
	return b
}

// Close ends the bus: all its subscriptions, clients and servers. It always
// returns nil, and may be called again.
func (b *Bus) Close() error {
	b.closeFor(ErrClosed)
	return nil
}

// closeFor is Close for a reason, which subscriptions that are nobody's end
// with.
func (b *Bus) closeFor(why error) {
	b.mu.Lock()
	b.closed = true
	targets := slices.Collect(maps.Keys(b.targets))
	members := slices.Collect(maps.Keys(b.members))
	closers := b.closers
	b.closers = nil
	b.mu.Unlock()
	for _, end := range closers {
		end()
	}
	for _, c := range members {
		_ = c.Close()
	}
	for _, t := range targets {
		if t.out == nil { // the others ended with their server
			t.end(why)
		}
	}
}

// newSeen returns a memory for the frames of one subscription.
func (b *Bus) newSeen() seenSet {
	return seenSet{max: b.cfg.DedupeIDs, age: b.cfg.MaxTTL, at: -1}
}

// add puts a target into the tree.
func (b *Bus) add(t *target) error {
	if err := CheckFilter(t.filter); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosed
	}
	n := b.tree.find(t.filter)
	if t.queue == "" {
		n.subs = append(n.subs, t)
	} else {
		b.join(n, t)
	}
	b.targets[t] = struct{}{}
	b.gen.Add(1)
	b.tell(t.filter)
	return nil
}

// join puts a target into its group at n.
func (b *Bus) join(n *node, t *target) {
	i := slices.IndexFunc(n.groups, func(g *group) bool { return g.name == t.queue })
	if i < 0 {
		i = len(n.groups)
		n.groups = append(n.groups, &group{name: t.queue, seen: b.newSeen()})
	}
	g := n.groups[i]
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = append(slices.Clip(g.members), t)
}

// remove takes a target out of the tree.
func (b *Bus) remove(t *target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.targets[t]; !ok {
		return
	}
	delete(b.targets, t)
	n := b.tree.find(t.filter)
	n.subs = without(n.subs, t)
	n.groups = slices.DeleteFunc(n.groups, func(g *group) bool {
		return g.name == t.queue && g.part(t)
	})
	b.tree.prune(t.filter)
	b.gen.Add(1)
	b.tell(t.filter)
}

// part takes a target out of the group and reports whether it was the last.
func (g *group) part(t *target) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = without(slices.Clone(g.members), t)
	return len(g.members) == 0
}

// route is where the frames of one topic go, as of one generation of the tree.
type route struct {
	topic   string
	hash    uint64
	daemon  bool // only the daemon may publish to it
	targets []*target
	groups  []*group
}

// lookup finds the route of a topic.
func (b *Bus) lookup(topic string) (*route, error) {
	if err := CheckTopic(topic); err != nil {
		return nil, err
	}
	r := &route{topic: topic, hash: maphash.String(b.seed, topic), daemon: daemonTopic(topic)}
	b.mu.RLock()
	defer b.mu.RUnlock()
	b.tree.match(topic, func(n *node) {
		for _, t := range n.subs {
			if !r.hasConnection(t.out) {
				r.targets = append(r.targets, t)
			}
		}
		r.groups = append(r.groups, n.groups...)
	})
	return r, nil
}

// hasConnection reports whether the route leads to a connection already. A
// connection gets one copy, however many of its subscriptions match: a
// delivery does not say for which of them it came.
func (r *route) hasConnection(out *outbox) bool {
	return out != nil && slices.ContainsFunc(r.targets, func(t *target) bool { return t.out == out })
}

// expire returns the bus time at which a frame that came at now expires, or
// why it cannot be delivered at all.
func (b *Bus) expire(h *rmp.Header, now time.Duration) (time.Duration, error) {
	if h.TTLMS > uint64(b.cfg.MaxTTL/time.Millisecond) {
		return 0, fmt.Errorf("%w: %d ms is over the limit of %s", rmp.ErrInvalidTTL, h.TTLMS, b.cfg.MaxTTL)
	}
	wall := b.clock.wallMS(now)
	if h.Expired(wall) {
		b.clock.sync(now) // the look may be older than a step of the clock
		if wall = b.clock.wallMS(now); h.Expired(wall) {
			return 0, rmp.ErrExpired
		}
	}
	// A sender whose clock is ahead gets no more than its time to live.
	left := min(h.ExpiresAtMS()-wall, h.TTLMS)
	return now + time.Duration(left)*time.Millisecond, nil
}
