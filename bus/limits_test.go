package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
	"github.com/tinylib/msgp/msgp"
)

func TestMaxConns(t *testing.T) {
	var audit refusals
	_, srv, path := serve(t, bus.Config{}, bus.ServerConfig{MaxConns: 3, Audit: audit.audit})
	var conns []*bus.Conn
	for range 3 {
		conns = append(conns, dial(t, path, bus.KindCLI))
	}
	for range 5 {
		_, err := bus.Dial(t.Context(), path, bus.DialOptions{Name: "x", Kind: bus.KindCLI})
		var e *bus.WireError
		if !errors.As(err, &e) || e.Code != bus.CodeTooManyConns {
			t.Errorf("one too many: %v", err)
		}
	}
	if all := audit.all(); len(all) != 5 || all[0].Op != "connect" || all[0].Code != bus.CodeTooManyConns {
		t.Errorf("audit %+v", all)
	}
	_ = conns[0].Close()
	waitFor(t, func() bool { return srv.Conns() == 2 })
	dial(t, path, bus.KindCLI)
}

func TestMaxSubs(t *testing.T) {
	_, _, path := serve(t, bus.Config{}, bus.ServerConfig{MaxSubs: 2})
	c := dial(t, path, bus.KindCLI)
	s := listen(t, c, "a", bus.SubOptions{})
	listen(t, c, "b", bus.SubOptions{})
	var e *bus.WireError
	if _, err := c.Subscribe(t.Context(), "c", bus.SubOptions{}); !errors.As(err, &e) || e.Code != bus.CodeTooManySubs {
		t.Errorf("one too many: %v", err)
	}
	_ = s.Close()
	listen(t, c, "c", bus.SubOptions{})
}

// TestFrameRate: a client that sends faster is held back, not cut.
func TestFrameRate(t *testing.T) {
	t.Parallel()
	_, _, path := serve(t, bus.Config{}, bus.ServerConfig{FrameRate: 1000})
	r := dialRaw(t, path, true)
	ping := r.frame(rmp.Meta{}, map[string]any{"op": "ping"})
	start := time.Now()
	go func() { _, _ = r.conn.Write(bytes.Repeat(ping, 4000)) }()
	for range 4000 {
		if got := r.answer(); got["op"] != "pong" {
			t.Fatalf("answer %v", got)
		}
	}
	// The buffers of the reader may be let through at once; the rest cannot.
	if took := time.Since(start); took < time.Second {
		t.Errorf("4000 frames in %v", took)
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	_, srv, path := serve(t, bus.Config{}, bus.ServerConfig{IdleTime: 100 * time.Millisecond})
	silent := dialRaw(t, path, true)
	loris := dialRaw(t, path, true)
	frame := loris.note(note("a", 1))
	go func() { // a byte now and then does not help
		for _, b := range frame {
			if _, err := loris.conn.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	c, err := bus.Dial(t.Context(), path, bus.DialOptions{Name: "x", Kind: bus.KindCLI, KeepAlive: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, r := range []*rawClient{silent, loris} {
		if got := r.answer(); got["op"] != bus.CodeIdle {
			t.Errorf("answer %v", got)
		}
		r.ended()
	}
	waitFor(t, func() bool { return srv.Conns() == 1 })
	time.Sleep(200 * time.Millisecond)
	if err := c.Err(); err != nil {
		t.Errorf("a client that pings: %v", err)
	}
}

// TestNeverReads has fifty good subscribers and one that does not read. They
// lose nothing, it is cut, and the server holds no more for it than it may.
func TestNeverReads(t *testing.T) {
	const good, frames, size = 50, 120, 40 << 10
	b, _, path := serve(t, bus.Config{PublishWait: 20 * time.Millisecond, LagLimit: 50 * time.Millisecond},
		bus.ServerConfig{QueueBytes: 256 << 10})
	bad := dialRaw(t, path, true)
	bad.subscribe(1, "a", "")
	var wg sync.WaitGroup
	var got atomic.Int32
	for range good {
		s := listen(t, dial(t, path, bus.KindCLI), "a", bus.SubOptions{MaxMessages: frames})
		wg.Go(func() {
			for i := range frames {
				m, err := s.Recv(t.Context())
				if err != nil || number(t, m) != i {
					t.Errorf("frame %d: %v", i, err)
					return
				}
				got.Add(1)
			}
		})
	}
	d := b.Client("d", bus.KindDaemon)
	drops := subscribe(t, d, bus.TopicDrops, bus.SubOptions{})
	for i := range frames {
		m := note("a", i)
		m.Meta.To = strings.Repeat("x", size)
		if n, err := d.Publish(t.Context(), m); err != nil || n < good {
			t.Fatalf("frame %d: %d, %v", i, n, err)
		}
		// However slow this machine is, the good ones keep up.
		waitFor(t, func() bool { return got.Load() == int32(good*(i+1)) })
	}
	wg.Wait()
	var notice rmp.DropNotice
	if err := recv(t, drops).Decode(&notice); err != nil || notice.Reason != "backpressure" {
		t.Errorf("notice %+v, %v", notice, err)
	}
	waitFor(t, func() bool { return len(b.Subscriptions()) == good+1 })
	// What it had in its socket it may read, then why, then nothing.
	for last := ""; ; {
		var f rmp.Frame
		if err := bad.r.Next(&f); err != nil {
			if last != bus.CodeSlowConsumer && !isReset(err) && last != "" {
				t.Errorf("the last word was %q, then %v", last, err)
			}
			break
		}
		last = ""
		if f.SchemaID == rmp.CTErrorReport {
			var r rmp.ErrorReport
			_ = f.Decode(&r)
			last = r.Code
		}
	}
}

// TestWriteTime: a client that stops reading altogether is cut even when
// nothing more is published.
func TestWriteTime(t *testing.T) {
	t.Parallel()
	b, srv, path := serve(t, bus.Config{}, bus.ServerConfig{WriteTime: 50 * time.Millisecond})
	r := dialRaw(t, path, true)
	r.subscribe(1, "a", "")
	big := note("a", 0)
	big.Raw = msgp.AppendBytes(nil, make([]byte, 4<<20))
	publish(t, b.Client("d", bus.KindDaemon), big, 1)
	waitFor(t, func() bool { return srv.Conns() == 0 })
}

// TestAnswersAreBounded: a client that asks and does not read the answers is
// cut too.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	_, srv, path := serve(t, bus.Config{}, bus.ServerConfig{QueueBytes: 64 << 10, FrameRate: -1, WriteTime: 100 * time.Millisecond})
	r := dialRaw(t, path, true)
	pings := bytes.Repeat(r.frame(rmp.Meta{}, map[string]any{"op": "ping"}), 100)
	for {
		if _, err := r.conn.Write(pings); err != nil {
			break
		}
	}
	waitFor(t, func() bool { return srv.Conns() == 0 })
}

// TestSlowLoris: clients that say nothing, or very little, do not keep others
// out, and are gone after the handshake time.
func TestSlowLoris(t *testing.T) {
	t.Parallel()
	_, srv, path := serve(t, bus.Config{}, bus.ServerConfig{MaxConns: 300, HandshakeTime: 300 * time.Millisecond})
	var conns []net.Conn
	for i := range 250 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if i%2 == 0 {
			_, _ = conn.Write([]byte{0})
		}
	}
	for range 20 {
		c := dial(t, path, bus.KindCLI)
		if _, err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		_ = c.Close()
	}
	waitFor(t, func() bool { return srv.Conns() == 0 })
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// TestBusyLoop: an agent that answers itself is held back by the frame rate,
// and by the time to live of what it sends.
func TestBusyLoop(t *testing.T) {
	t.Parallel()
	b, _, path := serve(t, bus.Config{}, bus.ServerConfig{FrameRate: 2000})
	c := dial(t, path, bus.KindCLI)
	s := listen(t, c, "loop", bus.SubOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_ = c.Send(ctx, note("loop", 0))
	n := 0
	for {
		m, err := s.Recv(ctx)
		if err != nil {
			break
		}
		n++
		_ = c.Send(ctx, note("loop", number(t, m)+1))
	}
	if n == 0 || n > 6000 {
		t.Errorf("%d turns in a second", n)
	}
	if st := b.Stats(); st.Published > 6000 {
		t.Errorf("%d published", st.Published)
	}
}

// TestKills connects and hangs up at a random byte, thousands of times. No
// goroutine and no descriptor may be left; goleak checks the former again.
func TestKills(t *testing.T) {
	n := 2000
	if os.Getenv("RUNLOOP_SOAK") != "" {
		n = 10_000
	}
	b, srv, path := serve(t, bus.Config{}, bus.ServerConfig{MaxConns: 1000, FrameRate: -1})
	watcher := listen(t, dial(t, path, bus.KindCLI), "#", bus.SubOptions{})
	r := dialRaw(t, path, true)
	script := r.frame(rmp.Meta{}, map[string]any{"op": "hello", "kind": "cli", "name": "k", "proto": 0})
	script = append(script, r.frame(rmp.Meta{}, map[string]any{"op": "subscribe", "id": uint64(1), "topic": "x/#"})...)
	m := note("x/y", 1)
	m.Meta.Ack = 1
	script = append(script, r.note(m)...)
	_ = r.conn.Close()
	waitFor(t, func() bool { return srv.Conns() == 1 })
	fds, routines := openFiles(t), runtime.NumGoroutine()
	rnd := rand.New(rand.NewPCG(3, 4))
	for range n {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(script[:rnd.IntN(len(script)+1)])
		if rnd.IntN(2) == 0 {
			_ = conn.SetReadDeadline(time.Now().Add(time.Duration(rnd.IntN(300)) * time.Microsecond))
			_, _ = conn.Read(make([]byte, 1+rnd.IntN(400)))
		}
		_ = conn.Close()
	}
	waitFor(t, func() bool { return srv.Conns() == 1 && runtime.NumGoroutine() <= routines })
	if got := openFiles(t); got > fds {
		t.Errorf("%d descriptors, %d before", got, fds)
	}
	if got := len(b.Subscriptions()); got != 1 {
		t.Errorf("%d subscriptions", got)
	}
	say(t, dial(t, path, bus.KindCLI), note("last", 1), 1)
	for recv(t, watcher).Topic != "last" {
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc")
	}
	return len(names)
}

// TestGarbage sends mutated streams after a proper hello. The server answers
// or hangs up, and is there afterwards.
func TestGarbage(t *testing.T) {
	n := 300
	if os.Getenv("RUNLOOP_SOAK") != "" {
		n = 20_000
	}
	_, srv, path := serve(t, bus.Config{}, bus.ServerConfig{MaxConns: 1000})
	rnd := rand.New(rand.NewPCG(5, 6))
	for range n {
		r := dialRaw(t, path, true)
		var stream []byte
		for range 1 + rnd.IntN(4) {
			stream = append(stream, r.frame(rmp.Meta{}, map[string]any{"op": "subscribe", "id": uint64(1), "topic": "g/+"})...)
			stream = append(stream, r.note(note("g/1", 1))...)
		}
		for range 1 + rnd.IntN(6) {
			stream[rnd.IntN(len(stream))] = byte(rnd.Uint32())
		}
		_, _ = r.conn.Write(stream)
		if rnd.IntN(3) == 0 {
			_ = r.conn.(*net.UnixConn).CloseWrite()
			for f := (rmp.Frame{}); r.r.Next(&f) == nil; {
			}
		}
		_ = r.conn.Close()
	}
	waitFor(t, func() bool { return srv.Conns() == 0 })
	if _, err := dial(t, path, bus.KindCLI).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// helper runs this test binary again as another process, for what needs one:
// its own limits or its own user.
func helper(t *testing.T, name string, edit func(*exec.Cmd), args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"-test.run=^TestHelper$", "-test.count=1", "--", name}, args...)...)
	cmd.Env = append(os.Environ(), "RUNLOOP_TEST_HELPER=1")
	if edit != nil {
		edit(cmd)
	}
	return cmd
}

// TestHelper is what helper runs.
func TestHelper(t *testing.T) {
	if os.Getenv("RUNLOOP_TEST_HELPER") == "" {
		t.Skip("for other tests")
	}
	args := os.Args[len(os.Args)-2:]
	switch args[0] {
	case "dial":
		for range 100 {
			c, err := bus.Dial(t.Context(), args[1], bus.DialOptions{Name: "x", Kind: bus.KindUI})
			fmt.Printf("dial: %v\n", err)
			if err == nil {
				_ = c.Close()
			}
		}
	case "serve-few":
		b := bus.New(bus.Config{})
		ln, err := bus.Listen(args[1], 0)
		if err != nil {
			t.Fatal(err)
		}
		limit := uint64(openFiles(t)) + 16
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			t.Fatal(err)
		}
		go func() { // until the parent hangs up
			_, _ = os.Stdin.Read(make([]byte, 1))
			var use syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &use)
			fmt.Printf("cpu: %d ms\n", time.Duration(use.Utime.Nano()+use.Stime.Nano()).Milliseconds())
			_ = b.Close()
		}()
		_ = b.NewServer(bus.ServerConfig{MaxConns: 10_000, HandshakeTime: time.Minute}).Serve(ln)
	}
}

// TestOtherUser: a peer of another user is refused by the kernel's word,
// whatever the mode of the socket lets through.
func TestOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may become another user")
	}
	var audit refusals
	dir, err := os.MkdirTemp("", "rl") // one that others can get through
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	const uid, gid = 65534, 4242
	for _, tt := range []struct {
		policy bus.Policy
		want   bool
	}{{bus.Policy{}, false}, {bus.Policy{GID: gid + 1}, false}, {bus.Policy{GID: gid}, true}} {
		b := newBus(t, bus.Config{})
		ln, err := bus.Listen(path, 0)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = b.NewServer(bus.ServerConfig{Policy: tt.policy, Audit: audit.audit}).Serve(ln) }()
		if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o777)); err != nil {
			t.Fatal(err)
		}
		binary := filepath.Join(dir, "test")
		if data, err := os.ReadFile(os.Args[0]); err != nil || os.WriteFile(binary, data, 0o755) != nil {
			t.Fatal(err)
		}
		out, err := helper(t, "dial", func(cmd *exec.Cmd) {
			cmd.Path, cmd.Dir = binary, "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{7, gid}}}
		}, path).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		refused := bytes.Count(out, []byte("dial: bus: forbidden: uid 65534"))
		let := bytes.Count(out, []byte("dial: <nil>"))
		if tt.want && let != 100 || !tt.want && refused != 100 {
			t.Errorf("policy %+v: %d let in, %d refused\n%.400s", tt.policy, let, refused, out)
		}
		_ = b.Close()
	}
	all := audit.all()
	if len(all) != 200 || all[0].Peer.UID != uid || all[0].Op != "connect" || all[0].Code != bus.CodeForbidden {
		t.Errorf("%d refusals audited", len(all))
	}
}

// TestNoDescriptors: a server without descriptors says so to whoever comes,
// does not spin, and recovers when there are some again.
func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	var out bytes.Buffer
	cmd := helper(t, "serve-few", func(cmd *exec.Cmd) { cmd.Stdout, cmd.Stderr = &out, &out }, path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	}()
	waitFor(t, func() bool { return dialRaw(t, path, false) != nil })
	var told, let atomic.Int32
	var conns []net.Conn
	for range 200 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns[100:] { // surely beyond what the server has
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		var f rmp.Frame
		var r rmp.ErrorReport
		if err := rmp.NewReader(conn, rmp.Codec{}).Next(&f); err != nil || f.Decode(&r) != nil || r.Code != bus.CodeTooManyConns {
			let.Add(1)
			t.Errorf("%+v, %v", r, err)
			continue
		}
		told.Add(1)
	}
	time.Sleep(time.Second) // starved, and idle
	for _, conn := range conns {
		_ = conn.Close()
	}
	waitFor(t, func() bool {
		c, err := bus.Dial(t.Context(), path, bus.DialOptions{Name: "x", Kind: bus.KindCLI})
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	_ = stdin.Close()
	_ = cmd.Wait()
	var ms int
	i := strings.Index(out.String(), "cpu: ")
	if i < 0 {
		t.Fatalf("output %s", out.String())
	}
	if _, err := fmt.Sscanf(out.String()[i:], "cpu: %d ms", &ms); err != nil || ms > 1000 {
		t.Errorf("%d ms of CPU, %v", ms, err)
	}
	t.Logf("%d told, %d not, %d ms of CPU", told.Load(), let.Load(), ms)
}
