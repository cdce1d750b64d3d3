package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

// inProcessRows measures the bus without sockets, and how its cost grows.
func inProcessRows(rounds int) []row {
	const n = 300_000
	deliver := pair{deliverOurs, func(n int) {
		m := message(streamTopic)
		channel(n, func() *rmp.Message { // each receiver's message is its own, as ours is
			own := *m
			own.Raw = bytes.Clone(m.Raw)
			return &own
		})
	}}
	ours, reference := deliver.perCall(rounds, n)
	rows := []row{compare("in process publish to deliver; reference a channel of messages of one's own", "ns",
		ours, reference, atMost(5))}
	m := message(streamTopic)
	deliver.reference = func(n int) { channel(n, func() *rmp.Message { return m }) }
	ours, reference = deliver.perCall(rounds, n)
	rows = append(rows, compare("in process publish to deliver; reference a channel of one shared pointer", "ns",
		ours, reference, atMost(5)))
	rows = append(rows, growth("subscribers of a topic, one delivery", rounds, perSubscriber)...)
	return append(rows, growth("topics with a subscriber each, one delivery", rounds, perTopic)...)
}

// growth measures a cost at ten, a hundred and a thousand times the size.
func growth(what string, rounds int, cost func(size int) float64) []row {
	var rows []row
	var one []float64
	for range rounds {
		one = append(one, cost(1))
	}
	for _, size := range []int{10, 100, 1000} {
		var many []float64
		for range rounds {
			many = append(many, cost(size))
		}
		rows = append(rows, compare(fmt.Sprintf("%s; %d against 1", what, size), "ns", many, one, atMost(2)))
	}
	return rows
}

// deliverOurs sends n messages from one goroutine to another.
func deliverOurs(n int) {
	b := bus.New(bus.Config{PublishWait: time.Minute})
	defer b.Close()
	c := b.Client("bench", bus.KindDaemon)
	s := must(c.Subscribe(streamTopic, bus.SubOptions{}))
	ctx := context.Background()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range n {
			must(s.Recv(ctx))
		}
	}()
	m := message(streamTopic)
	for range n {
		m.CreatedAtMS = 0
		must(c.Publish(ctx, m))
	}
	<-done
}

// channel sends n messages over a channel as long as a subscription's queue.
func channel(n int, next func() *rmp.Message) {
	c, done := make(chan *rmp.Message, 1024), make(chan struct{})
	go func() {
		defer close(done)
		for range n {
			<-c
		}
	}()
	for range n {
		c <- next()
	}
	<-done
}

// perSubscriber is the cost of one delivery of a frame to many subscribers.
func perSubscriber(size int) float64 {
	topics := make([]string, size)
	for i := range topics {
		topics[i] = streamTopic
	}
	return perDelivery(topics, topics[:1])
}

// perTopic is the cost of one delivery with many topics in turn.
func perTopic(size int) float64 {
	topics := make([]string, size)
	for i := range topics {
		topics[i] = fmt.Sprintf("rlp/runs/%032d/events", i)
	}
	return perDelivery(topics, topics)
}

// perDelivery subscribes to filters, publishes to topics in turn and receives,
// and returns the nanoseconds of one delivery.
func perDelivery(filters, topics []string) float64 {
	const deliveries = 100_000
	b := bus.New(bus.Config{PublishWait: time.Minute})
	defer b.Close()
	c := b.Client("bench", bus.KindDaemon)
	ctx := context.Background()
	byTopic := make(map[string][]*bus.Subscription)
	for _, f := range filters {
		byTopic[f] = append(byTopic[f], must(c.Subscribe(f, bus.SubOptions{})))
	}
	m := message("")
	got, start := 0, time.Now()
	for i := 0; got < deliveries; i++ {
		m.Meta.Topic, m.CreatedAtMS = topics[i%len(topics)], 0
		must(c.Publish(ctx, m))
		for _, s := range byTopic[m.Meta.Topic] {
			must(s.Recv(ctx))
			got++
		}
	}
	return float64(time.Since(start).Nanoseconds()) / float64(got)
}

// must returns x; an error here would be one of the benchmark.
func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}
