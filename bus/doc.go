// Package bus carries frames of package rmp between the members of one
// process, and through a Unix socket to those of others. Every crossing
// between the engine, agents, tools and user interfaces is a publish here.
//
//	b := bus.New(bus.Config{})
//	host := b.Client("host", bus.KindDaemon)
//	requests, err := host.Subscribe("agent/writer", bus.SubOptions{Queue: "hosts"})
//	…
//	m, err := requests.Recv(ctx)
//
// # Topics
//
// A topic is levels separated by "/". A filter may have "+" for one level and
// a last "#" for the rest. A frame goes to each subscription whose filter
// takes its topic; of the subscriptions in one queue group, which have the
// same filter and group name, it goes to one. A publisher learns how many took
// it, and so whether anybody was there.
//
// # Order
//
// A subscription gets the frames of one publisher on one topic in the order in
// which they were published. Frames of different publishers, or on different
// topics, come in the order in which they reached its queue; two subscriptions
// may see them differently. There is no order between the members of a queue
// group. A publisher is one [Client], or one connection: goroutines that share
// a client are ordered by its lock.
//
// # At most once
//
// A subscription gets a frame once: the pair of trace id and message id, on
// one topic, is remembered, and a frame that comes again is dropped as a
// duplicate. The memory is bounded; [Config.DedupeIDs] says how many frames it
// holds at least, and [SubStats] counts how often that was too few. Frames are
// lost, and counted, when they expire, when a queue has no room, and with the
// process: whoever needs certainty asks for an answer.
//
// # Time
//
// A frame that is past its time to live is refused at publish. What waits in a
// queue is checked again when it is handed over, by a clock that only goes
// forward: a step of the wall clock expires nothing. A sender whose clock is
// ahead does not get more than the time to live either.
//
// # Back-pressure and blame
//
// Each queue is bounded, in frames and in bytes. A publish offers its frame to
// everybody at once and then waits for those whose queue is full, for no more
// than [Config.PublishWait] all together; publishers that wait for the same
// queue are let in in order. Then the copies that found no room are dropped.
// From its first drop until its queue is half empty a subscription lags: nobody
// waits for it, it gets what fits. When it still drops frames after
// [Config.LagLimit] it is ended with [ErrSlowConsumer]. So a subscriber that
// stops costs every publisher at most one wait, and the others nothing.
//
// Who is to blame is said in three places: [Bus.Subscriptions] has the length
// of each queue, its drops, and whose it is; the log names who was ended; and
// drops are published on [TopicDrops], at a bounded rate, without notices about
// lost notices. [Stats] counts all of them by reason.
//
// A member that publishes to a topic it is itself subscribed to, from the
// goroutine that also receives, cannot make room while it waits: when its
// queue is full it waits for PublishWait and loses the frame.
//
// # Bytes
//
// A frame is encoded once. Its bytes are what every subscriber gets, in this
// process as a shared [Msg] that nobody may change, on a socket as a copy in
// the connection's buffer. Nothing is decoded to be forwarded but the topic.
//
// # Goroutines and locks
//
// In process there are none: the publisher's goroutine puts the message into
// the queues, the receiver's takes it out. A connection has two, one that reads
// and one that writes what could not be written at once.
//
// Locks are taken in this order, and none is held while waiting:
//
//	Client.mu, or that of notices   one publish at a time, first pass
//	Bus.mu                          the tree of filters, the lists of members
//	group.mu                        whose turn it is
//	gate.mu                         a queue: the inbox of a subscription or
//	                                the outbox of a connection
//
// Drop notices and the end of slow subscribers come after all of them are
// free.
package bus
