package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runloop-os/runloop/bus"
)

func TestHandle(t *testing.T) {
	b, _, path := serve(t, bus.Config{}, bus.ServerConfig{})
	c := dial(t, path, bus.KindCLI)
	got := make(chan int, 100)
	stop, err := c.Handle(t.Context(), "a/+", "", func(m *bus.Msg) {
		if m.Topic != "a/b" {
			t.Errorf("topic %s", m.Topic)
		}
		got <- number(t, m)
		if err := c.Send(context.Background(), note("seen", number(t, m))); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	d := b.Client("d", bus.KindDaemon)
	seen := subscribe(t, d, "seen", bus.SubOptions{})
	both := listen(t, c, "a/#", bus.SubOptions{}) // shares the frames
	for i := range 50 {
		publish(t, d, note("a/b", i), 1)
	}
	for i := range 50 {
		if n := <-got; n != i {
			t.Fatalf("handled %d, want %d", n, i)
		}
		if n := number(t, recv(t, both)); n != i {
			t.Fatalf("received %d, want %d", n, i)
		}
		if n := number(t, recv(t, seen)); n != i {
			t.Fatalf("answered %d, want %d", n, i)
		}
	}
	stop()
	stop()
	_ = both.Close()
	if _, err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, d, note("a/b", 1), 0)
	if _, err := c.Handle(t.Context(), "a//", "", func(*bus.Msg) {}); !errors.Is(err, bus.ErrTopic) {
		t.Errorf("a bad filter: %v", err)
	}
}

// TestHandleInAQueue: handlers of two connections share the work.
func TestHandleInAQueue(t *testing.T) {
	b, _, path := serve(t, bus.Config{}, bus.ServerConfig{})
	var counts [2]atomic.Int32
	for i := range counts {
		_, err := dial(t, path, bus.KindCLI).Handle(t.Context(), "work", "q", func(*bus.Msg) { counts[i].Add(1) })
		if err != nil {
			t.Fatal(err)
		}
	}
	d := b.Client("d", bus.KindDaemon)
	for i := range 10 {
		publish(t, d, note("work", i), 1)
	}
	waitFor(t, func() bool { return counts[0].Load() == 5 && counts[1].Load() == 5 })
}

// TestNext: a stream that is worked through leaves no garbage, and each
// message is whole while it is valid.
func TestNext(t *testing.T) {
	b, _, path := serve(t, bus.Config{PublishWait: time.Minute}, bus.ServerConfig{})
	for _, where := range []string{"socket", "process"} {
		d := b.Client("d", bus.KindDaemon)
		var s *bus.Subscription
		if where == "socket" {
			s = listen(t, dial(t, path, bus.KindCLI), where, bus.SubOptions{})
		} else {
			s = subscribe(t, d, where, bus.SubOptions{})
		}
		const frames = 5000
		go func() {
			for i := range frames {
				if _, err := d.Publish(context.Background(), note(where, i)); err != nil {
					t.Error(err)
				}
			}
		}()
		for i := range frames {
			m, err := s.Next(t.Context())
			if err != nil || number(t, m) != i || m.Topic != where {
				t.Fatalf("%s: frame %d: %+v, %v", where, i, m, err)
			}
		}
		// What Recv returned stays, whatever Next does after that.
		publish(t, d, note(where, -1), 1)
		kept := recv(t, s)
		for i := range 100 {
			publish(t, d, note(where, i), 1)
			if m, err := s.Next(t.Context()); err != nil || number(t, m) != i {
				t.Fatalf("%s: frame %d: %v", where, i, err)
			}
		}
		if n := number(t, kept); n != -1 {
			t.Errorf("%s: kept %d", where, n)
		}
		_ = s.Close()
	}
}

// TestReceiversOfOneConnection has receivers, publishers that wait for their
// acknowledgement and a handler read one connection in turns.
func TestReceiversOfOneConnection(t *testing.T) {
	b, _, path := serve(t, bus.Config{PublishWait: time.Minute}, bus.ServerConfig{FrameRate: -1})
	c := dial(t, path, bus.KindCLI)
	var handled atomic.Int32
	if _, err := c.Handle(t.Context(), "h", "", func(*bus.Msg) { handled.Add(1) }); err != nil {
		t.Fatal(err)
	}
	const topics, frames = 6, 400
	var wg sync.WaitGroup
	for i := range topics {
		// Room for all: who waits for an answer takes nothing out.
		s := listen(t, c, fmt.Sprint("t/", i), bus.SubOptions{MaxMessages: frames})
		wg.Go(func() {
			for n := range frames {
				m, err := s.Recv(t.Context())
				if err != nil || number(t, m) != n {
					t.Errorf("topic %d, frame %d: %v", i, n, err)
					return
				}
				if n%50 == 0 {
					if _, err := c.Publish(t.Context(), note("h", n)); err != nil {
						t.Errorf("acknowledged publish: %v", err)
					}
				}
			}
		})
	}
	d := b.Client("d", bus.KindDaemon)
	for n := range frames {
		for i := range topics {
			publish(t, d, note(fmt.Sprint("t/", i), n), 1)
		}
	}
	wg.Wait()
	waitFor(t, func() bool { return handled.Load() == topics*frames/50 })
}

// TestLoneReceiverIsInterrupted: what a receiver that reads the connection
// itself must still notice.
func TestLoneReceiverIsInterrupted(t *testing.T) {
	b, _, path := serve(t, bus.Config{}, bus.ServerConfig{})
	d := b.Client("d", bus.KindDaemon)
	c := dial(t, path, bus.KindCLI)
	s := listen(t, c, "a", bus.SubOptions{})
	// Let it read itself: the first frame comes through the goroutine.
	for i := range 20 {
		publish(t, d, note("a", i), 1)
		recv(t, s)
	}
	for i := range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%5)*time.Millisecond)
		if _, err := s.Recv(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("with a deadline: %v", err)
		}
		cancel()
		publish(t, d, note("a", i), 1)
		if n := number(t, recv(t, s)); n != i {
			t.Fatalf("after a deadline: %d, want %d", n, i)
		}
	}
	done := make(chan error, 1)
	wait := func(s *bus.Subscription) {
		go func() {
			_, err := s.Recv(context.Background())
			done <- err
		}()
		time.Sleep(30 * time.Millisecond) // long enough that nobody else looks any more
	}
	wait(s)
	_ = s.Close()
	if err := <-done; !errors.Is(err, bus.ErrClosed) {
		t.Errorf("closed subscription: %v", err)
	}
	s = listen(t, c, "a", bus.SubOptions{})
	wait(s)
	publish(t, d, note("a", 1), 1)
	if err := <-done; err != nil {
		t.Errorf("after a long wait: %v", err)
	}
	wait(s)
	_ = c.Close()
	if err := <-done; !errors.Is(err, bus.ErrClosed) {
		t.Errorf("closed connection: %v", err)
	}
}

// TestBusyReceiver: while a receiver works on a frame, what comes for others
// and the end of the connection are noticed.
func TestBusyReceiver(t *testing.T) {
	b, srv, path := serve(t, bus.Config{}, bus.ServerConfig{})
	d := b.Client("d", bus.KindDaemon)
	c := dial(t, path, bus.KindCLI)
	s, other := listen(t, c, "a", bus.SubOptions{}), listen(t, c, "b", bus.SubOptions{})
	for i := range 10 {
		publish(t, d, note("a", i), 1)
		recv(t, s)
	}
	// s is busy from now on. A publisher gets its answer, a receiver its frame.
	if _, err := c.Publish(t.Context(), note("b", 1)); err != nil {
		t.Error(err)
	}
	recv(t, other)
	publish(t, d, note("b", 2), 1)
	recv(t, other)
	_ = srv.Close()
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		t.Error("nobody noticed the end")
	}
}

// TestTooSlowForItsConnection: a subscription that does not receive is ended,
// here, while others of the connection go on.
func TestTooSlowForItsConnection(t *testing.T) {
	b, _, path := serve(t, bus.Config{}, bus.ServerConfig{})
	c, err := bus.Dial(t.Context(), path, bus.DialOptions{Name: "x", Kind: bus.KindCLI,
		Bus: bus.Config{PublishWait: 5 * time.Millisecond, LagLimit: 20 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	lazy := listen(t, c, "a", bus.SubOptions{MaxMessages: 2})
	good := listen(t, c, "b", bus.SubOptions{})
	d := b.Client("d", bus.KindDaemon)
	waitFor(t, func() bool {
		_, err := d.Publish(t.Context(), note("a", 1))
		if err != nil {
			t.Fatal(err)
		}
		publish(t, d, note("b", 1), 1)
		recv(t, good)
		time.Sleep(time.Millisecond)
		return len(b.Subscriptions()) == 1
	})
	if _, err := lazy.Recv(t.Context()); !errors.Is(err, bus.ErrSlowConsumer) {
		t.Errorf("Recv: %v", err)
	}
}

// TestSendWaitsForTheServer: a client whose server does not read waits, as
// long as its context lets it.
func TestSendWaitsForTheServer(t *testing.T) {
	b, _, path := serve(t, bus.Config{PublishWait: time.Minute, LagLimit: time.Minute}, bus.ServerConfig{FrameRate: -1})
	slow := subscribe(t, b.Client("d", bus.KindDaemon), "a", bus.SubOptions{MaxMessages: 1})
	c, err := bus.Dial(t.Context(), path, bus.DialOptions{Name: "x", Kind: bus.KindCLI, SendBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	m := note("a", 0)
	m.Meta.To = string(make([]byte, 10_000))
	sent := 0
	for ; err == nil; sent++ {
		m.CreatedAtMS = 0
		err = c.Send(ctx, m)
	}
	if !errors.Is(err, context.DeadlineExceeded) || sent < 10 {
		t.Errorf("%d sent, then %v", sent, err)
	}
	for range sent - 1 { // what was taken is delivered
		recv(t, slow)
	}
	if err := c.Send(t.Context(), note("a", 9)); err != nil {
		t.Errorf("once there is room: %v", err)
	}
	if n := number(t, recv(t, slow)); n != 9 {
		t.Errorf("got %d", n)
	}
}
