package runloop

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/wasm"
)

// runBundleExt is how the names of run bundles end.
const runBundleExt = ".rlrun"

// blobMax is the most that one content in a run bundle may have, in bytes. What
// is larger is named by its digest only.
const blobMax = 32 << 20

// exportRun puts all that is known of a run together: out of the knowledge base,
// or for a trace in a file the trace alone.
func (o *IO) exportRun(ctx context.Context, cfg *Loaded, ref string) (*opening.RunBundle, error) {
	run, err := o.readRecorded(ctx, cfg, ref)
	if err != nil {
		return nil, err
	}
	if run.bundle != nil {
		return run.bundle, nil
	}
	b := &opening.RunBundle{Trace: run.trace, TraceJSON: run.raw}
	if run.file {
		return b, nil
	}
	err = o.withStore(ctx, func(store *pog.Store) error {
		events, err := eventsOfRuns(ctx, store, run.trace.RunIDs())
		if err != nil {
			return err
		}
		if b.Ledger, err = ledgerPart(ctx, store, events); err != nil {
			return err
		}
		b.Blobs, err = o.blobsOf(events)
		return err
	})
	return b, err
}

// eventsOfRuns reads every event about a run and the runs inside of it, in order,
// each once.
func eventsOfRuns(ctx context.Context, store *pog.Store, traces []string) ([]pog.Event, error) {
	var all []pog.Event
	for _, trace := range traces {
		some, err := eventsOfRun(ctx, store, trace)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b pog.Event) int { return cmp.Compare(a.ID, b.ID) })
	return slices.CompactFunc(all, func(a, b pog.Event) bool { return a.ID == b.ID }), nil
}

// eventsOfRun reads every event about a run, in order.
func eventsOfRun(ctx context.Context, store *pog.Store, trace string) ([]pog.Event, error) {
	var all []pog.Event
	for after := int64(0); ; {
		some, err := store.Events(ctx, pog.AllReader(), pog.Filter{Entity: trace, AfterID: after, Stored: true})
		if err != nil || len(some) == 0 {
			return all, err
		}
		all = append(all, some...)
		after = some[len(some)-1].ID
	}
}

// ledgerPart puts events into the form of bundles, with the chain they are in.
func ledgerPart(ctx context.Context, store *pog.Store, events []pog.Event) (*opening.LedgerPart, error) {
	if len(events) == 0 {
		return nil, nil
	}
	seg, err := store.Segment(ctx, events[0].ID, events[len(events)-1].ID)
	if err != nil {
		return nil, err
	}
	part := &opening.LedgerPart{Before: ledgerHead(seg.Before), After: ledgerHead(seg.After)}
	for _, k := range seg.Links {
		part.Links = append(part.Links, opening.LedgerLink{ID: k.ID, TSMillis: k.TSMillis, Hash: k.Hash.String()})
	}
	for _, e := range events {
		part.Events = append(part.Events, opening.LedgerEvent{
			ID: e.ID, TSMillis: e.TSMillis, Actor: e.Actor, Kind: e.Kind, Scope: e.Scope,
			Payload: e.Payload, Provenance: e.Provenance, Hash: e.Hash.String(),
		})
	}
	return part, nil
}

func ledgerHead(h pog.Head) opening.LedgerHead {
	return opening.LedgerHead{EventID: h.EventID, Chain: h.Chain.String(), Seal: h.Seal.String()}
}

// blobsOf reads the files that the run's artifacts are, as far as they are
// still there and still what the ledger says.
func (o *IO) blobsOf(events []pog.Event) (map[string][]byte, error) {
	blobs := map[string][]byte{}
	for _, e := range events {
		var a struct{ Path, SHA256 string }
		if e.Kind != "artifact.created" || json.Unmarshal(e.Payload, &a) != nil || a.Path == "" {
			continue
		}
		content, err := readFileLimited(a.Path, blobMax)
		if err != nil {
			o.warnf("an artifact of the run stays behind: %v", err)
			continue
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != a.SHA256 {
			o.warnf("an artifact of the run stays behind: %s is not what it was", a.Path)
			continue
		}
		blobs[a.SHA256] = content
	}
	return blobs, nil
}

// agentsOf reads the bundles that ran. All have to be here as they were.
func (o *IO) agentsOf(cfg *Loaded, t *opening.Trace, agentsDir string) (map[string][]byte, error) {
	catalog, err := o.catalog(cfg, sessionOptions{agentsDir: agentsDir})
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for ref, digest := range t.RanAgents() {
		b, err := catalog.Bundle(ref)
		if errors.Is(err, &wasm.Error{Code: wasm.CodeUnknownAgent}) {
			return nil, exitErrorf(exitNotFound, "--with-agents: %w", err)
		}
		if err != nil {
			return nil, err
		}
		if b.Digest != digest {
			return nil, exitErrorf(exitFailed, "--with-agents: agent %s was %s and is %s now", ref, digest, b.Digest)
		}
		some, err := catalog.Files(ref)
		if err != nil {
			return nil, err
		}
		for name, content := range some {
			files[name] = content
		}
	}
	return files, nil
}

// checkBundledAgents holds the agents that came along against those that ran.
func checkBundledAgents(b *opening.RunBundle) error {
	if len(b.Agents) == 0 {
		return nil
	}
	catalog := wasm.NewCatalog(wasm.Source{Name: "the run bundle", FS: b.AgentFS()})
	wanted := map[string]bool{}
	for ref, digest := range b.Trace.RanAgents() {
		got, err := catalog.Bundle(ref)
		if err != nil {
			return err
		}
		if got.Digest != digest {
			return fmt.Errorf("agent %s in it is %s, but %s ran", ref, got.Digest, digest)
		}
		files, err := catalog.Files(ref)
		if err != nil {
			return err
		}
		for name := range files {
			wanted[name] = true
		}
	}
	for name := range b.Agents {
		if !wanted[name] {
			return fmt.Errorf("it holds agents/%s, which belongs to no agent that ran", name)
		}
	}
	return nil
}

// redactKey reads the salt of commitments from a file, or makes the file; with
// no file it is made up and forgotten.
func redactKey(file string) (opening.RedactKey, error) {
	var key opening.RedactKey
	if file == "" {
		rand.Read(key[:]) // never fails (crypto/rand)
		return key, nil
	}
	text, err := readFileLimited(file, 1024)
	if errors.Is(err, fs.ErrNotExist) {
		rand.Read(key[:])
		return key, os.WriteFile(file, []byte(hex.EncodeToString(key[:])+"\n"), 0o600)
	}
	if err != nil {
		return key, err
	}
	return key, parseRedactKey(&key, file, text)
}

func parseRedactKey(key *opening.RedactKey, file string, text []byte) error {
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != len(key) {
		return usageErrorf("%s is not a key: want %d hex digits", file, 2*len(key))
	}
	copy(key[:], raw)
	return nil
}
