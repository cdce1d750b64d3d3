package bus

import (
	"cmp"
	"slices"
)

// Stats are the counts of a bus since it was made, and its present size.
type Stats struct {
	Published uint64            // frames
	Delivered uint64            // copies that were queued
	Drops     map[string]uint64 // copies that were dropped, by reason
	// NoticesSuppressed counts drop notices over the rate limit.
	NoticesSuppressed uint64
	Clients           int // in process
	Subscriptions     int
}

// SubStats is the state of one subscription, or of the connection that it
// shares a queue with.
type SubStats struct {
	Client string
	Filter string
	Queue  string
	// Messages and Bytes are in the queue now.
	Messages int
	Bytes    int
	// Dropped counts copies that found no room.
	Dropped uint64
	// Behind says that it is losing frames now.
	Behind bool
	// DedupeYoung counts frames that were forgotten, for want of memory,
	// while a copy of them could still have been valid.
	DedupeYoung uint64
}

// Stats returns the counts.
func (b *Bus) Stats() Stats {
	b.mu.RLock()
	total := b.past
	s := Stats{
		Drops:         make(map[string]uint64, len(reasonNames)),
		Clients:       len(b.members),
		Subscriptions: len(b.targets),
	}
	members := make([]*Client, 0, len(b.members))
	for c := range b.members {
		members = append(members, c)
	}
	b.mu.RUnlock()
	for _, c := range members {
		c.mu.Lock()
		total.add(c.pub.stats)
		c.mu.Unlock()
	}
	s.Published, s.Delivered = total.published, total.delivered+b.late.Load()
	for reason, name := range reasonNames {
		s.Drops[name] = b.drops[reason].Load()
	}
	b.notices.mu.Lock()
	defer b.notices.mu.Unlock()
	s.NoticesSuppressed = b.notices.suppressed
	return s
}

// Subscriptions returns the state of all subscriptions, sorted by client and
// filter: who is slow, and what it costs.
func (b *Bus) Subscriptions() []SubStats {
	b.mu.RLock()
	targets := make([]*target, 0, len(b.targets))
	for t := range b.targets {
		targets = append(targets, t)
	}
	b.mu.RUnlock()
	all := make([]SubStats, 0, len(targets))
	for _, t := range targets {
		all = append(all, t.stats())
	}
	slices.SortFunc(all, func(x, y SubStats) int {
		return cmp.Or(cmp.Compare(x.Client, y.Client), cmp.Compare(x.Filter, y.Filter))
	})
	return all
}

// stats returns the state of one target.
func (t *target) stats() SubStats {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	t.gate.unseen()
	return SubStats{
		Client:      t.owner,
		Filter:      t.filter,
		Queue:       t.queue,
		Messages:    t.gate.held,
		Bytes:       t.gate.bytes,
		Dropped:     t.gate.dropped,
		Behind:      t.gate.behind != 0,
		DedupeYoung: t.seen.young,
	}
}

// add adds the counts of a publisher.
func (s *publishStats) add(more publishStats) {
	s.published += more.published
	s.delivered += more.delivered
}

// leave takes a client, whose counts are given, off the bus.
func (b *Bus) leave(c *Client, stats publishStats) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.members, c)
	b.past.add(stats)
}
