package main

import (
	"context"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
	"github.com/tinylib/msgp/msgp"
)

const (
	streamTopic  = "bench/stream"
	requestTopic = "agent/bench"
	replyTopic   = "bench/reply/1"
)

// rlpBroker is a bus with its socket. The frame rate of a client is not
// limited, which it is by default; everything else is the default.
func rlpBroker(path string, _ int) error {
	ln, err := bus.Listen(path, 0)
	if err != nil {
		return err
	}
	b := bus.New(bus.Config{PublishWait: time.Minute})
	go func() { _ = b.NewServer(bus.ServerConfig{Name: "bench", FrameRate: -1}).Serve(ln) }()
	ready(path)
	stay()
	return b.Close()
}

// rlpDial connects as a client.
func rlpDial(path, name string) (*bus.Conn, error) {
	return bus.Dial(context.Background(), path, bus.DialOptions{Name: name, Kind: bus.KindCLI,
		Bus: bus.Config{PublishWait: time.Minute}})
}

// message is a frame with a payload of payloadSize bytes.
func message(topic string) *rmp.Message {
	return &rmp.Message{
		SchemaID: rmp.CTObservation,
		TTLMS:    60_000,
		TraceID:  rmp.TraceID{1, 2, 3},
		Meta:     rmp.Meta{Topic: topic},
		Raw:      msgp.AppendBytes(nil, make([]byte, payloadSize-2)),
	}
}

func rlpSub(path string, n int) error {
	c, err := rlpDial(path, "sub")
	if err != nil {
		return err
	}
	m, all := meter{n: n}, make(chan result)
	_, err = c.Handle(context.Background(), streamTopic, "", func(*bus.Msg) {
		if m.add() {
			all <- m.result()
		}
	})
	if err != nil {
		return err
	}
	ready(path)
	return done(<-all)
}

func rlpPub(path string, n int) error {
	c, err := rlpDial(path, "pub")
	if err != nil {
		return err
	}
	ready(path)
	ctx := context.Background()
	m := message(streamTopic)
	for range n {
		m.CreatedAtMS = 0
		if err := c.Send(ctx, m); err != nil {
			return err
		}
	}
	if _, err := c.Ping(ctx); err != nil {
		return err
	}
	stay()
	return nil
}

// rlpReply answers each request on the topic that it names.
func rlpReply(path string, _ int) error {
	c, err := rlpDial(path, "reply")
	if err != nil {
		return err
	}
	ctx := context.Background()
	m := message("")
	_, err = c.Handle(ctx, requestTopic, "", func(req *bus.Msg) {
		meta, err := req.DecodeMeta()
		if err != nil {
			return // the one who asks waits for ever, and that is seen
		}
		m.Meta.Topic, m.Raw, m.CreatedAtMS = meta.From, req.Payload, 0
		_ = c.Send(ctx, m)
	})
	if err != nil {
		return err
	}
	ready(path)
	stay()
	return c.Close()
}

func rlpAsk(path string, n int) error {
	c, err := rlpDial(path, "ask")
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := c.Subscribe(ctx, replyTopic, bus.SubOptions{})
	if err != nil {
		return err
	}
	ready(path)
	m := message(requestTopic)
	m.Meta.From = replyTopic
	r, err := calls(n, func() error {
		m.CreatedAtMS = 0
		if err := c.Send(ctx, m); err != nil {
			return err
		}
		_, err := s.Recv(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return done(r)
}
