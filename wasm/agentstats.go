package wasm

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// agentCounters count what one agent did since the host was made, in all of
// its instances.
type agentCounters struct {
	hostcalls atomic.Uint64
	denied    atomic.Uint64
	messages  atomic.Uint64 // that a resident took out of its mailbox
	dropped   atomic.Uint64 // mail that it refused or let expire
	restarts  atomic.Uint64
	crashes   atomic.Uint64
	busy      atomic.Int64 // nanoseconds inside of the guest
	running   atomic.Int32 // attempts
	memory    atomic.Uint64
	peak      atomic.Uint64

	mu       sync.Mutex
	attempts map[string]uint64 // by status
	life     Life
	digest   string
	last     string // how the last crash was named
}

// AgentStats are the counts of one agent since the host was made.
type AgentStats struct {
	Attempts  map[string]uint64 `json:"attempts"` // by status, such as rmp.StatusOK
	Hostcalls uint64            `json:"hostcalls"`
	Denied    uint64            `json:"denied"`
	Messages  uint64            `json:"messages"`     // taken out of the mailbox
	Dropped   uint64            `json:"mail_dropped"` // expired or not acceptable, after the bus had delivered it
	Restarts  uint64            `json:"restarts"`
	Crashes   uint64            `json:"crashes"` // traps, exhausted memory, deadlines and the like
	// BusyMicros is time inside of guests: from the moment one is called until
	// it returns or calls the host, on the wall's clock. On a machine with
	// processors to spare that is its processor time.
	BusyMicros int64 `json:"busy_us"`
	// MemoryBytes is the linear memory of its instances as the last of them
	// had it, PeakBytes the most that one ever had.
	MemoryBytes uint64 `json:"memory_bytes"`
	PeakBytes   uint64 `json:"memory_peak_bytes"`
}

func (c *agentCounters) read() AgentStats {
	c.mu.Lock()
	attempts := maps.Clone(c.attempts)
	c.mu.Unlock()
	if attempts == nil {
		attempts = map[string]uint64{}
	}
	return AgentStats{
		Attempts: attempts, Hostcalls: c.hostcalls.Load(), Denied: c.denied.Load(),
		Messages: c.messages.Load(), Dropped: c.dropped.Load(), Restarts: c.restarts.Load(),
		Crashes: c.crashes.Load(), BusyMicros: c.busy.Load() / int64(time.Microsecond),
		MemoryBytes: c.memory.Load(), PeakBytes: c.peak.Load(),
	}
}

// called and refused count a hostcall and a denial. A nil counter, in tests of
// the door alone, counts nothing.
func (c *agentCounters) called() {
	if c != nil {
		c.hostcalls.Add(1)
	}
}

func (c *agentCounters) refused() {
	if c != nil {
		c.denied.Add(1)
	}
}

// ended counts an attempt.
func (c *agentCounters) ended(status string, memory uint64) {
	c.mu.Lock()
	if c.attempts == nil {
		c.attempts = map[string]uint64{}
	}
	c.attempts[status]++
	c.mu.Unlock()
	if memory > 0 {
		c.sawMemory(memory)
	}
}

func (c *agentCounters) sawMemory(size uint64) {
	c.memory.Store(size)
	for old := c.peak.Load(); size > old && !c.peak.CompareAndSwap(old, size); old = c.peak.Load() {
	}
}

// crashed notes how the agent ended that did not mean to.
func (c *agentCounters) crashed(how string) {
	c.crashes.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = how
}

func (c *agentCounters) lastCrash() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// seen notes which bundle is the agent's now.
func (c *agentCounters) seen(b *Bundle, life Life) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.life, c.digest = life, b.Digest
}

func (c *agentCounters) bundle() (life Life, digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.life, c.digest
}

// counters are those of all agents of a host, by reference.
type counters struct {
	mu sync.Mutex
	of map[string]*agentCounters
}

// countersMax bounds how many agents are told apart: references come from
// requests. Whatever goes beyond is counted as one.
const countersMax = 4096

// overflowRef is who the rest is counted as; no agent can have that name.
const overflowRef = "…"

func (c *counters) get(ref string) *agentCounters {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]*agentCounters{}
	}
	a := c.of[ref]
	if a == nil && len(c.of) >= countersMax {
		ref = overflowRef
		a = c.of[ref]
	}
	if a == nil {
		a = &agentCounters{}
		c.of[ref] = a
	}
	return a
}

func (c *counters) refs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.of))
}

// meter measures the time that one instance spends inside of its guest.
type meter struct {
	count *agentCounters
	since time.Time // that it is inside; zero outside
}

// enter and leave are called where the guest is called or returns, and where
// it calls the host and goes on. A nil meter measures nothing.
func (m *meter) enter() {
	if m != nil {
		m.since = time.Now()
	}
}

func (m *meter) leave() {
	if m != nil && !m.since.IsZero() && m.count != nil {
		m.count.busy.Add(int64(time.Since(m.since)))
		m.since = time.Time{}
	}
}
