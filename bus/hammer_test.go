package bus_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/runloop-os/runloop/bus"
)

// TestHammer has publishers, subscribers that come and go, and a group at work
// at the same time. Each subscriber must see each publisher's frames in order
// and none twice; the group must get every frame once.
func TestHammer(t *testing.T) {
	b := newBus(t, bus.Config{PublishWait: time.Minute})
	const publishers, frames, members = 4, 1500, 3
	steady := subscribe(t, b.Client("steady", bus.KindDaemon), "h/#", bus.SubOptions{MaxMessages: 64})
	var groupGot, steadyGot sync.Map
	var wg, readers sync.WaitGroup
	for i := range members {
		s := subscribe(t, b.Client(fmt.Sprint("member", i), bus.KindDaemon), "h/+/x",
			bus.SubOptions{Queue: "g", MaxMessages: 32})
		readers.Go(func() { collect(t, s, &groupGot) })
	}
	readers.Go(func() { inOrder(t, collect(t, steady, &steadyGot)) })
	for i := range 3 { // come and go
		c := b.Client(fmt.Sprint("guest", i), bus.KindDaemon)
		wg.Go(func() { comeAndGo(t, c) })
	}
	for p := range publishers {
		c := b.Client(fmt.Sprint(p), bus.KindDaemon)
		wg.Go(func() {
			for i := range frames {
				m := note(fmt.Sprintf("h/%d/x", i%5), i)
				if n, err := c.Publish(t.Context(), m); err != nil || n < 2 {
					t.Errorf("publisher %d, frame %d: %d, %v", p, i, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	waitFor(t, func() bool { return count(&groupGot) == publishers*frames && count(&steadyGot) == publishers*frames })
	_ = b.Close()
	readers.Wait()
	if st := b.Stats(); st.Published != publishers*frames || st.Subscriptions != 0 {
		t.Errorf("stats %+v", st)
	}
}

// collect receives until the subscription ends, and fails on a frame that
// anybody who shares got has had.
func collect(t *testing.T, s *bus.Subscription, got *sync.Map) (all []*bus.Msg) {
	for {
		m, err := s.Recv(context.Background())
		if err != nil {
			if !errors.Is(err, bus.ErrClosed) {
				t.Errorf("Recv: %v", err)
			}
			return all
		}
		if _, twice := got.LoadOrStore(m.MsgID, true); twice {
			t.Errorf("frame %d of %s came twice", m.MsgID, m.From)
		}
		all = append(all, m)
	}
}

// inOrder fails when a publisher's frames on a topic are not in order.
func inOrder(t *testing.T, all []*bus.Msg) {
	last := make(map[string]uint64)
	for _, m := range all {
		key := m.From + " " + m.Topic
		if m.MsgID <= last[key] {
			t.Errorf("%s: frame %d after %d", key, m.MsgID, last[key])
		}
		last[key] = m.MsgID
	}
}

// comeAndGo subscribes, takes some frames and leaves, again and again.
func comeAndGo(t *testing.T, c *bus.Client) {
	r := rand.New(rand.NewPCG(1, uint64(len(c.Name()))))
	for range 50 {
		s, err := c.Subscribe([]string{"h/#", "h/1/x", "+/+/x"}[r.IntN(3)], bus.SubOptions{MaxMessages: 16})
		if err != nil {
			t.Error(err)
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		var got []*bus.Msg
		for {
			m, err := s.Recv(ctx)
			if err != nil {
				break
			}
			got = append(got, m)
		}
		cancel()
		_ = s.Close()
		inOrder(t, got)
	}
}

func count(m *sync.Map) (n int) {
	m.Range(func(any, any) bool { n++; return true })
	return n
}

// waitFor waits until ok holds.
func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came to that")
		}
	}
}

// TestHammerOneSubscription has many receivers share one queue.
func TestHammerOneSubscription(t *testing.T) {
	b := newBus(t, bus.Config{PublishWait: time.Minute})
	c := b.Client("c", bus.KindDaemon)
	s := subscribe(t, c, "a", bus.SubOptions{MaxMessages: 8})
	var got sync.Map
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { collect(t, s, &got) })
	}
	const frames = 5000
	for i := range frames {
		publish(t, c, note("a", i), 1)
	}
	waitFor(t, func() bool { return count(&got) == frames })
	_ = s.Close()
	wg.Wait()
}
