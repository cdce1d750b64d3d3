package runloop

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/runloop-os/runloop/opening"
)

// Results of a run in rlp ci.
const (
	ciPass  = "pass"
	ciFail  = "fail"
	ciError = "error" // it cannot be read
)

// ciRun replays many recorded runs in one sealed session.
type ciRun struct {
	*replayer
	dir      string
	openings []string // folders
}

// ciResult is what became of one file.
type ciResult struct {
	File       string                `json:"file"` // below the folder
	TraceID    string                `json:"trace_id,omitempty"`
	Opening    string                `json:"opening_name,omitempty"`
	Result     string                `json:"result"`
	Error      string                `json:"error,omitempty"`
	First      *opening.Step         `json:"first,omitempty"` // the first divergent step
	Notes      []string              `json:"notes,omitempty"`
	Replay     *opening.ReplayReport `json:"replay,omitempty"`
	DurationMS int64                 `json:"duration_ms"`
}

// all replays the files, several at a time. A JSON file that is no trace is
// none of its business.
func (c *ciRun) all(ctx context.Context, files []string, parallel int) *ciReport {
	if parallel <= 0 {
		parallel = runtime.GOMAXPROCS(0)
	}
	results := make([]*ciResult, len(files))
	places := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for i, name := range files {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			if ctx.Err() == nil {
				results[i] = c.one(ctx, name)
			}
		})
	}
	wg.Wait()
	report := &ciReport{Runs: []ciResult{}}
	for _, r := range results {
		if r != nil {
			report.add(*r)
		}
	}
	return report
}

// one replays a file; nil means that it is not a recorded run.
func (c *ciRun) one(ctx context.Context, name string) *ciResult {
	started := time.Now()
	out := &ciResult{File: name, Result: ciPass}
	if rel, err := filepath.Rel(c.dir, name); err == nil && rel != "." {
		out.File = filepath.ToSlash(rel)
	}
	run, err := c.io.readRecordedFile(name)
	if err != nil {
		if !claimsTrace(name) {
			return nil
		}
		out.Result, out.Error = ciError, err.Error()
		return out
	}
	out.TraceID, out.Opening = run.trace.TraceID, run.trace.OpeningName
	if run.trace.Redacted {
		out.Notes = append(out.Notes, "its values were redacted: checked, but not replayed")
		return out
	}
	plan, err := c.present(run.trace, out)
	if err == nil {
		opt := opening.ReplayOptions{MaxParallel: 1, Changed: func(string) bool { return true }, Plan: plan}
		out.Replay, err = c.replay(ctx, run.trace, opt)
	}
	if out.DurationMS = time.Since(started).Milliseconds(); err != nil {
		out.Result, out.Error = ciFail, err.Error()
		return out
	}
	out.judge()
	return out
}

// judge reads the replay.
func (r *ciResult) judge() {
	if !r.Replay.Same() {
		r.Result, r.First = ciFail, r.Replay.First
	}
	for _, n := range r.Replay.Nodes {
		switch {
		case n.Changed != nil:
			r.Notes = append(r.Notes, n.Node+": "+n.Changed.String())
		case n.Why != "":
			r.Notes = append(r.Notes, n.Node+" was not replayed: "+n.Why)
		}
		if len(n.Opening) > 0 {
			r.Notes = append(r.Notes, n.Node+": the opening tells it something else now")
		}
	}
}

// claimsTrace reports whether a file says that it is a recorded run, though it
// cannot be read as one.
func claimsTrace(name string) bool {
	if !strings.EqualFold(filepath.Ext(name), ".json") {
		return true
	}
	src, err := readFileLimited(name, opening.RunBundleMax)
	return err != nil || bytes.Contains(src, []byte(`"trace_id"`)) && bytes.Contains(src, []byte(`"opening_ir"`))
}

// present plans the opening of a run as it is now, with the run's parameters.
// One that is not here any more, or is what it was, leaves the recorded one.
func (c *ciRun) present(t *opening.Trace, out *ciResult) (*opening.Plan, error) {
	name, src, err := findOpening(t.OpeningName, c.openings, strings.NewReader(""))
	if exitCode(err) == exitNotFound {
		out.Notes = append(out.Notes, "no opening "+t.OpeningName+" is here now; replayed as recorded")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o, err := opening.Parse(name, src)
	if err != nil || o.Hash() == t.OpeningIRHash {
		return nil, err
	}
	out.Notes = append(out.Notes, "the opening is "+o.Hash()+" and was "+t.OpeningIRHash)
	given, err := t.GivenParams()
	if err != nil {
		return nil, err
	}
	plan, err := opening.Load(name, src, openingCatalog{planCatalog: planCatalog{c.catalog}, dirs: c.openings}, given)
	var problems opening.Problems
	if errors.As(err, &problems) && len(problems) > 0 {
		return nil, errors.New(strings.SplitN(problems.Text(), "\n", 2)[0])
	}
	return plan, err
}
