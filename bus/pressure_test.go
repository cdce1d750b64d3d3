package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

// fill publishes until a queue of n messages is full.
func fill(t *testing.T, c *bus.Client, topic string, n int) {
	t.Helper()
	for i := range n {
		publish(t, c, note(topic, i), 1)
	}
}

func TestPublisherWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, bus.Config{PublishWait: time.Second})
		c := b.Client("c", bus.KindDaemon)
		s := subscribe(t, c, "a", bus.SubOptions{MaxMessages: 2})
		fill(t, c, "a", 2)
		go func() {
			time.Sleep(900 * time.Millisecond)
			_, _ = s.Recv(t.Context())
		}()
		start := time.Now()
		publish(t, c, note("a", 2), 1)
		if waited := time.Since(start); waited != 900*time.Millisecond {
			t.Errorf("waited %v", waited)
		}
		for want := 1; want <= 2; want++ {
			if got := number(t, recv(t, s)); got != want {
				t.Errorf("got %d, want %d", got, want)
			}
		}
	})
}

func TestPublisherGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, bus.Config{PublishWait: time.Second, LagLimit: time.Minute})
		c := b.Client("c", bus.KindDaemon)
		s := subscribe(t, c, "a", bus.SubOptions{MaxMessages: 4})
		fill(t, c, "a", 4)
		expect := func(wait time.Duration) {
			t.Helper()
			start := time.Now()
			if n, err := c.Publish(t.Context(), note("a", 9)); n != 0 || !errors.Is(err, bus.ErrBackpressure) {
				t.Errorf("Publish = %d, %v", n, err)
			}
			if got := time.Since(start); got != wait {
				t.Errorf("waited %v, want %v", got, wait)
			}
		}
		expect(time.Second)
		expect(0) // it lags: nobody waits for it again
		recv(t, s)
		publish(t, c, note("a", 4), 1) // there is room, for one
		expect(0)
		recv(t, s)
		recv(t, s) // half empty: it keeps up again
		publish(t, c, note("a", 5), 1)
		publish(t, c, note("a", 6), 1)
		expect(time.Second)
		if st := b.Subscriptions()[0]; st.Dropped != 4 || !st.Behind || st.Messages != 4 {
			t.Errorf("state %+v", st)
		}
		if d := b.Stats().Drops["backpressure"]; d != 4 {
			t.Errorf("%d drops", d)
		}
	})
}

func TestPublisherStopsWaitingWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, bus.Config{PublishWait: time.Hour})
		c := b.Client("c", bus.KindDaemon)
		subscribe(t, c, "a", bus.SubOptions{MaxMessages: 1})
		fill(t, c, "a", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if n, err := c.Publish(ctx, note("a", 9)); n != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Publish = %d, %v", n, err)
		}
	})
}

// TestDroppedFrameMayComeAgain: a frame that found no room was not seen.
func TestDroppedFrameMayComeAgain(t *testing.T) {
	for _, queue := range []string{"", "group"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBus(t, bus.Config{})
			c := b.Client("c", bus.KindDaemon)
			s := subscribe(t, c, "a", bus.SubOptions{MaxMessages: 1, Queue: queue})
			fill(t, c, "a", 1)
			m := note("a", 1)
			m.MsgID, m.CreatedAtMS = 1, uint64(time.Now().UnixMilli())
			frame, err := rmp.AppendFrame(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // after a wait, and without one
				if _, err := c.PublishFrame(t.Context(), frame); !errors.Is(err, bus.ErrBackpressure) {
					t.Errorf("first time: %v", err)
				}
			}
			recv(t, s)
			if n, err := c.PublishFrame(t.Context(), frame); n != 1 {
				t.Errorf("again: %d, %v", n, err)
			}
		})
	}
}

// TestOneStoppedSubscriber: the others get everything, and nobody waits for
// it longer than once.
func TestOneStoppedSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		b := newBus(t, bus.Config{PublishWait: 100 * time.Millisecond, LagLimit: 2 * time.Second,
			Log: slog.New(slog.NewTextHandler(&log, nil))})
		c := b.Client("c", bus.KindDaemon)
		lazy := b.Client("lazy", bus.KindUI)
		stopped := subscribe(t, lazy, "a/#", bus.SubOptions{MaxMessages: 10})
		const good, frames = 50, 500
		var subs []*bus.Subscription
		for range good {
			subs = append(subs, subscribe(t, c, "a/b", bus.SubOptions{MaxMessages: frames}))
		}
		start := time.Now()
		for i := range frames {
			if n, err := c.Publish(t.Context(), note("a/b", i)); err != nil || n < good {
				t.Fatalf("frame %d: %d deliveries, %v", i, n, err)
			}
		}
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("the publisher waited %v", took)
		}
		for _, s := range subs {
			for i := range frames {
				if got := number(t, recv(t, s)); got != i {
					t.Fatalf("got %d, want %d", got, i)
				}
			}
		}
		time.Sleep(2 * time.Second)
		publish(t, c, note("a/b", 0), good)
		_, err := stopped.Recv(t.Context())
		if !errors.Is(err, bus.ErrSlowConsumer) || !strings.Contains(err.Error(), "lazy") {
			t.Errorf("Recv of the stopped one: %v", err)
		}
		if !strings.Contains(log.String(), "client=lazy filter=a/#") {
			t.Errorf("log: %s", log.String())
		}
		if n := len(b.Subscriptions()); n != good {
			t.Errorf("%d subscriptions left", n)
		}
		publish(t, c, note("a/b", 1), good)
	})
}

// TestSlowButSteady: a subscriber that makes progress loses nothing, however
// much faster its publisher is.
func TestSlowButSteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, bus.Config{PublishWait: 250 * time.Millisecond})
		c := b.Client("c", bus.KindDaemon)
		s := subscribe(t, c, "a", bus.SubOptions{MaxMessages: 100})
		const frames = 1000
		go func() {
			for i := range frames {
				if n, err := c.Publish(t.Context(), note("a", i)); n != 1 || err != nil {
					t.Errorf("Publish = %d, %v", n, err)
				}
			}
		}()
		for i := range frames {
			time.Sleep(15 * time.Millisecond)
			if got := number(t, recv(t, s)); got != i {
				t.Fatalf("got %d, want %d", got, i)
			}
		}
	})
}

// TestWaitersKeepTheirOrder: frames that wait for room come out in the order
// in which they were published.
func TestWaitersKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, bus.Config{PublishWait: time.Hour})
		c := b.Client("c", bus.KindDaemon)
		s := subscribe(t, c, "a", bus.SubOptions{MaxMessages: 1})
		fill(t, c, "a", 1)
		for i := range 20 {
			go func() {
				if n, err := c.Publish(t.Context(), note("a", i+1)); n != 1 || err != nil {
					t.Errorf("Publish = %d, %v", n, err)
				}
			}()
			synctest.Wait()
		}
		for i := range 21 {
			if got := number(t, recv(t, s)); got != i {
				t.Errorf("got %d, want %d", got, i)
			}
			synctest.Wait()
		}
	})
}

func TestBytesBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, bus.Config{})
		c := b.Client("c", bus.KindDaemon)
		s := subscribe(t, c, "a", bus.SubOptions{MaxBytes: 10_000})
		big := note("a", 0)
		big.Raw = append([]byte{0xc5, 0x17, 0x70}, make([]byte, 6000)...)
		huge := note("a", 0)
		huge.Raw = append([]byte{0xc6, 0, 1, 0, 0}, make([]byte, 1<<16)...)
		publish(t, c, huge, 1) // an empty queue takes any frame
		if _, err := c.Publish(t.Context(), note("a", 1)); !errors.Is(err, bus.ErrBackpressure) {
			t.Errorf("after a huge frame: %v", err)
		}
		recv(t, s)
		publish(t, c, big, 1)
		if _, err := c.Publish(t.Context(), big); !errors.Is(err, bus.ErrBackpressure) {
			t.Errorf("after a big frame: %v", err)
		}
		publish(t, c, note("a", 1), 1)
		if st := b.Subscriptions()[0]; st.Bytes > 10_000 {
			t.Errorf("%d bytes in the queue", st.Bytes)
		}
	})
}

// TestGroupWaits: when all members are full the publisher waits for one.
func TestGroupWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, bus.Config{PublishWait: time.Second, LagLimit: 3 * time.Second})
		c := b.Client("c", bus.KindDaemon)
		opts := bus.SubOptions{Queue: "q", MaxMessages: 1}
		one, two := subscribe(t, c, "a", opts), subscribe(t, c, "a", opts)
		fill(t, c, "a", 2)
		go func() {
			time.Sleep(time.Second / 2)
			_, _ = one.Recv(t.Context())
		}()
		publish(t, c, note("a", 2), 1)
		if got := number(t, recv(t, one)); got != 2 {
			t.Errorf("got %d", got)
		}
		fill(t, c, "a", 1)
		for i := range 8 { // both stop for good
			_, err := c.Publish(t.Context(), note("a", i))
			if !errors.Is(err, bus.ErrBackpressure) && i < 4 {
				t.Errorf("frame %d: %v", i, err)
			}
			time.Sleep(time.Second)
		}
		for _, s := range []*bus.Subscription{one, two} {
			if _, err := s.Recv(t.Context()); !errors.Is(err, bus.ErrSlowConsumer) {
				t.Errorf("a member that stopped: %v", err)
			}
		}
		publish(t, c, note("a", 1), 0)
	})
}

func TestDropNoticesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, bus.Config{DropNotices: 5, LagLimit: time.Hour})
		c := b.Client("c", bus.KindDaemon)
		drops := subscribe(t, c, "rlp/sys/+", bus.SubOptions{MaxMessages: 8})
		subscribe(t, c, "a", bus.SubOptions{MaxMessages: 1})
		fill(t, c, "a", 1)
		for range 100 {
			_, _ = c.Publish(t.Context(), note("a", 1))
		}
		time.Sleep(time.Second)
		for range 100 {
			_, _ = c.Publish(t.Context(), note("a", 1))
		}
		st := b.Stats()
		// 8 notices are queued, 2 found no room: no notices about those.
		if st.Drops["backpressure"] != 202 || st.NoticesSuppressed != 190 {
			t.Errorf("stats %+v", st)
		}
		for range 8 {
			var n rmp.DropNotice
			m := recv(t, drops)
			if err := m.Decode(&n); err != nil || n.Reason != "backpressure" || n.Topic != "a" || m.Topic != bus.TopicDrops {
				t.Errorf("notice %+v, %v", n, err)
			}
		}
		empty(t, drops)
	})
}

func TestNoNoticesWhenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, bus.Config{DropNotices: -1})
		c := b.Client("c", bus.KindDaemon)
		drops := subscribe(t, c, bus.TopicDrops, bus.SubOptions{})
		subscribe(t, c, "a", bus.SubOptions{MaxMessages: 1})
		fill(t, c, "a", 1)
		_, _ = c.Publish(t.Context(), note("a", 1))
		empty(t, drops)
		if d := b.Stats().Drops["backpressure"]; d != 1 {
			t.Errorf("%d drops", d)
		}
	})
}

// TestWithdrawnWhileWaiting: a subscription that ends lets its publishers go.
func TestWithdrawnWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, bus.Config{PublishWait: time.Hour})
		c := b.Client("c", bus.KindDaemon)
		s := subscribe(t, c, "a", bus.SubOptions{MaxMessages: 1})
		fill(t, c, "a", 1)
		go func() {
			time.Sleep(time.Second)
			_ = s.Close()
		}()
		start := time.Now()
		publish(t, c, note("a", 1), 0)
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}
