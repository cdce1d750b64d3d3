package opening

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

var forkTrace = uuid.MustParse("0194a1b2-0000-7000-8000-0123456789fe")

// forkLives is a fork whose process may be killed, on the disk that has its
// source.
type forkLives struct {
	w     *forkWorld
	store *treeStore
	x     *worldExecutor
}

func (l *forkLives) engine() *Engine {
	l.x = &worldExecutor{w: l.w}
	return &Engine{Executor: l.x, Store: l.store, MaxParallel: 3}
}

func (l *forkLives) caps(ref string) (string, error) { return l.w.caps[ref], nil }

// begin runs a plan until its end, or until its process dies.
func (l *forkLives) begin(t *rapid.T, id uuid.UUID, fork *Fork) (*Report, []string) {
	rep, err := l.engine().Run(t.Context(), l.w.plan(t), RunOptions{TraceID: id, Seed: Seed{7}, Fork: fork})
	switch {
	case errors.Is(err, errKilled):
		return nil, l.x.ran
	case err != nil:
		t.Fatal(err)
	}
	return rep, l.x.ran
}

// goOn is the next process.
func (l *forkLives) goOn(t *rapid.T) (*Report, []string) {
	l.store.dead, l.store.left = false, -1
	rr, err := LoadRun(t.Context(), l.store, forkTrace)
	if errors.Is(err, ErrNoRun) {
		return nil, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	fork, err := rr.Fork(t.Context(), l.store, l.caps)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := l.engine().Resume(t.Context(), rr, ResumeOptions{Fork: fork})
	if err != nil {
		t.Fatal(err)
	}
	return rep, l.x.ran
}

// TestForkResumes kills forks at random appends. The next process goes on taking
// steps over: between them they run what a fork in one process runs, and the
// report says the same.
func TestForkResumes(t *testing.T) {
	cases := 300
	if os.Getenv("RUNLOOP_SOAK") != "" {
		cases = 20_000
	}
	resumed, taken := 0, 0
	for seed := range cases {
		gen := rapid.Custom(func(t *rapid.T) int {
			was := drawFork(t)
			is := was.changed(t)
			from := ""
			if rapid.Bool().Draw(t, "from") {
				from = rapid.SampledFrom(is.o.Nodes).Draw(t, "node").ID
			}
			store := &treeStore{crashStore{left: -1}}
			source, _ := (&forkLives{w: was, store: store}).begin(t, testTrace, nil)
			l := &forkLives{w: is, store: store}
			fork := &Fork{Source: source.Trace, From: from, Caps: l.caps}
			whole, want := is.run(t, fork)

			store.left, store.after = rapid.IntRange(1, 6).Draw(t, "appends"), rapid.Bool().Draw(t, "after")
			rep, ran := l.begin(t, forkTrace, fork)
			before := 0
			if rep == nil {
				before = store.count(kindNodeFinished, "")
				var more []string
				if rep, more = l.goOn(t); rep == nil {
					return 0 // it had not begun
				}
				resumed++
				ran = append(ran, more...)
			}
			slices.Sort(ran)
			if ran = slices.Compact(ran); !slices.Equal(ran, want) {
				t.Fatalf("ran %v, want %v\n%s", ran, want, rep.Fork.Text())
			}
			checkSameFork(t, rep, whole, source.Trace, from)
			if before > 0 {
				return rep.Fork.Reused
			}
			return 0
		})
		taken += gen.Example(seed)
	}
	if resumed < cases/4 || taken == 0 {
		t.Errorf("%d of %d forks were resumed; they took %d steps over", resumed, cases, taken)
	}
}

// checkSameFork holds a fork of several processes against one of a single one,
// and its report against the one that is made of the traces alone.
func checkSameFork(t *rapid.T, rep, whole *Report, source *Trace, from string) {
	if rep.Trace.FinalHash != whole.Trace.FinalHash || rep.Trace.ForkedFrom != source.TraceID {
		t.Fatalf("it ended as %s from %q", rep.Trace.FinalHash, rep.Trace.ForkedFrom)
	}
	late, err := CompareFork(source, rep.Trace, from)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{rep.Fork.Text(), late.Text()} {
		if want := whole.Fork.Text(); text != want {
			t.Fatalf("the report is\n%s\nwant\n%s", text, want)
		}
	}
}

// TestForkWithoutSource: a history that does not have the source says so, and a
// run goes on as a fork of nothing else than it was.
func TestForkWithoutSource(t *testing.T) {
	gen := rapid.Custom(func(t *rapid.T) int {
		w := drawFork(t)
		l := &forkLives{w: w, store: &treeStore{crashStore{left: -1}}}
		source, _ := w.run(t, nil)
		other := *source.Trace
		l.store.left, l.store.after = 1, true
		l.begin(t, forkTrace, &Fork{Source: source.Trace, Caps: l.caps})
		l.store.dead, l.store.left = false, -1
		rr, err := LoadRun(t.Context(), l.store, forkTrace)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rr.Fork(t.Context(), l.store, l.caps); !errors.Is(err, ErrNoRun) {
			t.Fatalf("error %v", err)
		}
		other.TraceID = traceName(uuid.UUID{9})
		if _, err := l.engine().Resume(t.Context(), rr, ResumeOptions{Fork: &Fork{Source: &other}}); err == nil {
			t.Fatal("it went on with another source")
		}
		rep, err := l.engine().Resume(t.Context(), rr, ResumeOptions{})
		if err != nil || rep.Fork != nil || rep.Trace.ForkedFrom != source.Trace.TraceID {
			t.Fatalf("%v, %+v", err, rep)
		}
		return 0
	})
	gen.Example(1)
}

// TestNestedForkResumes kills a fork with a run inside at every append. Only the
// step that is told something else runs, in whatever process.
func TestNestedForkResumes(t *testing.T) {
	caps := func(string) (string, error) { return "c", nil }
	ran := map[string]bool{}
	store := &treeStore{crashStore{left: -1}}
	e := &Engine{Store: store, Catalog: shelf(), MaxParallel: 1, Executor: execFunc(
		func(ctx context.Context, req *Request, obs Observer) *Response {
			ran[req.Node] = true
			resp := speaks("I am "+req.Node)(ctx, req, obs)
			resp.Digest, resp.Caps = req.Digest, "c"
			return resp
		})}
	run := func(id uuid.UUID, params string, fork *Fork) (*Report, error) {
		p, err := Load("outer.opening", []byte(outer), shelf(), []byte(params))
		if err != nil {
			t.Fatal(err)
		}
		return e.Run(t.Context(), p, RunOptions{TraceID: id, Seed: Seed{1}, Fork: fork})
	}
	source, err := run(testTrace, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	kept := slices.Clone(store.records)
	want := ""
	for at := 1; ; at++ {
		clear(ran)
		store.records, store.left, store.after, store.dead = slices.Clone(kept), at, at%2 == 0, false
		rep, err := run(forkTrace, `{"n":8}`, &Fork{Source: source.Trace, Caps: caps})
		if err == nil {
			if at < 6 || rep.Trace.FinalHash != want || len(ran) != 1 {
				t.Errorf("%d appends, ran %v", at, ran)
			}
			return
		}
		store.left, store.dead = -1, false
		rr, err := LoadRun(t.Context(), store, forkTrace)
		if errors.Is(err, ErrNoRun) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		fork, err := rr.Fork(t.Context(), store, caps)
		if err != nil {
			t.Fatal(err)
		}
		if rr.Finished == "" {
			rep, err = e.Resume(t.Context(), rr, ResumeOptions{Fork: fork})
		} else {
			rep, err = rr.report(t.Context(), store)
		}
		if err != nil || !rep.Success || !ran["a"] || len(ran) != 1 {
			t.Fatalf("killed at %d: %v, %v ran", at, err, ran)
		}
		want = rep.Trace.FinalHash
	}
}
