package bus_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

func TestPublishAndReceive(t *testing.T) {
	b := newBus(t, bus.Config{})
	engine, host := b.Client("engine", bus.KindDaemon), b.Client("host", bus.KindDaemon)
	exact := subscribe(t, host, "agent/writer", bus.SubOptions{})
	wide := subscribe(t, host, "agent/#", bus.SubOptions{})
	other := subscribe(t, host, "agent/critic", bus.SubOptions{})

	m := &rmp.Message{
		SchemaID: rmp.CTExecutorAgentRequest,
		TraceID:  rmp.TraceID{7},
		TTLMS:    1000,
		Meta:     rmp.Meta{Topic: "agent/writer", From: "engine"},
		Payload:  &rmp.AgentRequest{Ref: "writer", Node: "n1", Attempt: 1},
	}
	publish(t, engine, m, 2)
	for _, s := range []*bus.Subscription{exact, wide} {
		got := recv(t, s)
		var req rmp.AgentRequest
		meta, err := got.DecodeMeta()
		if err := errors.Join(err, got.Decode(&req)); err != nil {
			t.Fatal(err)
		}
		if got.Topic != "agent/writer" || got.From != "engine" || got.Type != "intent.executor.agent.request.v1" ||
			got.TraceID != m.TraceID || got.MsgID != m.MsgID || got.CreatedAtMS != m.CreatedAtMS ||
			req.Node != "n1" || meta != m.Meta {
			t.Errorf("got %+v, %+v, %+v", got, req, meta)
		}
		if f, err := rmp.ParseFrame(got.Bytes); err != nil || !bytes.Equal(f.Payload, got.Payload) {
			t.Errorf("the bytes do not parse to the frame: %v", err)
		}
	}
	empty(t, other)
	if age := time.Since(time.UnixMilli(int64(m.CreatedAtMS))); age < -time.Second || age > time.Minute {
		t.Errorf("made %v ago", age)
	}
}

func TestNobodyThere(t *testing.T) {
	b := newBus(t, bus.Config{})
	c := b.Client("c", bus.KindDaemon)
	s := subscribe(t, c, "a", bus.SubOptions{})
	publish(t, c, note("b", 1), 0)
	publish(t, c, note("a", 1), 1)
	_ = s.Close()
	publish(t, c, note("a", 2), 0)
	if n := len(b.Subscriptions()); n != 0 {
		t.Errorf("%d subscriptions left", n)
	}
}

func TestPublishErrors(t *testing.T) {
	b := newBus(t, bus.Config{MaxTTL: time.Hour})
	c := b.Client("c", bus.KindDaemon)
	subscribe(t, c, "#", bus.SubOptions{})
	now := uint64(time.Now().UnixMilli())
	tests := []struct {
		name string
		edit func(*rmp.Message)
		want error
	}{
		{"no topic", func(m *rmp.Message) { m.Meta.Topic = "" }, bus.ErrTopic},
		{"wildcard", func(m *rmp.Message) { m.Meta.Topic = "a/+" }, bus.ErrTopic},
		{"schema", func(m *rmp.Message) { m.SchemaID = 0 }, rmp.ErrUnknownSchema},
		{"no ttl", func(m *rmp.Message) { m.TTLMS = 0 }, rmp.ErrInvalidTTL},
		{"ttl of 2^63", func(m *rmp.Message) { m.TTLMS = 1 << 63 }, rmp.ErrInvalidTTL},
		{"negative ttl", func(m *rmp.Message) { m.TTLMS, m.CreatedAtMS = 1<<64-1, 1 }, rmp.ErrInvalidTTL},
		{"ttl over the limit", func(m *rmp.Message) { m.TTLMS = 3_600_001 }, rmp.ErrInvalidTTL},
		{"overflow", func(m *rmp.Message) { m.CreatedAtMS = 1<<64 - 1 }, rmp.ErrInvalidExpiry},
		{"expired", func(m *rmp.Message) { m.CreatedAtMS = now - 120_000 }, rmp.ErrExpired},
		{"body", func(m *rmp.Message) { m.Raw = []byte{0xc1} }, rmp.ErrBodyDecode},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := note("a", 1)
			tt.edit(m)
			n, err := c.Publish(t.Context(), m)
			if tt.name == "negative ttl" && errors.Is(err, rmp.ErrInvalidExpiry) {
				return // -1 as a u64 overflows first
			}
			if n != 0 || !errors.Is(err, tt.want) {
				t.Errorf("Publish = %d, %v, want %v", n, err, tt.want)
			}
		})
	}
	if d := b.Stats().Drops["ttl"]; d != 1 {
		t.Errorf("%d drops for ttl, want 1", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Publish(ctx, note("a", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
	if err := c.Send(t.Context(), note("", 1)); !errors.Is(err, bus.ErrTopic) {
		t.Errorf("Send: %v", err)
	}
	for _, filter := range []string{"", "a//b", "a#"} {
		if _, err := c.Subscribe(filter, bus.SubOptions{}); !errors.Is(err, bus.ErrTopic) {
			t.Errorf("Subscribe(%q): %v", filter, err)
		}
	}
}

func TestMessageIDs(t *testing.T) {
	b := newBus(t, bus.Config{})
	one, two := b.Client("one", bus.KindDaemon), b.Client("two", bus.KindDaemon)
	var last [2]uint64
	for i := range 100 {
		for j, c := range []*bus.Client{one, two} {
			m := note("a", i)
			publish(t, c, m, 0)
			if m.MsgID >= 1<<53 || i > 0 && m.MsgID != last[j]+1 {
				t.Fatalf("id %d after %d", m.MsgID, last[j])
			}
			last[j] = m.MsgID
		}
	}
	if last[0] == last[1] {
		t.Error("two publishers use the same ids")
	}
}

func TestFIFO(t *testing.T) {
	b := newBus(t, bus.Config{})
	c := b.Client("c", bus.KindDaemon)
	s := subscribe(t, c, "a/+", bus.SubOptions{MaxMessages: 5000})
	for i := range 1000 {
		publish(t, c, note("a/b", i), 1)
		if i%3 == 0 { // the ring is not always filled from its start
			if got := number(t, recv(t, s)); got != i/3 {
				t.Fatalf("got %d, want %d", got, i/3)
			}
		}
	}
	for i := 334; i < 1000; i++ {
		if got := number(t, recv(t, s)); got != i {
			t.Fatalf("got %d, want %d", got, i)
		}
	}
	empty(t, s)
}

func TestPublishFrame(t *testing.T) {
	b := newBus(t, bus.Config{})
	c := b.Client("c", bus.KindDaemon)
	s := subscribe(t, c, "a/b", bus.SubOptions{})
	m := note("a/b", 5)
	m.CreatedAtMS, m.MsgID = uint64(time.Now().UnixMilli()), 99
	m.RawMeta = []byte("\x82\xa7unknown\x92\x01\x02\xa5topic\xa3a/b") // order and extras are kept
	frame, err := rmp.AppendFrame(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	sent := bytes.Clone(frame)
	if n, err := c.PublishFrame(t.Context(), frame); n != 1 || err != nil {
		t.Fatalf("PublishFrame = %d, %v", n, err)
	}
	clear(frame) // the caller may use its bytes again
	if got := recv(t, s); !bytes.Equal(got.Bytes, sent) || got.MsgID != 99 {
		t.Errorf("forwarded as % x", got.Bytes)
	}
	if _, err := c.PublishFrame(t.Context(), sent[:100]); !errors.Is(err, rmp.ErrLengthMismatch) {
		t.Errorf("a cut frame: %v", err)
	}
	golden, err := os.ReadFile("../testdata/rmp/receiver-Expired.bin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PublishFrame(t.Context(), golden); !errors.Is(err, bus.ErrTopic) {
		t.Errorf("a frame without topic: %v", err)
	}
}

// TestReceiverFixtures: what the codec takes and a receiver must not.
func TestReceiverFixtures(t *testing.T) {
	b := newBus(t, bus.Config{})
	c := b.Client("c", bus.KindDaemon)
	s := subscribe(t, c, "t", bus.SubOptions{})
	retopic := func(name string, fresh bool) [][]byte {
		data, err := os.ReadFile("../testdata/rmp/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var frames [][]byte
		r := rmp.NewReader(bytes.NewReader(data), rmp.Codec{})
		for f := (rmp.Frame{}); r.Next(&f) == nil; {
			m := rmp.Message{SchemaID: f.SchemaID, TraceID: f.TraceID, MsgID: f.MsgID, Raw: f.Payload,
				CreatedAtMS: f.CreatedAtMS, TTLMS: f.TTLMS, Meta: rmp.Meta{Topic: "t"}}
			if fresh {
				m.CreatedAtMS = uint64(time.Now().UnixMilli())
			}
			frame, err := rmp.AppendFrame(nil, &m)
			if err != nil {
				t.Fatal(err)
			}
			frames = append(frames, frame)
		}
		return frames
	}
	for _, f := range retopic("receiver-Expired.bin", false) {
		if n, err := c.PublishFrame(t.Context(), f); n != 0 || !errors.Is(err, rmp.ErrExpired) {
			t.Errorf("expired: %d, %v", n, err)
		}
	}
	twice := retopic("receiver-Duplicate.bin", true)
	if len(twice) != 2 {
		t.Fatalf("%d frames in the fixture", len(twice))
	}
	for i, want := range []error{nil, rmp.ErrDuplicate} {
		if n, err := c.PublishFrame(t.Context(), twice[i]); n != 1-i || !errors.Is(err, want) {
			t.Errorf("duplicate %d: %d, %v", i, n, err)
		}
	}
	recv(t, s)
	empty(t, s)
	if d := b.Stats().Drops; d["duplicate"] != 1 || d["ttl"] != 1 {
		t.Errorf("drops %v", d)
	}
}

// TestDedupe: per subscription and topic, not for the bus as a whole.
func TestDedupe(t *testing.T) {
	b := newBus(t, bus.Config{})
	c := b.Client("c", bus.KindDaemon)
	early := subscribe(t, c, "+", bus.SubOptions{})
	frame := func(topic string, id uint64, trace byte) []byte {
		m := note(topic, 1)
		m.MsgID, m.TraceID, m.CreatedAtMS = id, rmp.TraceID{trace}, uint64(time.Now().UnixMilli())
		f, err := rmp.AppendFrame(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	send := func(f []byte, want int) {
		t.Helper()
		if n, _ := c.PublishFrame(t.Context(), f); n != want {
			t.Errorf("%d deliveries, want %d", n, want)
		}
	}
	send(frame("a", 1, 1), 1)
	send(frame("a", 1, 1), 0)
	send(frame("b", 1, 1), 1) // another topic
	send(frame("a", 2, 1), 1) // another message
	send(frame("a", 1, 2), 1) // another trace
	late := subscribe(t, c, "a", bus.SubOptions{})
	send(frame("a", 1, 1), 1) // new to late only
	send(frame("a", 1, 1), 0)
	for range 4 {
		recv(t, early)
	}
	recv(t, late)
	empty(t, early)
	empty(t, late)
}

func TestQueueGroup(t *testing.T) {
	b := newBus(t, bus.Config{})
	c := b.Client("c", bus.KindDaemon)
	group := bus.SubOptions{Queue: "hosts", MaxMessages: 4}
	members := []*bus.Subscription{
		subscribe(t, c, "agent/writer", group), subscribe(t, c, "agent/writer", group),
		subscribe(t, c, "agent/writer", group),
	}
	plain := subscribe(t, c, "agent/+", bus.SubOptions{})
	other := subscribe(t, c, "agent/writer", bus.SubOptions{Queue: "audit"})
	for i := range 9 {
		publish(t, c, note("agent/writer", i), 3)
		recv(t, plain)
		recv(t, other)
	}
	for i, s := range members {
		for j := range 3 {
			if got := number(t, recv(t, s)); got != 3*j+i {
				t.Errorf("member %d got %d", i, got)
			}
		}
		empty(t, s)
	}
	// A full member is passed over.
	for i := range 3 {
		publish(t, c, note("agent/writer", i), 3)
	}
	_ = members[2].Close()
	for i := range 6 {
		publish(t, c, note("agent/writer", i), 3)
	}
	recv(t, members[0])
	publish(t, c, note("agent/writer", 9), 3)
	if got := b.Subscriptions(); len(got) != 4 {
		t.Errorf("%d subscriptions, want 4", len(got))
	}
	m := note("agent/writer", 1)
	m.MsgID, m.CreatedAtMS = 1, uint64(time.Now().UnixMilli())
	frame, _ := rmp.AppendFrame(nil, m)
	recv(t, members[0])
	recv(t, members[1])
	for i, want := range []int{3, 0} { // a duplicate is not for another member either
		if n, _ := c.PublishFrame(t.Context(), frame); n != want {
			t.Errorf("copy %d went to %d", i, n)
		}
	}
}

func TestTTLAtHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, bus.Config{})
		c := b.Client("c", bus.KindDaemon)
		s := subscribe(t, c, "a", bus.SubOptions{})
		drops := subscribe(t, c, bus.TopicDrops, bus.SubOptions{})
		m := note("a", 1)
		m.TTLMS = 1000
		publish(t, c, m, 1)
		publish(t, c, note("a", 2), 1)
		time.Sleep(time.Second)
		if got := number(t, recv(t, s)); got != 2 {
			t.Errorf("got %d, want the one that is still valid", got)
		}
		var notice rmp.DropNotice
		if err := recv(t, drops).Decode(&notice); err != nil {
			t.Fatal(err)
		}
		want := rmp.DropNotice{Reason: "ttl", Topic: "a", TraceID: m.TraceID.String(), MsgID: m.MsgID,
			ExpiresAtMS: m.CreatedAtMS + 1000}
		if notice != want {
			t.Errorf("notice %+v, want %+v", notice, want)
		}
		if d := b.Stats().Drops["ttl"]; d != 1 {
			t.Errorf("%d drops", d)
		}
	})
}

// TestSenderAhead: a sender whose clock is ahead does not make frames that
// stay for longer than their time to live.
func TestSenderAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, bus.Config{})
		c := b.Client("c", bus.KindDaemon)
		s := subscribe(t, c, "a", bus.SubOptions{})
		m := note("a", 1)
		m.CreatedAtMS, m.TTLMS = uint64(time.Now().Add(time.Hour).UnixMilli()), 1000
		publish(t, c, m, 1)
		time.Sleep(time.Second)
		empty(t, s)
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.New(bus.Config{})
		c := b.Client("c", bus.KindDaemon)
		s := subscribe(t, c, "a", bus.SubOptions{})
		errs := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := s.Recv(t.Context())
				errs <- err
			}()
		}
		synctest.Wait()
		if err := errors.Join(b.Close(), b.Close(), c.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		for range 3 {
			if err := <-errs; !errors.Is(err, bus.ErrClosed) {
				t.Errorf("Recv: %v", err)
			}
		}
		for _, c := range []*bus.Client{c, b.Client("late", bus.KindCLI)} {
			if _, err := c.Publish(t.Context(), note("a", 1)); !errors.Is(err, bus.ErrClosed) {
				t.Errorf("Publish: %v", err)
			}
			if _, err := c.Subscribe("a", bus.SubOptions{}); !errors.Is(err, bus.ErrClosed) {
				t.Errorf("Subscribe: %v", err)
			}
		}
	})
}

func TestClosedClientLeavesOthersAlone(t *testing.T) {
	b := newBus(t, bus.Config{})
	one, two := b.Client("one", bus.KindCLI), b.Client("two", bus.KindUI)
	if two.Name() != "two" || two.Kind() != bus.KindUI {
		t.Errorf("client %s of kind %s", two.Name(), two.Kind())
	}
	s1, s2 := subscribe(t, one, "a", bus.SubOptions{}), subscribe(t, two, "a", bus.SubOptions{})
	publish(t, one, note("a", 1), 2)
	_ = one.Close()
	if _, err := s1.Recv(t.Context()); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Recv: %v", err)
	}
	publish(t, two, note("a", 2), 1)
	recv(t, s2)
	recv(t, s2)
	st := b.Stats()
	if st.Published != 2 || st.Delivered != 3 || st.Clients != 1 || st.Subscriptions != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestRecvHonoursItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t, bus.Config{})
		c := b.Client("c", bus.KindDaemon)
		s := subscribe(t, c, "a", bus.SubOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Recv(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Recv: %v", err)
		}
		publish(t, c, note("a", 1), 1)
		if _, err := s.Recv(context.Background()); err != nil {
			t.Errorf("after a cancelled wait: %v", err)
		}
	})
}
