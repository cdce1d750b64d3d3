package opening

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

// ErrRunBundle says that bytes are not a run bundle, or one that was changed.
var ErrRunBundle = errors.New("not a valid run bundle")

// RunBundle is one run in one file: what `rlp runs export` writes (docs/runs.md
// "Run bundle"). It can be looked at, checked and replayed without the ledger
// that it comes from.
type RunBundle struct {
	// TraceJSON is the trace exactly as it was recorded; Trace is what it says.
	TraceJSON json.RawMessage
	Trace     *Trace
	// Ledger is what the ledger has about the run; nil for a run that was not
	// in one.
	Ledger *LedgerPart
	// Blobs are contents that the run refers to, by their SHA-256 in hex.
	Blobs map[string][]byte
	// Agents are the files of the agents that ran, by their path in a folder of
	// agents; nil when they do not come along.
	Agents map[string][]byte
	// Redacted says that values were replaced by commitments.
	Redacted bool
	// Head commits to all of it: the BLAKE3 of the manifest, in hex. It is set by
	// Encode and by ParseRunBundle.
	Head string
}

// LedgerPart is the events of a run, and the stretch of the ledger's chain from
// the first to the last of them.
type LedgerPart struct {
	Events []LedgerEvent
	// Links are all events of the stretch, those of others too, but of each only
	// what the chain is made of.
	Links []LedgerLink
	// Before and After are the heads of the ledger before the first link and
	// after the last.
	Before, After LedgerHead
}

// LedgerEvent is a row of the ledger (spec/05). Payload and Provenance are
// canonical JSON.
type LedgerEvent struct {
	ID         int64           `json:"id"`
	TSMillis   int64           `json:"ts_ms"`
	Actor      string          `json:"actor"`
	Kind       string          `json:"kind"`
	Scope      string          `json:"scope"`
	Payload    json.RawMessage `json:"payload"`
	Provenance json.RawMessage `json:"provenance"`
	Hash       string          `json:"hash"` // hex
	// Redacted says that Hash is that of the original.
	Redacted bool `json:"redacted,omitempty"`
}

// LedgerLink is what the chain is made of: an event without what it says.
type LedgerLink struct {
	ID, TSMillis int64
	Hash         string // hex
}

// LedgerHead names an event and commits to everything up to it, as
// pog.Head does. Hashes are hex.
type LedgerHead struct {
	EventID int64  `json:"event_id"`
	Chain   string `json:"chain"`
	Seal    string `json:"seal"`
}

// AgentFS shows the agents that came along as a folder of agents.
func (b *RunBundle) AgentFS() fs.FS { return memFS(b.Agents) }

// Names of the files in a run bundle.
const (
	fileManifest = "run.json"
	fileOpening  = "opening.json"
	fileTrace    = "trace.json"
	fileEvents   = "events.ndjson"
	fileLinks    = "links.txt"
	dirBlobs     = "blobs/"
	dirAgents    = "agents/"
)

// runBundleFormat is the version of the form.
const runBundleFormat = "runloop.run/1"

// runManifest is run.json: what the bundle is of, and a digest of every other
// file in it.
type runManifest struct {
	Format        string            `json:"format"`
	TraceID       string            `json:"trace_id"`
	OpeningName   string            `json:"opening_name"`
	OpeningIRHash string            `json:"opening_ir_hash"`
	FinalHash     string            `json:"final_hash"`
	Agents        map[string]string `json:"agents"` // digests by reference
	Redacted      bool              `json:"redacted,omitempty"`
	Ledger        *runLedger        `json:"ledger,omitempty"`
	Files         []runFile         `json:"files"` // in the order of their names
	// Head is the BLAKE3 of the manifest without it.
	Head string `json:"head,omitempty"`
}

// runLedger is the part of the manifest about the ledger.
type runLedger struct {
	Events int        `json:"events"`
	Before LedgerHead `json:"before"`
	After  LedgerHead `json:"after"`
}

// runFile is one file of the bundle.
type runFile struct {
	Name   string `json:"name"`
	Size   int    `json:"size"`
	Blake3 string `json:"blake3"`
}

// Encode gives the bundle as a file. The same run gives the same bytes.
func (b *RunBundle) Encode() ([]byte, error) {
	files, err := b.files()
	if err != nil {
		return nil, fmt.Errorf("a run bundle: %w", err)
	}
	m := b.manifest(files)
	m.Head = hashHex(mustJSON(m))
	b.Head = m.Head
	files[fileManifest] = mustJSON(m)
	return packBundle(files)
}

// files gives all files but the manifest.
func (b *RunBundle) files() (map[string][]byte, error) {
	if b.TraceJSON == nil {
		b.TraceJSON = b.Trace.JSON()
	}
	files := map[string][]byte{fileTrace: b.TraceJSON, fileOpening: b.Trace.OpeningIR}
	if b.Ledger != nil {
		files[fileEvents], files[fileLinks] = b.Ledger.eventLines(), b.Ledger.linkLines()
	}
	for sum, content := range b.Blobs {
		files[dirBlobs+sum] = content
	}
	for name, content := range b.Agents {
		files[dirAgents+name] = content
	}
	for name := range files {
		if !isBundleName(name) {
			return nil, fmt.Errorf("a file cannot be called %s", quote(name))
		}
	}
	return files, nil
}

// manifest describes the files, without a head yet.
func (b *RunBundle) manifest(files map[string][]byte) *runManifest {
	m := &runManifest{
		Format: runBundleFormat, TraceID: b.Trace.TraceID, OpeningName: b.Trace.OpeningName,
		OpeningIRHash: b.Trace.OpeningIRHash, FinalHash: b.Trace.FinalHash,
		Agents: b.Trace.Agents, Redacted: b.Redacted,
	}
	if l := b.Ledger; l != nil {
		m.Ledger = &runLedger{Events: len(l.Events), Before: l.Before, After: l.After}
	}
	for _, name := range sortedKeys(files) {
		m.Files = append(m.Files, runFile{Name: name, Size: len(files[name]), Blake3: hashHex(files[name])})
	}
	return m
}
