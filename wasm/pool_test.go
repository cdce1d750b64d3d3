package wasm

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// poolRig is a host of a runtime of its own that keeps instances ready.
func poolRig(t *testing.T, change func(*Runtime)) (*rig, *Runtime) {
	rt := NewRuntime(RuntimeConfig{CacheDir: testRuntime().cfg.CacheDir, KeepReady: 2, Max: Limits{MemoryMB: 64}})
	change(rt)
	t.Cleanup(func() {
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	})
	return newRigWith(t, Services{}, func(h *HostConfig) {
		h.Runtime = rt
		h.Catalog = NewCatalog(Source{Name: "x", FS: bundleFiles("probe", "", probeModule(t, LifeReactor)), BuiltIn: true})
	}), rt
}

// TestPooledInstanceServesOnce: a guest that keeps something for later never
// finds it, whether its instance was made ahead or not.
func TestPooledInstanceServesOnce(t *testing.T) {
	r, rt := poolRig(t, func(*Runtime) {})
	for range 20 {
		if got := out(t, r.do("count")); got != "1" {
			t.Fatalf("it was run before: %s", got)
		}
	}
	eventually(t, func() bool { return rt.pools.waiting.Load() > 0 })
	if n := int(rt.pools.waiting.Load()); n > rt.cfg.KeepReady {
		t.Errorf("%d instances wait", n)
	}
}

// TestPooledReplaysLikeFresh: what an instance was made for before does not
// show, in the answer or on the tape.
func TestPooledReplaysLikeFresh(t *testing.T) {
	r, rt := poolRig(t, func(*Runtime) {})
	for _, probe := range []string{"random", "clock", "echo"} {
		var answers []string
		for _, pooled := range []bool{false, true} {
			if pooled {
				eventually(t, func() bool { return rt.pools.waiting.Load() > 0 })
			} else {
				rt.filling.Wait()
				rt.pools.drain()
			}
			req := r.request("probe", fmt.Sprintf(`{"Do":%q}`, probe), nil)
			res := r.send(req)
			answers = append(answers, out(t, res))
			replay := *req
			replay.Mode, replay.Tape = rmp.ModeReplay, res.Tape
			again := r.send(&replay)
			if again.Diverged != nil {
				t.Errorf("%s, pooled %v: %+v", probe, pooled, again.Diverged)
			}
			answers = append(answers, out(t, again))
		}
		for _, a := range answers {
			if a != answers[0] {
				t.Errorf("%s answers %q", probe, answers)
				break
			}
		}
	}
}

// TestPoolsAreBounded: many pools hold no more than one bound, and what nobody
// uses goes.
func TestPoolsAreBounded(t *testing.T) {
	_, rt := poolRig(t, func(rt *Runtime) { rt.pools.most, rt.pools.idle = 3, time.Hour })
	module := probeModule(t, LifeReactor)
	m, err := rt.Load(context.Background(), module, hexSum(module))
	if err != nil {
		t.Fatal(err)
	}
	before, _ := rt.memories.Live()
	for i := range 8 {
		g := &guest{args: []string{fmt.Sprintf("a%d", i)}, memory: 64 << 20}
		m.fill(context.Background(), m.pool(g), g)
		if n := int(rt.pools.waiting.Load()); n > rt.pools.most {
			t.Fatalf("%d instances wait", n)
		}
	}
	last := &guest{args: []string{"a7"}, memory: 64 << 20}
	if in := m.takePooled(last); in == nil {
		t.Error("the latest is gone")
	} else {
		in.close()
	}
	rt.filling.Wait()
	rt.pools.idle = 10 * time.Millisecond
	for _, p := range m.pools {
		p.touch()
	}
	eventually(t, func() bool { n, _ := rt.memories.Live(); return n == before && rt.pools.waiting.Load() == 0 })
}
