package bus_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
	"github.com/tinylib/msgp/msgp"
)

// serve starts a server on a new bus and returns both and the socket's path.
func serve(t testing.TB, busCfg bus.Config, cfg bus.ServerConfig) (*bus.Bus, *bus.Server, string) {
	t.Helper()
	b := newBus(t, busCfg)
	path := filepath.Join(t.TempDir(), "s")
	ln, err := bus.Listen(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	srv := b.NewServer(cfg)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, bus.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return b, srv, path
}

// dial connects as a client that hangs up with the test.
func dial(t testing.TB, path string, kind bus.Kind) *bus.Conn {
	t.Helper()
	c, err := bus.Dial(t.Context(), path, bus.DialOptions{Name: "test " + string(kind), Kind: kind})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// listen subscribes through a connection.
func listen(t testing.TB, c *bus.Conn, filter string, opts bus.SubOptions) *bus.Subscription {
	t.Helper()
	s, err := c.Subscribe(t.Context(), filter, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// say publishes through a connection and expects a number of deliveries.
func say(t testing.TB, c *bus.Conn, m *rmp.Message, want int) {
	t.Helper()
	if n, err := c.Publish(t.Context(), m); n != want || err != nil {
		t.Fatalf("Publish to %s = %d, %v, want %d", m.Meta.Topic, n, err, want)
	}
}

func TestSocket(t *testing.T) {
	b, srv, path := serve(t, bus.Config{}, bus.ServerConfig{Name: "runloopd/test"})
	one, two := dial(t, path, bus.KindCLI), dial(t, path, bus.KindUI)
	if one.Server() != "runloopd/test" || one.Session() == "" || one.Session() == two.Session() {
		t.Errorf("server %q, sessions %q and %q", one.Server(), one.Session(), two.Session())
	}
	daemon := b.Client("daemon", bus.KindDaemon)
	inside := subscribe(t, daemon, "a/#", bus.SubOptions{})
	outside := listen(t, two, "a/+", bus.SubOptions{})
	say(t, one, note("nobody", 1), 0)

	m := note("a/b", 7)
	m.Meta.From = "one"
	say(t, one, m, 2)
	for _, s := range []*bus.Subscription{inside, outside} {
		got := recv(t, s)
		meta, err := got.DecodeMeta()
		if number(t, got) != 7 || got.MsgID != m.MsgID || got.TraceID != m.TraceID || err != nil || meta.From != "one" {
			t.Errorf("got %+v, %+v, %v", got, meta, err)
		}
	}
	publish(t, daemon, note("a/c", 8), 2)
	recv(t, inside)
	if got := recv(t, outside); number(t, got) != 8 || got.Topic != "a/c" {
		t.Errorf("from inside: %+v", got)
	}
	if err := one.Send(t.Context(), note("a/d", 9)); err != nil {
		t.Fatal(err)
	}
	if got := recv(t, outside); number(t, got) != 9 {
		t.Errorf("sent: %+v", got)
	}
	if d, err := one.Ping(t.Context()); err != nil || d <= 0 {
		t.Errorf("Ping = %v, %v", d, err)
	}
	_ = outside.Close()
	if _, err := two.Ping(t.Context()); err != nil { // comes after the unsubscribe
		t.Fatal(err)
	}
	say(t, one, note("a/e", 1), 1)
	if n := srv.Conns(); n != 2 {
		t.Errorf("%d connections", n)
	}
	_ = one.Close()
	_ = two.Close()
	waitFor(t, func() bool { return srv.Conns() == 0 })
	if st := b.Stats(); st.Published != 5 || st.Delivered != 7 || st.Subscriptions != 1 {
		t.Errorf("stats %+v", st)
	}
}

// TestSocketErrors: what a publisher is told.
func TestSocketErrors(t *testing.T) {
	_, _, path := serve(t, bus.Config{MaxTTL: time.Hour}, bus.ServerConfig{})
	c := dial(t, path, bus.KindCLI)
	s := listen(t, c, "a", bus.SubOptions{})
	old := note("a", 1)
	old.CreatedAtMS = 1
	long := note("a", 1)
	long.TTLMS = 3_600_001
	raw := note("a", 1)
	raw.RawMeta = []byte{0x80}
	for _, tt := range []struct {
		name string
		m    *rmp.Message
		want error
	}{
		{"topic", note("a/+", 1), bus.ErrTopic},
		{"no topic", note("", 1), bus.ErrTopic},
		{"expired", old, rmp.ErrExpired},
		{"ttl", long, rmp.ErrInvalidTTL},
		{"forbidden", note(bus.TopicDrops, 1), bus.ErrForbidden},
		{"schema", &rmp.Message{TTLMS: 1, Meta: rmp.Meta{Topic: "a"}}, rmp.ErrUnknownSchema},
		{"raw meta", raw, nil},
	} {
		_, err := c.Publish(t.Context(), tt.m)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Publish(ctx, note("a", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := c.Subscribe(t.Context(), "a//", bus.SubOptions{}); !errors.Is(err, bus.ErrTopic) {
		t.Errorf("bad filter: %v", err)
	}
	say(t, c, note("a", 2), 1)
	if got := number(t, recv(t, s)); got != 2 {
		t.Errorf("got %d", got)
	}
}

func TestSocketEnds(t *testing.T) {
	b, srv, path := serve(t, bus.Config{}, bus.ServerConfig{})
	c := dial(t, path, bus.KindCLI)
	s := listen(t, c, "a", bus.SubOptions{})
	publish(t, b.Client("d", bus.KindDaemon), note("a", 1), 1)
	recv(t, s)
	_ = srv.Close()
	<-c.Done()
	if err := c.Err(); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Err: %v", err)
	}
	if _, err := s.Recv(t.Context()); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Recv: %v", err)
	}
	for _, err := range []error{
		c.Send(t.Context(), note("a", 1)),
		func() error { _, err := c.Publish(t.Context(), note("a", 1)); return err }(),
		func() error { _, err := c.Subscribe(t.Context(), "b", bus.SubOptions{}); return err }(),
	} {
		if !errors.Is(err, bus.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	}
	if _, err := bus.Dial(t.Context(), path, bus.DialOptions{Name: "x", Kind: bus.KindCLI}); err == nil {
		t.Error("a closed server takes clients")
	}
}

// TestShutdown: what was published before is delivered, then the reason comes.
func TestShutdown(t *testing.T) {
	b, srv, path := serve(t, bus.Config{}, bus.ServerConfig{})
	c := dial(t, path, bus.KindTUI)
	s := listen(t, c, "a", bus.SubOptions{MaxMessages: 1000})
	d := b.Client("d", bus.KindDaemon)
	for i := range 500 {
		publish(t, d, note("a", i), 1)
	}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	var report *bus.WireError
	if err := c.Err(); !errors.As(err, &report) || report.Code != bus.CodeShutdown {
		t.Errorf("Err: %v", err)
	}
	_ = s
	if n := srv.Conns(); n != 0 {
		t.Errorf("%d connections left", n)
	}
	r := dialRaw(t, path, false)
	if r != nil {
		t.Error("the socket is still there")
	}
}

// TestShutdownGivesUp: a client that does not read cannot stop a shutdown.
func TestShutdownGivesUp(t *testing.T) {
	b, srv, path := serve(t, bus.Config{}, bus.ServerConfig{})
	r := dialRaw(t, path, true)
	r.subscribe(1, "a", "")
	d := b.Client("d", bus.KindDaemon)
	big := note("a", 0)
	big.Raw = msgp.AppendBytes(nil, make([]byte, 1<<20))
	for range 3 {
		big.CreatedAtMS = 0
		publish(t, d, big, 1)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	if n := srv.Conns(); n != 0 {
		t.Errorf("%d connections left", n)
	}
}

// rawClient speaks the protocol frame by frame.
type rawClient struct {
	t    testing.TB
	conn net.Conn
	r    *rmp.Reader
	ids  uint64
}

// dialRaw connects and, when asked to, says hello. It returns nil when nobody
// listens.
func dialRaw(t testing.TB, path string, greet bool) *rawClient {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	r := &rawClient{t: t, conn: conn, r: rmp.NewReader(conn, rmp.Codec{})}
	if greet {
		r.hello("cli")
	}
	return r
}

// frame encodes a control frame with a map as its payload.
func (r *rawClient) frame(meta rmp.Meta, payload map[string]any) []byte {
	r.ids++
	raw, err := msgp.AppendIntf(nil, payload)
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := rmp.AppendFrame(nil, &rmp.Message{SchemaID: rmp.CTControl, TTLMS: 1000, MsgID: r.ids,
		CreatedAtMS: uint64(time.Now().UnixMilli()), Raw: raw, Meta: meta})
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// write sends bytes as they are.
func (r *rawClient) write(b []byte) {
	r.t.Helper()
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// read returns the next frame.
func (r *rawClient) read() rmp.Frame {
	r.t.Helper()
	var f rmp.Frame
	if err := r.r.Next(&f); err != nil {
		r.t.Fatalf("read: %v", err)
	}
	return f
}

// answer returns the payload of the next frame, which must be a control frame
// or an error report; of the latter it has the code as op.
func (r *rawClient) answer() map[string]any {
	r.t.Helper()
	f := r.read()
	v, _, err := msgp.ReadMapStrIntfBytes(f.Payload, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if f.SchemaID == rmp.CTErrorReport {
		v["op"] = v["code"]
	} else if f.SchemaID != rmp.CTControl {
		r.t.Fatalf("answer is %s", f.Type)
	}
	if m, err := f.DecodeMeta(); err != nil {
		r.t.Fatal(err)
	} else if m.Ack != 0 {
		v["ack"] = m.Ack
	}
	return v
}

// ask sends a control frame and expects an answer.
func (r *rawClient) ask(payload map[string]any, want string) map[string]any {
	r.t.Helper()
	r.write(r.frame(rmp.Meta{}, payload))
	got := r.answer()
	if got["op"] != want {
		r.t.Fatalf("%v: answer %v, want %s", payload, got, want)
	}
	return got
}

// hello says hello as a kind.
func (r *rawClient) hello(kind string) map[string]any {
	r.t.Helper()
	return r.ask(map[string]any{"op": "hello", "kind": kind, "name": "raw", "proto": 0}, "hello.ok")
}

// subscribe subscribes.
func (r *rawClient) subscribe(id uint64, topic, queue string) {
	r.t.Helper()
	r.ask(map[string]any{"op": "subscribe", "id": id, "topic": topic, "queue": queue}, "subscribe.ok")
}

// ended expects the server to hang up.
func (r *rawClient) ended() {
	r.t.Helper()
	var f rmp.Frame
	if err := r.r.Next(&f); err != io.EOF && !errors.Is(err, net.ErrClosed) && !isReset(err) {
		r.t.Fatalf("the server did not hang up: %v, %s", err, f.Type)
	}
}

// note encodes a note as a frame.
func (r *rawClient) note(m *rmp.Message) []byte {
	r.ids++
	m.MsgID = r.ids
	if m.CreatedAtMS == 0 {
		m.CreatedAtMS = uint64(time.Now().UnixMilli())
	}
	b, err := rmp.AppendFrame(nil, m)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// TestWire is the protocol as a client in another language meets it.
func TestWire(t *testing.T) {
	_, _, path := serve(t, bus.Config{Codec: rmp.Codec{MaxBody: 1 << 16}}, bus.ServerConfig{Name: "d/1"})
	r := dialRaw(t, path, false)
	if ok := r.hello("cli"); ok["server"] != "d/1" || ok["max_body"] != int64(1<<16) && ok["max_body"] != uint64(1<<16) || ok["session"] == "" {
		t.Errorf("hello.ok %v", ok)
	}
	r.ask(map[string]any{"op": "ping", "new": "field"}, "pong")
	if got := r.ask(map[string]any{"op": "subscribe", "id": uint64(3), "topic": "x/#"}, "subscribe.ok"); got["id"] != int64(3) && got["id"] != uint64(3) {
		t.Errorf("subscribe.ok %v", got)
	}
	// A publish comes back byte for byte, whatever its meta looks like.
	m := note("", 1)
	m.RawMeta = []byte("\x84\xa1z\xc0\xa5topic\xd9\x03x/y\xa3ack\xcd\x01\x00\xa4tags\x92\xa1a\xa1b")
	sent := r.note(m)
	r.write(sent)
	if got := r.read(); !bytes.Equal(got.Bytes, sent) {
		t.Errorf("delivered % x, want % x", got.Bytes, sent)
	}
	if got := r.answer(); got["op"] != "ack" || got["n"] != int64(256) && got["n"] != uint64(256) {
		t.Errorf("ack %v", got)
	}
	r.ask(map[string]any{"op": "unsubscribe", "id": uint64(3)}, "unsubscribe.ok")
	for _, tt := range []struct {
		payload map[string]any
		want    string
	}{
		{map[string]any{"op": "dance"}, "unknown_op"},
		{map[string]any{"op": 5}, "BodyDecodeError"},
		{map[string]any{}, "unknown_op"},
		{map[string]any{"op": "hello", "kind": "ui", "name": "again", "proto": 0}, "unknown_op"},
		{map[string]any{"op": "unsubscribe", "id": uint64(3)}, "protocol"},
		{map[string]any{"op": "subscribe", "id": uint64(1), "topic": "a/#/b"}, "bad_topic"},
		{map[string]any{"op": "subscribe", "id": uint64(1), "topic": string(make([]byte, 600))}, "too_large"},
		{map[string]any{"op": "subscribe", "id": uint64(1), "topic": "a", "queue": "\x1b[2J"}, "protocol"},
		{map[string]any{"op": "subscribe", "id": uint64(1), "topic": "a", "queue": "q"}, "subscribe.ok"},
		{map[string]any{"op": "subscribe", "id": uint64(1), "topic": "b"}, "protocol"},
		{map[string]any{"op": "subscribe", "id": uint64(2), "topic": "+"}, "protocol"}, // overlaps a queue
		{map[string]any{"op": "subscribe", "id": uint64(2), "topic": "b/#"}, "subscribe.ok"},
		{map[string]any{"op": "subscribe", "id": uint64(4), "topic": "b/c"}, "subscribe.ok"},
	} {
		r.ask(tt.payload, tt.want)
	}
	// Two subscriptions of a connection match, it gets one copy.
	r.write(r.note(note("b/c", 1)))
	if got := r.read(); got.SchemaID != rmp.CTObservation {
		t.Errorf("delivered %s", got.Type)
	}
	r.ask(map[string]any{"op": "ping"}, "pong")
	// The error of a request comes with the number of its ack, and its trace.
	bad := r.frame(rmp.Meta{Ack: 9}, map[string]any{"op": "unsubscribe", "id": uint64(77)})
	bad[rmp.PrefixLen+36] = 0xab
	r.write(bad)
	f := r.read()
	if meta, err := f.DecodeMeta(); err != nil || meta.Ack != 9 || f.TraceID[0] != 0xab {
		t.Errorf("meta %+v, trace %s, %v", meta, f.TraceID, err)
	}
}

func TestHandshake(t *testing.T) {
	_, _, path := serve(t, bus.Config{}, bus.ServerConfig{HandshakeTime: 50 * time.Millisecond})
	hello := func(kind, name string, proto int) func(*rawClient) []byte {
		return func(r *rawClient) []byte {
			return r.frame(rmp.Meta{}, map[string]any{"op": "hello", "kind": kind, "name": name, "proto": proto})
		}
	}
	for _, tt := range []struct {
		name  string
		first func(*rawClient) []byte
		want  string
	}{
		{"publish", func(r *rawClient) []byte { return r.note(note("a", 1)) }, "protocol"},
		{"ping", func(r *rawClient) []byte { return r.frame(rmp.Meta{}, map[string]any{"op": "ping"}) }, "protocol"},
		{"kind", hello("daemon", "x", 0), "protocol"},
		{"no kind", hello("", "x", 0), "protocol"},
		{"no name", hello("cli", "", 0), "protocol"},
		{"name with escapes", hello("cli", "\x1b[31mroot", 0), "protocol"},
		{"long name", hello("cli", string(bytes.Repeat([]byte("x"), 65)), 0), "protocol"},
		{"proto", hello("cli", "x", 1), "protocol"},
		{"not a map", func(r *rawClient) []byte {
			b, _ := rmp.AppendFrame(nil, &rmp.Message{SchemaID: rmp.CTControl, TTLMS: 1, Raw: []byte{0x90}})
			return b
		}, "protocol"},
		{"silence", func(*rawClient) []byte { return nil }, "protocol"},
		{"half a frame", func(r *rawClient) []byte { return hello("cli", "x", 0)(r)[:50] }, "protocol"},
		{"http", func(*rawClient) []byte {
			return []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + string(make([]byte, 64)))
		}, "InvalidMagic"},
		{"large", func(r *rawClient) []byte { return hello("cli", string(make([]byte, 5000)), 0)(r) }, "BodyTooLarge"},
		{"flags", func(r *rawClient) []byte {
			b := hello("cli", "x", 0)(r)
			b[rmp.PrefixLen+8] = 1
			return b
		}, "InvalidHeaderFlags"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := dialRaw(t, path, false)
			if b := tt.first(r); b != nil {
				r.write(b)
			}
			if got := r.answer(); got["op"] != tt.want || got["message"] == "" {
				t.Errorf("answer %v, want %s", got, tt.want)
			}
			r.ended()
		})
	}
}

// TestBadFrames: after an error that leaves the stream in step the session
// goes on, after another it ends.
func TestBadFrames(t *testing.T) {
	_, _, path := serve(t, bus.Config{}, bus.ServerConfig{})
	for _, tt := range []struct {
		name string
		edit func([]byte)
		on   bool
	}{
		{"InvalidHeaderFlags", func(b []byte) { b[rmp.PrefixLen+8] = 1 }, true},
		{"UnknownSchema", func(b []byte) { b[rmp.PrefixLen+12] = 0xff }, true},
		{"InvalidTtl", func(b []byte) { clear(b[rmp.PrefixLen+28:][:8]) }, true},
		{"BodyDecodeError", func(b []byte) { b[rmp.PrefixLen+rmp.HeaderLen] = 0xc1 }, true},
		{"BodyTypeMismatch", func(b []byte) { b[rmp.PrefixLen+13] = 2 }, true},
		{"InvalidMagic", func(b []byte) { b[rmp.PrefixLen] = 'r' }, false},
		{"UnsupportedVersion", func(b []byte) { b[rmp.PrefixLen+5] = 9 }, false},
		{"BodyTooLarge", func(b []byte) { b[rmp.PrefixLen+16] = 0xff }, false},
		{"LengthMismatch", func(b []byte) { b[3]++ }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := dialRaw(t, path, true)
			b := r.note(note("a", 1))
			tt.edit(b)
			r.write(b)
			if got := r.answer(); got["op"] != tt.name {
				t.Errorf("answer %v", got)
			}
			if tt.on {
				r.ask(map[string]any{"op": "ping"}, "pong")
			} else {
				r.ended()
			}
		})
	}
}

// TestOutcomes: a publisher learns what became of a frame if it asked.
func TestOutcomes(t *testing.T) {
	_, _, path := serve(t, bus.Config{}, bus.ServerConfig{})
	r := dialRaw(t, path, true)
	r.subscribe(1, "a", "")
	m := note("a", 1)
	m.Meta.Ack = 5
	b := r.note(m)
	r.write(b)
	r.read() // the delivery
	if got := r.answer(); got["op"] != "ack" {
		t.Errorf("first: %v", got)
	}
	r.write(b)
	if got := r.answer(); got["op"] != "Duplicate" || got["ack"] != uint64(5) {
		t.Errorf("again: %v", got)
	}
	late := note("a", 1)
	late.CreatedAtMS = 1
	r.write(r.note(late)) // nobody asked
	late.Meta.Ack = 6
	r.write(r.note(late))
	if got := r.answer(); got["op"] != "Expired" || got["ack"] != uint64(6) {
		t.Errorf("late: %v", got)
	}
	m.Meta.Ack, m.Meta.Topic = 7, "a/#"
	r.write(r.note(m))
	if got := r.answer(); got["op"] != "bad_topic" || got["ack"] != uint64(7) {
		t.Errorf("topic: %v", got)
	}
}

// TestQueueOverSocket: two connections share the work.
func TestQueueOverSocket(t *testing.T) {
	b, _, path := serve(t, bus.Config{}, bus.ServerConfig{})
	var subs []*bus.Subscription
	for range 2 {
		subs = append(subs, listen(t, dial(t, path, bus.KindCLI), "work", bus.SubOptions{Queue: "q"}))
	}
	d := b.Client("d", bus.KindDaemon)
	for i := range 10 {
		publish(t, d, note("work", i), 1)
	}
	for i := range 10 {
		if got := number(t, recv(t, subs[i%2])); got != i {
			t.Errorf("got %d, want %d", got, i)
		}
	}
	c := dial(t, path, bus.KindCLI)
	listen(t, c, "work", bus.SubOptions{Queue: "q"})
	if _, err := c.Subscribe(t.Context(), "work", bus.SubOptions{}); err == nil {
		t.Error("a plain subscription may overlap a queue on the same connection")
	}
}

// TestManyPublishers sends from many goroutines through one connection, to
// another and back.
func TestManyPublishers(t *testing.T) {
	_, _, path := serve(t, bus.Config{PublishWait: time.Minute}, bus.ServerConfig{FrameRate: -1})
	one, two := dial(t, path, bus.KindCLI), dial(t, path, bus.KindCLI)
	requests := listen(t, two, "req", bus.SubOptions{})
	go func() {
		for {
			m, err := requests.Recv(context.Background())
			if err != nil {
				return
			}
			meta, _ := m.DecodeMeta()
			_ = two.Send(context.Background(), note("reply/"+meta.From, number(t, m)))
		}
	}()
	const n = 200
	errs := make(chan error, 8)
	for g := range cap(errs) {
		go func() {
			errs <- func() error {
				name := string(rune('a' + g))
				replies, err := one.Subscribe(t.Context(), "reply/"+name, bus.SubOptions{})
				if err != nil {
					return err
				}
				for i := range n {
					m := note("req", i)
					m.Meta.From = name
					if _, err := one.Publish(t.Context(), m); err != nil {
						return err
					}
					if got, err := replies.Recv(t.Context()); err != nil {
						return err
					} else if number(t, got) != i {
						return errors.New("a reply to something else")
					}
				}
				return replies.Close()
			}()
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestExpiredInTheOutbox: frames that wait for a client that does not read are
// not handed over when they are too old.
func TestExpiredInTheOutbox(t *testing.T) {
	b, _, path := serve(t, bus.Config{}, bus.ServerConfig{})
	r := dialRaw(t, path, true)
	r.subscribe(1, "a", "")
	d := b.Client("d", bus.KindDaemon)
	drops := subscribe(t, d, bus.TopicDrops, bus.SubOptions{})
	big := note("a", 0)
	big.Raw = msgp.AppendBytes(nil, make([]byte, 4<<20))
	publish(t, d, big, 1) // fills the socket
	time.Sleep(20 * time.Millisecond)
	short, long := note("a", 1), note("a", 2)
	short.TTLMS = 30
	publish(t, d, short, 1)
	publish(t, d, long, 1)
	time.Sleep(50 * time.Millisecond)
	if f := r.read(); len(f.Payload) < 4<<20 {
		t.Errorf("%d bytes came first", len(f.Payload))
	}
	if f := r.read(); f.MsgID != long.MsgID {
		t.Errorf("frame %d came, want %d", f.MsgID, long.MsgID)
	}
	var notice rmp.DropNotice
	if err := recv(t, drops).Decode(&notice); err != nil || notice.Reason != "ttl" || notice.Topic != "a" || notice.MsgID != short.MsgID {
		t.Errorf("notice %+v, %v", notice, err)
	}
}
