package runloop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// size is how often a test does something: few times, or as often as the
// specification says with RUNLOOP_SOAK=1.
func size(few, soak int) int {
	if os.Getenv("RUNLOOP_SOAK") != "" {
		return soak
	}
	return few
}

// rawFrame is a frame of a client that does not use package bus.
func rawFrame(t testing.TB, schema uint16, id uint64, meta rmp.Meta, payload map[string]any) []byte {
	t.Helper()
	raw, err := packJSON(payload)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := rmp.AppendFrame(nil, &rmp.Message{
		SchemaID: schema, MsgID: id, CreatedAtMS: uint64(time.Now().UnixMilli()), TTLMS: 600_000, Meta: meta, Raw: raw,
	})
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

func rawHello(t testing.TB) []byte {
	return rawFrame(t, rmp.CTControl, 1, rmp.Meta{}, map[string]any{"op": "hello", "kind": "cli", "name": "raw", "proto": 0})
}

// raw connects without a word.
func (h *home) raw() *net.UnixConn {
	h.t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: h.socket(), Net: "unix"})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return conn
}

// resident is the memory of the daemon, in MiB.
func (p *process) resident() int {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		p.t.Skip("no /proc")
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		p.t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 20
}

// bystanders are two clients that talk to each other until stop is called,
// which fails the test when they lost something.
func (h *home) bystanders() (stop func()) {
	h.t.Helper()
	speaker, listener := h.dial(bus.KindCLI), h.dial(bus.KindCLI)
	heard, err := listener.Subscribe(h.t.Context(), "bystanders/talk", bus.SubOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	quit, n := make(chan struct{}), 0
	var talking sync.WaitGroup
	talking.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(5 * time.Millisecond):
			}
			m := &rmp.Message{SchemaID: rmp.CTObservation, TTLMS: 60_000, Meta: rmp.Meta{Topic: "bystanders/talk"},
				Raw: []byte{0xc0}}
			if got, err := speaker.Publish(h.t.Context(), m); err != nil || got != 1 {
				h.t.Errorf("a bystander's frame: %d, %v", got, err)
				return
			}
			if _, err := heard.Recv(h.t.Context()); err != nil {
				h.t.Errorf("a bystander: %v", err)
				return
			}
			n++
		}
	})
	return func() {
		h.t.Helper()
		close(quit)
		if talking.Wait(); n == 0 {
			h.t.Error("the bystanders never talked")
		}
	}
}

// mutate damages a stream of frames the way that lines, disks and people do.
func mutate(rnd *rand.Rand, stream []byte) []byte {
	b := bytes.Clone(stream)
	for range 1 + rnd.IntN(4) {
		i := rnd.IntN(len(b))
		switch rnd.IntN(5) {
		case 0:
			b[i] ^= 1 << rnd.IntN(8)
		case 1:
			b[i] = byte(rnd.Uint32())
		case 2:
			b = append(b[:i], b[i+rnd.IntN(len(b)-i):]...)
		case 3:
			b = append(b[:i], append(bytes.Clone(b[i:]), b[rnd.IntN(len(b)):]...)...)
		default:
			copy(b[i:], []byte{0xff, 0xff, 0xff, 0xff})
		}
		if len(b) == 0 {
			return stream
		}
	}
	return b
}

// TestDaemonFuzz sends damaged frames into a living daemon. It stays, its
// memory too, every refusal has a name, and others notice nothing.
func TestDaemonFuzz(t *testing.T) {
	t.Parallel()
	const perStream = 8 // pairs of frames
	frames := size(20_000, 1_000_000)
	h := newHome(t)
	d := h.daemon()
	stop := h.bystanders()
	var stream []byte
	for i := range uint64(perStream) {
		stream = append(stream, rawFrame(t, rmp.CTControl, 10+i, rmp.Meta{Ack: i},
			map[string]any{"op": "subscribe", "id": i, "topic": "fuzz/+"})...)
		stream = append(stream, rawFrame(t, rmp.CTObservation, 100+i, rmp.Meta{Topic: "fuzz/a", Ack: 100 + i},
			map[string]any{"text": strings.Repeat("x", int(i)*10), "n": []int{1, 2, 3}})...)
	}
	rnd := rand.New(rand.NewPCG(7, 8))
	codes, warm := map[string]int{}, 0
	for sent := 0; sent < frames; {
		conn := h.raw()
		bad := mutate(rnd, append(rawHello(t), stream...))
		if sent%32 == 0 { // half of them get past the door
			bad = append(rawHello(t), mutate(rnd, stream)...)
		}
		_, _ = conn.Write(bad) // it may hang up before the end
		sent += 2 * perStream
		_ = conn.CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		countReports(t, conn, codes)
		conn.Close()
		if warm == 0 && sent > frames/4 {
			warm = d.resident()
		}
	}
	if now := d.resident(); now > warm+32 {
		t.Errorf("%d MiB after a quarter, %d at the end", warm, now)
	}
	stop()
	t.Logf("%d frames, %d MiB, reports %v", frames, d.resident(), codes)
	if len(codes) < 5 {
		t.Error("that is hardly a fuzz")
	}
	if strings.Contains(d.log.String(), "panic") {
		t.Error("a panic")
	}
}

// countReports reads what the daemon says until it hangs up.
func countReports(t *testing.T, conn net.Conn, codes map[string]int) {
	t.Helper()
	for r := rmp.NewReader(conn, rmp.Codec{}); ; {
		var f rmp.Frame
		if err := r.Next(&f); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the daemon neither answers nor hangs up")
			}
			return
		}
		var report rmp.ErrorReport
		if f.SchemaID != rmp.CTErrorReport {
			continue
		}
		if err := f.Decode(&report); err != nil || report.Code == "" || report.Message == "" {
			t.Errorf("a refusal without a name: %+v, %v", report, err)
		}
		codes[report.Code]++
	}
}

// TestDaemonSlowSubscriber: fifty get every frame while one does not read.
func TestDaemonSlowSubscriber(t *testing.T) {
	t.Parallel()
	const good, frames, bytesEach = 50, 200, 64 << 10
	h := newHome(t, "RUNLOOP__BUS__LIMITS__QUEUE_BYTES=1048576")
	d := h.daemon()
	lazy := h.raw()
	for _, frame := range [][]byte{rawHello(t), rawFrame(t, rmp.CTControl, 2, rmp.Meta{},
		map[string]any{"op": "subscribe", "id": 1, "topic": "news"})} {
		if _, err := lazy.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	var reading sync.WaitGroup
	for range good {
		sub, err := h.dial(bus.KindCLI).Subscribe(t.Context(), "news", bus.SubOptions{MaxMessages: frames})
		if err != nil {
			t.Fatal(err)
		}
		reading.Go(func() {
			for i := range frames {
				if _, err := sub.Recv(t.Context()); err != nil {
					t.Errorf("frame %d: %v", i, err)
					return
				}
			}
		})
	}
	speaker := h.dial(bus.KindCLI)
	raw, _ := packJSON(strings.Repeat("x", bytesEach))
	for i := range frames {
		m := &rmp.Message{SchemaID: rmp.CTObservation, TTLMS: 60_000, Meta: rmp.Meta{Topic: "news"}, Raw: raw}
		if n, err := speaker.Publish(t.Context(), m); err != nil || n < good {
			t.Fatalf("frame %d: %d, %v", i, n, err)
		}
		time.Sleep(25 * time.Millisecond) // so that it lags long enough to be cut
	}
	reading.Wait()
	eventually(t, "the lazy one is cut off", func() bool { return d.logged("slow consumer disconnected") != nil })
	codes := map[string]int{}
	_ = lazy.SetReadDeadline(time.Now().Add(patience))
	countReports(t, lazy, codes)
	if mib := d.resident(); mib > 150 {
		t.Errorf("%d MiB", mib)
	}
	t.Logf("the lazy one was told %v; %d MiB", codes, d.resident())
}

// TestDaemonManyClients: thousands in turn, hundreds at a time.
func TestDaemonManyClients(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.daemon()
	total, atOnce := size(1500, 10_000), 500
	watch := h.dial(bus.KindTUI)
	var group sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := range total {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			c, err := bus.Dial(t.Context(), h.socket(), bus.DialOptions{Name: "client " + strconv.Itoa(i), Kind: bus.KindCLI})
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			if _, err := c.Ping(t.Context()); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
			c.Close()
		})
	}
	group.Wait()
	eventually(t, "all are gone", func() bool { return watch.nextSnapshot(t).Bus.Sockets == 1 })
}

// TestDaemonDescriptors: a daemon without descriptors tells newcomers so, serves
// those who are there, and recovers.
func TestDaemonDescriptors(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.start(h.command("sh", "-c", "ulimit -n 80 && exec runloopd"))
	stop := h.bystanders()
	var refused *bus.WireError
	var held []*bus.Conn
	for refusals := 0; refusals < 5 && len(held) < 200; {
		c, err := bus.Dial(t.Context(), h.socket(), bus.DialOptions{Name: "x", Kind: bus.KindCLI})
		if err == nil {
			held = append(held, c)
		} else if !errors.As(err, &refused) || refused.Code != bus.CodeTooManyConns {
			t.Fatalf("after %d: %v", len(held), err)
		} else {
			refusals++
		}
	}
	if refused == nil || !strings.Contains(refused.Message, "descriptors") {
		t.Errorf("%d clients let in, refusal %v", len(held), refused)
	}
	stop()
	for _, c := range held {
		c.Close()
	}
	eventually(t, "it recovers", func() bool { _, _, code := h.run("rlp", "status"); return code == 0 })
}

// TestDaemonLoris: a thousand that say nothing, or half a word, are gone after
// the handshake time; meanwhile others get in.
func TestDaemonLoris(t *testing.T) {
	t.Parallel()
	const loris = 1000
	h := newHome(t, "RUNLOOP__BUS__LIMITS__HANDSHAKE_MS=3000")
	h.daemon()
	watch := h.dial(bus.KindTUI)
	hello := rawHello(t)
	conns := make([]*net.UnixConn, loris)
	for i := range conns {
		conns[i] = h.raw()
		if _, err := conns[i].Write(hello[:i%len(hello)]); err != nil && i%len(hello) > 0 {
			t.Fatal(err)
		}
	}
	start := time.Now()
	c := h.dial(bus.KindCLI)
	if _, err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("a good client took %v beside %d others", time.Since(start), loris)
	c.Close()
	eventually(t, "they are gone", func() bool { return watch.nextSnapshot(t).Bus.Sockets == 1 })
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if b, err := io.ReadAll(conn); err != nil && !errors.Is(err, syscall.ECONNRESET) || !bytes.Contains(b, []byte("protocol")) {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
	}
}

// TestDaemonKilledClients: clients that vanish in the middle of a byte sequence
// leave nothing behind.
func TestDaemonKilledClients(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	d := h.daemon()
	watch := h.dial(bus.KindTUI)
	script := append(rawHello(t), rawFrame(t, rmp.CTControl, 2, rmp.Meta{},
		map[string]any{"op": "subscribe", "id": 1, "topic": "x/#"})...)
	script = append(script, rawFrame(t, rmp.CTObservation, 3, rmp.Meta{Topic: "x/y", Ack: 1}, map[string]any{"a": "b"})...)
	rnd := rand.New(rand.NewPCG(9, 10))
	var before processMetrics
	mib := 0
	n := size(1000, 10_000)
	for i := range n {
		if i == n/4 {
			before, mib = watch.process(t, func(processMetrics) bool { return true }), d.resident()
		}
		conn := h.raw()
		_, _ = conn.Write(script[:rnd.IntN(len(script)+1)])
		if rnd.IntN(2) == 0 {
			_ = conn.SetReadDeadline(time.Now().Add(time.Duration(rnd.IntN(300)) * time.Microsecond))
			_, _ = conn.Read(make([]byte, 1+rnd.IntN(400)))
		}
		conn.Close()
	}
	watch.process(t, func(p processMetrics) bool {
		return p.OpenFiles <= before.OpenFiles+8 && p.Goroutines <= before.Goroutines+8
	})
	if now := d.resident(); now > mib+16 {
		t.Errorf("%d MiB, then %d", mib, now)
	}
}

// audited are the refusals in the ledger.
func (h *home) audited() []map[string]any {
	h.t.Helper()
	out := h.rlp("kb", "query", "--json", "SELECT payload_json, provenance_json FROM events WHERE kind = ? ORDER BY id", "cap.audit")
	var res struct{ Rows [][]any }
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	var all []map[string]any
	for _, row := range res.Rows {
		var payload, from map[string]any
		if err := errors.Join(json.Unmarshal([]byte(row[0].(string)), &payload), json.Unmarshal([]byte(row[1].(string)), &from)); err != nil {
			h.t.Fatal(err)
		}
		payload["source"] = from["source"]
		all = append(all, payload)
	}
	return all
}

// TestDaemonForgeries: who may not decide does not, who was not asked to work
// for a run does not speak for it, and both are in the audit.
func TestDaemonForgeries(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.daemon()
	h.people()
	ui := h.dial(bus.KindUI)
	a := ui.mustAsk(t, emailTo(t, "John Okafor", "ask"))
	state := ui.until(t, a.TraceID, "the action waits", waits)
	var req rmp.ActionRequest
	raw, err := rmp.AppendMsgpack(nil, state.Actions[0])
	if err == nil {
		_, err = req.UnmarshalMsg(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	trace, err := rmp.ParseTraceID(a.TraceID)
	if err != nil {
		t.Fatal(err)
	}
	decision := func() *rmp.Message {
		return &rmp.Message{SchemaID: rmp.CTActionDecision, TraceID: trace, TTLMS: 60_000,
			Meta: rmp.Meta{Topic: wasm.TopicActions}, Payload: &rmp.ActionDecision{Op: rmp.OpActionDecision,
				ActionID: req.ActionID, TraceID: req.TraceID, Digest: req.Digest, Approved: true, By: "user"}}
	}
	kinds := []bus.Kind{bus.KindCLI, bus.KindAgent, bus.KindTool}
	for _, kind := range kinds {
		if _, err := h.dial(kind).Publish(t.Context(), decision()); !errors.Is(err, bus.ErrForbidden) {
			t.Errorf("a decision of a %s: %v", kind, err)
		}
	}
	other := &rmp.Message{SchemaID: rmp.CTObservation, TraceID: trace, TTLMS: 60_000,
		Meta: rmp.Meta{Topic: "rlp/runs/" + uuid.UUID(trace).String() + "/agents/a/1"}, Raw: []byte{0xc0}}
	if _, err := h.dial(bus.KindTool).Publish(t.Context(), other); !errors.Is(err, bus.ErrForbidden) {
		t.Errorf("a tool in another's run: %v", err)
	}
	if state := ui.mustAsk(t, &ctrlRequest{Op: "run.get", TraceID: a.TraceID}).Run; !waits(state) {
		t.Errorf("the action was decided: %+v", state)
	}
	audit := h.audited()
	if len(audit) != len(kinds)+1 {
		t.Fatalf("%d in the audit: %v", len(audit), audit)
	}
	for i, kind := range append(kinds, bus.KindTool) {
		want := map[string]any{"cap": "bus", "op": "publish", "decision": "deny"}
		for k, v := range want {
			if audit[i][k] != v {
				t.Errorf("%s: %s is %v", kind, k, audit[i][k])
			}
		}
		if source, _ := audit[i]["source"].(string); !strings.HasSuffix(source, "kind "+string(kind)) ||
			!strings.Contains(source, fmt.Sprintf("pid %d", os.Getpid())) {
			t.Errorf("%s: source %q", kind, source)
		}
	}
}

// TestDaemonOtherUser: the files keep another user out, and where somebody
// opened them the daemon does.
func TestDaemonOtherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	h := newHome(t)
	h.daemon()
	public, err := os.MkdirTemp("", "rlother")
	h.Check(err)
	t.Cleanup(func() { os.RemoveAll(public) })
	h.Check(os.Chmod(public, 0o755))
	program, err := os.ReadFile(os.Args[0])
	h.Check(err)
	h.Check(os.WriteFile(filepath.Join(public, "rlp"), program, 0o755))
	status := func() (string, int) {
		cmd := exec.Command(filepath.Join(public, "rlp"), "status")
		cmd.Dir, cmd.Env = "/", []string{"HOME=/nonexistent", "RUNLOOP__RUNTIME__WORKDIR=" + public,
			"RUNLOOP__RUNTIME__SOCKET_PATH=" + h.socket()}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := status(); code != exitNoDaemon || !strings.Contains(out, "not open to this user") {
		t.Errorf("past the files: exit %d, %s", code, out)
	}
	for _, path := range []string{h.dir, filepath.Join(h.dir, ".runloop"), filepath.Dir(h.socket())} {
		h.Check(os.Chmod(path, 0o755))
	}
	h.Check(os.Chmod(h.socket(), 0o777))
	if out, code := status(); code != exitNoDaemon || !strings.Contains(out, "forbidden: uid 65534") {
		t.Errorf("past the daemon: exit %d, %s", code, out)
	}
	audit := h.audited()
	if len(audit) != 1 || audit[0]["op"] != "connect" || !strings.Contains(fmt.Sprint(audit[0]["source"]), "uid 65534") {
		t.Errorf("audit %v", audit)
	}
}

// TestDaemonKilled: who follows a run learns that the daemon is gone, after
// waiting for it a little.
func TestDaemonKilled(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	d := h.daemon()
	h.people()
	ui := h.dial(bus.KindUI)
	a := ui.mustAsk(t, emailTo(t, "John Okafor", "ask"))
	ui.until(t, a.TraceID, "the action waits", waits)
	cmd := h.command("rlp", "runs", "follow", a.TraceID)
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	h.Check(cmd.Start())
	eventually(t, "it follows", func() bool { return strings.Contains(out.String(), "action.requested") })
	d.signal(syscall.SIGKILL)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitNoDaemon || !strings.Contains(out.String(), "what became of the run: rlp runs show trace:") {
		t.Errorf("exit %d\n%s", code, out.String())
	}
	if _, err := ui.ask(t.Context(), &ctrlRequest{Op: "status"}); err == nil {
		t.Error("a dead daemon answers")
	}
}

// TestDaemonReturns: a run goes on in the daemon that is started after one was
// killed, and who follows it sees the end.
func TestDaemonReturns(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	d := h.daemon()
	h.people()
	ui := h.dial(bus.KindUI)
	a := ui.mustAsk(t, emailTo(t, "John Okafor", "ask"))
	ui.until(t, a.TraceID, "the action waits", waits)
	cmd := h.command("rlp", "runs", "follow", a.TraceID)
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	h.Check(cmd.Start())
	eventually(t, "it follows", func() bool { return strings.Contains(out.String(), "action.requested") })
	d.signal(syscall.SIGKILL)
	d.wait()
	h.daemon()
	late := h.terminal("rlp", "runs", "follow", a.TraceID, "--progress", "plain")
	late.expect("Go ahead? [y/N]")
	late.typed("y\r")
	if code := late.wait(); code != exitOK {
		t.Errorf("who decided: exit %d", code)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), `"kind":"run.finished"`) {
		t.Errorf("who followed: %v\n%s", err, out.String())
	}
}
