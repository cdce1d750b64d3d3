package bus_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
	"github.com/tinylib/msgp/msgp"
)

// benchNote is a message with a payload of 128 bytes.
func benchNote(topic string) *rmp.Message {
	return &rmp.Message{
		SchemaID: rmp.CTObservation,
		TTLMS:    60_000,
		Meta:     rmp.Meta{Topic: topic},
		Raw:      msgp.AppendBytes(nil, make([]byte, 126)),
	}
}

// benchBus returns a bus on which publishers wait for as long as it takes.
func benchBus(b *testing.B) *bus.Bus {
	return newBus(b, bus.Config{PublishWait: time.Minute})
}

// BenchmarkDeliver is publish to deliver between two goroutines. It is measured
// against a channel of messages that are the receiver's own, as a delivery is;
// a channel of pointers to one message that nobody may touch is there as well.
func BenchmarkDeliver(b *testing.B) {
	b.Run("pointer", func(b *testing.B) {
		m := benchNote("a")
		channel(b, func() *rmp.Message { return m })
	})
	b.Run("channel", func(b *testing.B) {
		m := benchNote("a")
		channel(b, func() *rmp.Message {
			own := *m
			own.Raw = bytes.Clone(m.Raw)
			return &own
		})
	})
	b.Run("bus", func(b *testing.B) {
		br := benchBus(b)
		c := br.Client("c", bus.KindDaemon)
		s, err := c.Subscribe("bench/topic", bus.SubOptions{})
		if err != nil {
			b.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				if _, err := s.Recv(context.Background()); err != nil {
					return
				}
			}
		}()
		m := benchNote("bench/topic")
		ctx := context.Background()
		b.ReportAllocs()
		for b.Loop() {
			m.CreatedAtMS = 0
			if n, err := c.Publish(ctx, m); n != 1 || err != nil {
				b.Fatal(n, err)
			}
		}
		_ = s.Close()
		<-done
	})
	b.Run("publish", func(b *testing.B) { // and receive, in turns
		br := benchBus(b)
		c := br.Client("c", bus.KindDaemon)
		s, err := c.Subscribe("bench/topic", bus.SubOptions{})
		if err != nil {
			b.Fatal(err)
		}
		m := benchNote("bench/topic")
		ctx := context.Background()
		b.ReportAllocs()
		for b.Loop() {
			m.CreatedAtMS = 0
			if n, err := c.Publish(ctx, m); n != 1 || err != nil {
				b.Fatal(n, err)
			}
			if _, err := s.Recv(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// channel sends what next returns over a channel with room for as many
// messages as a subscription has.
func channel(b *testing.B, next func() *rmp.Message) {
	c, done := make(chan *rmp.Message, 1024), make(chan struct{})
	go func() {
		defer close(done)
		for range c {
		}
	}()
	for b.Loop() {
		c <- next()
	}
	close(c)
	<-done
}

// BenchmarkSubscribers is one publish to many subscribers of its topic; the
// figure is for one delivery.
func BenchmarkSubscribers(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			br := benchBus(b)
			c := br.Client("c", bus.KindDaemon)
			var subs []*bus.Subscription
			for range n {
				subs = append(subs, subscribe(b, c, "bench/topic", bus.SubOptions{}))
			}
			m, ctx := benchNote("bench/topic"), context.Background()
			for b.Loop() {
				m.CreatedAtMS = 0
				publish(b, c, m, n)
				for _, s := range subs {
					_, _ = s.Recv(ctx)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/delivery")
		})
	}
}

// BenchmarkTopics is publishing to one of many topics, each with a subscriber,
// in turn. Over 256 topics a publisher looks its routes up again.
func BenchmarkTopics(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			br := benchBus(b)
			c := br.Client("c", bus.KindDaemon)
			subs := make([]*bus.Subscription, n)
			notes := make([]*rmp.Message, n)
			for i := range n {
				topic := fmt.Sprintf("rlp/runs/%032d/events", i)
				subs[i], notes[i] = subscribe(b, c, topic, bus.SubOptions{}), benchNote(topic)
			}
			ctx := context.Background()
			i := 0
			for b.Loop() {
				notes[i].CreatedAtMS = 0
				publish(b, c, notes[i], 1)
				_, _ = subs[i].Recv(ctx)
				i = (i + 1) % n
			}
		})
	}
}

// BenchmarkOneShot subscribes to a topic of its own, gets one frame and leaves,
// as a reply topic does, beside many other subscriptions.
func BenchmarkOneShot(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			br := benchBus(b)
			c := br.Client("c", bus.KindDaemon)
			for i := range n {
				subscribe(b, c, fmt.Sprintf("agent/a%d", i), bus.SubOptions{})
			}
			ctx := context.Background()
			m := benchNote("rlp/runs/1/agents/writer/1")
			for b.Loop() {
				s := subscribe(b, c, m.Meta.Topic, bus.SubOptions{})
				m.CreatedAtMS = 0
				publish(b, c, m, 1)
				_, _ = s.Recv(ctx)
				_ = s.Close()
			}
		})
	}
}
