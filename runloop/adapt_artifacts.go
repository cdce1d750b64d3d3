package runloop

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"lukechampine.com/blake3"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/wasm"
)

// artifactService keeps what agents and openings make as files of the user's,
// each in a folder named by its content, with an event that says where it
// comes from.
type artifactService struct {
	store *pog.Store
	dir   string
}

// kept is a file that was written.
type kept struct {
	id, path, sha256, blake3 string
}

// Save implements wasm.Artifacts.
func (a artifactService) Save(ctx context.Context, c wasm.Caller, art wasm.Artifact) (*wasm.SavedArtifact, error) {
	k, err := a.write(art.Name, []byte(art.Bytes))
	if err != nil {
		return nil, err
	}
	event, err := a.record(ctx, proposer(c), provenance(c), k, art)
	if err != nil {
		return nil, kbError(err)
	}
	return &wasm.SavedArtifact{
		ArtifactID: "artifact:" + k.id, Path: k.path, SHA256: k.sha256, Blake3: k.blake3, EventID: event,
	}, nil
}

// SaveArtifact implements opening.ArtifactSaver: the output of a port as JSON.
func (a artifactService) SaveArtifact(ctx context.Context, art opening.Artifact) (string, error) {
	var doc strings.Builder
	enc := json.NewEncoder(&doc)
	enc.SetIndent("", "  ")
	if err := enc.Encode(art.Value); err != nil {
		return "", err
	}
	name := strings.ReplaceAll(art.Port.String(), ".", "-") + ".json"
	k, err := a.write(name, []byte(doc.String()))
	if err != nil {
		return "", err
	}
	p := pog.System()
	p.Existing = true
	_, err = a.record(ctx, p, pog.Provenance{
		TraceID: art.TraceID, OpeningID: art.OpeningID, NodeID: art.Port.Node,
	}, k, wasm.Artifact{Kind: "output", Name: name, Summary: "Output " + art.Port.String()})
	return "artifact:" + k.id, err
}

// write puts content below the folder of artifacts, whole and synced before
// any event speaks of it.
func (a artifactService) write(name string, content []byte) (*kept, error) {
	sha, b3 := sha256.Sum256(content), blake3.Sum256(content)
	k := &kept{sha256: hex.EncodeToString(sha[:]), blake3: hex.EncodeToString(b3[:])}
	k.id = artifactID(sha)
	dir := filepath.Join(a.dir, k.id)
	k.path = filepath.Join(dir, artifactName(name))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keeping an artifact: %w", err)
	}
	if old, err := os.ReadFile(k.path); err == nil && sha256.Sum256(old) != sha && artifactID(sha256.Sum256(old)) == k.id {
		return nil, fmt.Errorf("keeping an artifact: %s has other content under the same id", k.path)
	}
	if err := writeSynced(k.path, content); err != nil {
		return nil, fmt.Errorf("keeping an artifact: %w", err)
	}
	return k, nil
}

// artifactID is how the knowledge base names content. It is short enough for two
// contents to be made that share one.
func artifactID(sha [sha256.Size]byte) string { return "a" + hex.EncodeToString(sha[:8]) }

func (a artifactService) record(ctx context.Context, p pog.Proposer, from pog.Provenance, k *kept, art wasm.Artifact) (int64, error) {
	payload := map[string]any{
		"id": k.id, "kind": art.Kind, "path": k.path, "sha256": k.sha256, "blake3": k.blake3,
		"name": filepath.Base(k.path), "size": len(art.Bytes), "summary": art.Summary,
	}
	if st, err := os.Stat(k.path); err == nil {
		payload["size"] = st.Size()
	}
	if len(art.Citations) > 0 {
		payload["citations"] = art.Citations
	}
	d, err := pog.NewDelta("artifact.created", payload)
	if err != nil {
		return 0, err
	}
	d.Provenance = from
	events, err := a.store.Propose(ctx, p, d)
	if err != nil {
		return 0, err
	}
	return events[0].ID, nil
}

// artifactName makes what an agent called a file fit for one: its last part,
// of letters, digits, dots, dashes and underscores, not hidden, not long.
func artifactName(name string) string {
	name = filepath.Base(name)
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("._-", r):
			return r
		}
		return '_'
	}, name)
	name = strings.TrimLeft(name, ".")
	if name == "" {
		name = "artifact"
	}
	return name[:min(len(name), 100)]
}

// writeSynced puts content in place of a file, durable before it returns.
func writeSynced(name string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(name))
}
