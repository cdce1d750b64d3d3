package wasm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// quantile is of durations, in microseconds.
func quantile(d []time.Duration, q float64) float64 {
	s := slices.Sorted(slices.Values(d))
	return float64(s[min(int(q*float64(len(s))), len(s)-1)].Nanoseconds()) / 1e3
}

// idleGuests are modules that wait at their mailbox: one in Go, and one in C.
func idleGuests(tb testing.TB) map[string][]byte {
	return map[string][]byte{"go": probeModule(tb, LifeCommand), "small": hostileGuest(tb, "exit_while_call")}
}

// idleRig has n bundles of one module, a0 and so on.
func idleRig(tb testing.TB, module []byte, n int) *rig {
	return newRigWith(tb, Services{}, func(h *HostConfig) {
		h.Residents = ResidentConfig{StopGrace: 20 * time.Millisecond, Max: n}
		var sources []Source
		for i := range n {
			name := fmt.Sprintf("a%d", i)
			sources = append(sources, Source{Name: name, FS: residentBundle(name, "", module), BuiltIn: true})
		}
		h.Catalog = NewCatalog(sources...)
	})
}

// BenchmarkIdleResidents is what a resident that waits for a message adds to
// the memory of the process: a staircase of 100.
func BenchmarkIdleResidents(b *testing.B) {
	const steps = 100
	for name, module := range idleGuests(b) {
		b.Run(name, func(b *testing.B) {
			var each []float64
			for b.Loop() {
				r := idleRig(b, module, steps+1)
				start := func(i int) {
					if err := r.host.StartAgent(context.Background(), fmt.Sprintf("a%d", i)); err != nil {
						b.Fatal(err)
					}
				}
				start(steps) // the module is loaded with the first
				before := residentMemory()
				for i := range steps {
					start(i)
				}
				each = append(each, float64(residentMemory()-before)/steps/(1<<20))
				for i := range steps + 1 {
					if _, err := r.host.StopAgent(context.Background(), fmt.Sprintf("a%d", i)); err != nil {
						b.Fatal(err)
					}
				}
			}
			slices.Sort(each)
			b.ReportMetric(each[len(each)/2], "MiB/agent")
		})
	}
}

// residentMemory is what the process has now, without garbage.
func residentMemory() int64 {
	debug.FreeOSMemory()
	return int64(processUse(os.Getpid()).resident)
}

// BenchmarkResidentSpawn is the time from wanting a resident until it is at
// its mailbox, the module being loaded, beside starting and ending a process
// of the same source.
func BenchmarkResidentSpawn(b *testing.B) {
	native := nativeResident(b)
	for name, module := range idleGuests(b) {
		b.Run(name, func(b *testing.B) {
			r := idleRig(b, module, 1)
			var ours, process []time.Duration
			for b.Loop() {
				began := time.Now()
				if err := r.host.StartAgent(context.Background(), "a0"); err != nil {
					b.Fatal(err)
				}
				ours = append(ours, time.Since(began))
				if _, err := r.host.StopAgent(context.Background(), "a0"); err != nil {
					b.Fatal(err)
				}
				began = time.Now()
				_ = exec.Command(native).Run() // it finds no input and says so
				process = append(process, time.Since(began))
			}
			b.ReportMetric(quantile(ours[1:], 0.5), "µs-p50")
			b.ReportMetric(quantile(ours[1:], 0.99), "µs-p99")
			b.ReportMetric(quantile(process, 0.5), "native-µs-p50")
			b.ReportMetric(quantile(process, 0.99), "native-µs-p99")
		})
	}
}

func nativeResident(b *testing.B) string {
	out := filepath.Join(b.TempDir(), "probe")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./testdata/probe/main.go")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, text)
	}
	return out
}
