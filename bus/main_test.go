package bus_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
	"github.com/tinylib/msgp/msgp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newBus returns a bus that ends with the test.
func newBus(t testing.TB, cfg bus.Config) *bus.Bus {
	b := bus.New(cfg)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// note is a message on a topic; its payload is a number.
func note(topic string, n int) *rmp.Message {
	return &rmp.Message{
		SchemaID: rmp.CTObservation,
		TraceID:  rmp.TraceID{1},
		TTLMS:    60_000,
		Meta:     rmp.Meta{Topic: topic},
		Raw:      msgp.AppendInt(nil, n),
	}
}

// number reads the payload of a note.
func number(t testing.TB, m *bus.Msg) int {
	t.Helper()
	n, _, err := msgp.ReadIntBytes(m.Payload)
	if err != nil {
		t.Fatalf("payload % x: %v", m.Payload, err)
	}
	return n
}

// publish publishes and expects a number of deliveries.
func publish(t testing.TB, c *bus.Client, m *rmp.Message, want int) {
	t.Helper()
	if n, err := c.Publish(t.Context(), m); n != want || err != nil {
		t.Fatalf("Publish to %s = %d, %v, want %d", m.Meta.Topic, n, err, want)
	}
}

// subscribe subscribes.
func subscribe(t testing.TB, c *bus.Client, filter string, opts bus.SubOptions) *bus.Subscription {
	t.Helper()
	s, err := c.Subscribe(filter, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// recv receives the next frame, or fails.
func recv(t testing.TB, s *bus.Subscription) *bus.Msg {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	m, err := s.Recv(ctx)
	if err != nil {
		t.Fatalf("Recv on %s: %v", s.Filter(), err)
	}
	return m
}

// empty fails when there is something to receive.
func empty(t testing.TB, s *bus.Subscription) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if m, err := s.Recv(ctx); err == nil {
		t.Fatalf("%s got a frame on %s", s.Filter(), m.Topic)
	}
}

// isReset reports whether a peer hung up with bytes of ours unread.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
