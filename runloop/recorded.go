package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/wasm"
)

// recorded is a run as it was recorded, wherever that is.
type recorded struct {
	trace  *opening.Trace
	raw    json.RawMessage    // the trace as it was recorded
	file   bool               // it came out of a file
	bundle *opening.RunBundle // nil: it did not come out of one
}

// sources are the agents that came along, unless those that are here are wanted.
func (r *recorded) sources(present bool) []wasm.Source {
	if present || r.bundle == nil || len(r.bundle.Agents) == 0 {
		return nil
	}
	return []wasm.Source{{Name: "the run bundle", FS: r.bundle.AgentFS()}}
}

// readRecorded reads a run from a file (a trace or a run bundle; "-" is stdin) or, for
// trace:<uuid> or a bare UUID, out of the knowledge base. Everything that shows
// or repeats a run reads it here.
func (o *IO) readRecorded(ctx context.Context, cfg *Loaded, ref string) (*recorded, error) {
	if _, err := os.Stat(ref); err == nil || looksLikeFile(ref) {
		return o.readRecordedFile(ref)
	}
	payload, err := o.storedTrace(ctx, cfg, ref)
	if err != nil {
		return nil, err
	}
	return parseTrace(ref, payload)
}

// readRecordedFile reads a trace or a run bundle; its first bytes tell which.
func (o *IO) readRecordedFile(name string) (*recorded, error) {
	src, err := o.readInput(name, opening.RunBundleMax)
	if errors.Is(err, os.ErrNotExist) {
		return nil, exitErrorf(exitNotFound, "no trace at %s", name)
	}
	if err != nil {
		return nil, err
	}
	if !opening.IsRunBundle(src) {
		r, err := parseTrace(name, src)
		if err == nil {
			r.file, r.raw = true, r.trace.JSON() // a file may be written in other forms
		}
		return r, err
	}
	b, err := opening.ParseRunBundle(src)
	if err != nil {
		return nil, usageErrorf("%s: %v", name, err)
	}
	return &recorded{trace: b.Trace, raw: b.TraceJSON, file: true, bundle: b}, nil
}

func looksLikeFile(ref string) bool {
	return ref == "-" || strings.ContainsRune(ref, os.PathSeparator) || strings.HasSuffix(ref, ".json") ||
		strings.HasSuffix(ref, runBundleExt)
}

func parseTrace(ref string, src []byte) (*recorded, error) {
	t, err := opening.ParseTrace(src)
	if err != nil {
		return nil, usageErrorf("%s: %v", ref, err)
	}
	return &recorded{trace: t, raw: src}, nil
}

// storedTrace finds the trace of a run, without touching the store.
func (o *IO) storedTrace(ctx context.Context, cfg *Loaded, ref string) (json.RawMessage, error) {
	id, err := o.runRef(ctx, cfg, ref)
	if err != nil {
		return nil, err
	}
	t, err := o.peekTrace(ctx, cfg, id.String())
	if err != nil {
		return nil, err
	}
	return t.JSON(), nil
}
