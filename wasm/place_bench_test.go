package wasm

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
)

// lapTimes are how long something took, each time.
type lapTimes []time.Duration

func (l *lapTimes) lap(f func()) {
	began := time.Now()
	f()
	*l = append(*l, time.Since(began))
}

// report gives the median and the 99th percentile in microseconds.
func (l lapTimes) report(b *testing.B, name string) {
	slices.Sort(l)
	at := func(q float64) float64 { return float64(l[int(q*float64(len(l)-1))]) / 1e3 }
	b.ReportMetric(at(0.5), name+"µs-p50")
	b.ReportMetric(at(0.99), name+"µs-p99")
}

func benchModule(b *testing.B, binary []byte) *Module {
	b.Helper()
	m, err := testRuntime().Load(context.Background(), binary, hexSum(binary))
	if err != nil {
		b.Fatal(err)
	}
	return m
}

// BenchmarkSpawn makes an agent ready whose module is compiled: a Go guest up
// to the end of its _initialize, beside the same source as a process of its
// own; and a small guest up to its start.
func BenchmarkSpawn(b *testing.B) {
	b.Run("go", func(b *testing.B) {
		m := benchModule(b, probeModule(b, LifeReactor))
		native := nativeProbe(b)
		var ours, process lapTimes
		for b.Loop() {
			ours.lap(func() { ready(b, m) })
			process.lap(func() {
				cmd := exec.Command(native)
				cmd.Stdin = bytes.NewReader([]byte(`{"v":1,"agent":"probe","with":{"Do":"silent"}}`))
				_ = cmd.Run() // how it ends is none of this
			})
		}
		ours.report(b, "")
		process.report(b, "process-")
	})
	b.Run("small", func(b *testing.B) {
		m := benchModule(b, hostileGuest(b, "ok_hello"))
		var ours lapTimes
		for b.Loop() {
			ours.lap(func() {
				in, err := m.instantiate(context.Background(), newInitGuest([]string{"x"}, 64<<20))
				if err != nil {
					b.Fatal(err)
				}
				in.close()
			})
		}
		ours.report(b, "")
	})
}

func ready(b *testing.B, m *Module) {
	in, err := m.initialized(context.Background(), &guest{args: []string{"probe"}, memory: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	in.close()
}

func nativeProbe(b *testing.B) string {
	b.Helper()
	file := filepath.Join(b.TempDir(), "probe")
	if out, err := exec.Command("go", "build", "-o", file, "./testdata/probe").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return file
}

// BenchmarkActivate runs one attempt in an instance that was made ahead,
// beside a call of a Go function over a channel.
func BenchmarkActivate(b *testing.B) {
	m := benchModule(b, probeModule(b, LifeReactor))
	requests, answers := make(chan int), make(chan int)
	go func() {
		for n := range requests {
			answers <- n
		}
	}()
	defer close(requests)
	var ours, call lapTimes
	doc := []byte(`{"v":1,"agent":"probe","with":{"Do":"echo"}}`)
	for b.Loop() {
		in, err := m.initialized(context.Background(), &guest{args: []string{"probe"}, memory: 64 << 20})
		if err != nil {
			b.Fatal(err)
		}
		var out bytes.Buffer
		g := newInitGuest([]string{"probe"}, 64<<20)
		g.stdin, g.stdout = bytes.NewReader(doc), &out
		ours.lap(func() {
			in.cur = g
			if status, err := in.call(withGuest(context.Background(), g), LifeReactor, len(doc)); err != nil || status != 0 {
				b.Fatal(status, err, out.String())
			}
		})
		in.close()
		call.lap(func() { requests <- 1; <-answers })
	}
	ours.report(b, "")
	call.report(b, "channel-")
}

// BenchmarkWorker runs a small program in a process of its own: started for
// it, and waiting for it.
func BenchmarkWorker(b *testing.B) {
	for name, keep := range map[string]int{"started": 0, "waiting": 1} {
		b.Run(name, func(b *testing.B) {
			r := NewRuntime(RuntimeConfig{CacheDir: testRuntime().cache.dir, KeepReady: keep})
			defer r.Close()
			module := hostileGuest(b, "ok_hello")
			run := func() {
				if _, err := r.RunWASI(context.Background(), WASIConfig{Module: module, Args: []string{"x"}}); err != nil {
					b.Fatal(err)
				}
			}
			run()
			var ours lapTimes
			for b.Loop() {
				for keep > r.workers.waiting() {
					time.Sleep(100 * time.Microsecond)
				}
				ours.lap(run)
			}
			ours.report(b, "")
		})
	}
}

// BenchmarkIdle is the memory of a hundred instances that wait, each.
func BenchmarkIdle(b *testing.B) {
	for name, make := range map[string]func(b *testing.B) *instance{
		"go": func(b *testing.B) *instance {
			m := benchModule(b, probeModule(b, LifeReactor))
			in, err := m.initialized(context.Background(), &guest{args: []string{"probe"}, memory: 64 << 20})
			if err != nil {
				b.Fatal(err)
			}
			return in
		},
		"small": func(b *testing.B) *instance {
			in, err := benchModule(b, hostileGuest(b, "ok_hello")).
				instantiate(context.Background(), newInitGuest([]string{"x"}, 64<<20))
			if err != nil {
				b.Fatal(err)
			}
			return in
		},
	} {
		b.Run(name, func(b *testing.B) {
			const steps = 100
			for b.Loop() {
				make(b).close() // the module is loaded
				before := residentKB(b)
				var all []*instance
				for range steps {
					all = append(all, make(b))
				}
				b.ReportMetric((float64(residentKB(b))-float64(before))/1024/steps, "MiB/instance")
				for _, in := range all {
					in.close()
				}
			}
		})
	}
}

// BenchmarkStoppable is what it costs that a loop can be stopped: by gates, as
// guests in this process have them, and by wazero's own means; beside a loop
// that only ends with its process, as in a worker.
func BenchmarkStoppable(b *testing.B) {
	ctx := context.Background()
	// i = 3,000,000; loop { i = i - 1; br_if i }
	loop := asmMain(asmCat([]byte{0x41}, asmS(3_000_000), []byte{
		0x21, 0, 0x03, 0x40, 0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b,
	}), asmLocals(1, 0x7f))
	withGates, err := gated(loop, DefaultScanLimits())
	if err != nil {
		b.Fatal(err)
	}
	run := func(module []byte, checked bool) func() {
		rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCloseOnContextDone(checked))
		b.Cleanup(func() { rt.Close(ctx) })
		mod, err := rt.InstantiateWithConfig(ctx, module, wazero.NewModuleConfig().WithStartFunctions())
		if err != nil {
			b.Fatal(err)
		}
		start := mod.ExportedFunction(exportStart)
		return func() {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			if _, err := start.Call(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
	free, gates, checks := run(loop, false), run(withGates, false), run(loop, true)
	var f, g, c lapTimes
	for b.Loop() {
		f.lap(free)
		g.lap(gates)
		c.lap(checks)
	}
	f.report(b, "free-")
	g.report(b, "gates-")
	c.report(b, "wazero-")
}

// asmS is a signed LEB128 number, not negative.
func asmS(n uint64) (out []byte) {
	for ; n >= 0x40; n >>= 7 {
		out = append(out, byte(n&0x7f|0x80))
	}
	return append(out, byte(n))
}
