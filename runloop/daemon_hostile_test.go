package runloop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
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
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		c, err := bus.Dial(ctx, h.socket(), bus.DialOptions{Name: "x", Kind: bus.KindCLI})
		cancel()
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
