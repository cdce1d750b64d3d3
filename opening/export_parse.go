package opening

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

// ParseRunBundle reads a run bundle and checks every byte of it: the file
// against its digest, each part against the manifest, the trace against its
// hashes, each event against its hash, and the events against the chain of the
// ledger. That the agents in it are those that ran is for those to check who
// know what an agent is. Every error wraps [ErrRunBundle].
func ParseRunBundle(data []byte) (*RunBundle, error) {
	files, err := unpackBundle(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRunBundle, err)
	}
	b := &RunBundle{}
	if err := b.read(files); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRunBundle, err)
	}
	return b, nil
}

// read takes the bundle out of its files.
func (b *RunBundle) read(files map[string][]byte) error {
	raw, ok := files[fileManifest]
	if !ok {
		return errors.New("it has no " + fileManifest)
	}
	var m runManifest
	if err := strictCanonical(raw, &m); err != nil {
		return fmt.Errorf("%s: %w", fileManifest, err)
	}
	if err := m.check(files); err != nil {
		return err
	}
	b.Head, b.Redacted = m.Head, m.Redacted
	if err := b.readTrace(files, &m); err != nil {
		return err
	}
	for name, content := range files {
		if sum, ok := strings.CutPrefix(name, dirBlobs); ok {
			if got := sha256.Sum256(content); hex.EncodeToString(got[:]) != sum {
				return fmt.Errorf("%s is not its content's SHA-256", name)
			}
			put(&b.Blobs, sum, content)
		}
		if path, ok := strings.CutPrefix(name, dirAgents); ok {
			put(&b.Agents, path, content)
		}
	}
	return b.readLedger(files, &m)
}

// put adds to a map that is made when it is needed.
func put(m *map[string][]byte, key string, value []byte) {
	if *m == nil {
		*m = map[string][]byte{}
	}
	(*m)[key] = value
}

// strictCanonical reads JSON that must be in canonical form and hold nothing
// unknown.
func strictCanonical(raw []byte, into any) error {
	if err := checkShape(raw); err != nil {
		return err
	}
	clean, err := canonical(raw)
	if err != nil {
		return err
	}
	if !bytes.Equal(clean, raw) {
		return errors.New("it is not in canonical form")
	}
	if err := jsonv2.Unmarshal(raw, into, jsonv2.RejectUnknownMembers(true)); err != nil {
		return errors.New(describeDecode(err))
	}
	return nil
}

// check holds the manifest against the files and against its own head.
func (m *runManifest) check(files map[string][]byte) error {
	if m.Format != runBundleFormat {
		return fmt.Errorf("its format is %s; this program reads %s", quote(m.Format), runBundleFormat)
	}
	head := m.Head
	m.Head = ""
	if hashHex(mustJSON(m)) != head {
		return errors.New("head is not the hash of the manifest")
	}
	m.Head = head
	if len(m.Files) != len(files)-1 {
		return fmt.Errorf("the manifest names %d files, the bundle holds %d", len(m.Files), len(files)-1)
	}
	byName := func(a, b runFile) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(m.Files, byName) {
		return errors.New("the files of the manifest are not in order")
	}
	for _, f := range m.Files {
		content, ok := files[f.Name]
		switch {
		case !ok || f.Name == fileManifest:
			return fmt.Errorf("the manifest names %s, which is not there", quote(f.Name))
		case len(content) != f.Size || hashHex(content) != f.Blake3:
			return fmt.Errorf("%s is not what the manifest says", f.Name)
		}
	}
	return nil
}

// readTrace reads the trace and the opening and holds them against the manifest.
func (b *RunBundle) readTrace(files map[string][]byte, m *runManifest) error {
	t, err := ParseTrace(files[fileTrace])
	if err != nil {
		return fmt.Errorf("%s: %w", fileTrace, err)
	}
	b.Trace, b.TraceJSON = t, files[fileTrace]
	switch {
	case t.Redacted != m.Redacted:
		return errors.New("the trace and the manifest differ about what was redacted")
	case t.TraceID != m.TraceID, t.OpeningName != m.OpeningName, t.OpeningIRHash != m.OpeningIRHash,
		t.FinalHash != m.FinalHash, !bytes.Equal(mustJSON(t.Agents), mustJSON(m.Agents)):
		return errors.New("the manifest is not that of the trace")
	case !bytes.Equal(t.OpeningIR, files[fileOpening]):
		return fmt.Errorf("%s is not the opening of the trace", fileOpening)
	}
	return nil
}
