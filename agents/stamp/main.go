// Command stamp gives the module that was just compiled the form that starts
// fastest, and copies the built-in bundles to agents/dist with its digest.
//
//	stamp AGENTS_DIR DIST_DIR   (DIST_DIR/crew.wasm is there already)
package main

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"lukechampine.com/blake3"

	"github.com/runloop-os/runloop/wasm"
)

// digestMark stands in a manifest's source where the digest goes.
const digestMark = "@CREW@"

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: stamp AGENTS_DIR DIST_DIR")
		os.Exit(2)
	}
	if err := stamp(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "stamp:", err)
		os.Exit(1)
	}
}

func stamp(agents, dist string) error {
	name := filepath.Join(dist, "crew.wasm")
	module, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if module, err = wasm.Compact(module); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := os.WriteFile(name, module, 0o644); err != nil {
		return err
	}
	sum := blake3.Sum256(module)
	manifests, err := filepath.Glob(filepath.Join(agents, "*", "manifest.toml"))
	if err != nil || len(manifests) == 0 {
		return fmt.Errorf("no manifests in %s (%v)", agents, err)
	}
	for _, m := range manifests {
		to := filepath.Join(dist, filepath.Base(filepath.Dir(m)))
		if err := copyBundle(filepath.Dir(m), to, hex.EncodeToString(sum[:])); err != nil {
			return err
		}
	}
	return nil
}

func copyBundle(from, to, digest string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"manifest.toml", "policy.caps", "README.md"} {
		content, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		content = []byte(strings.ReplaceAll(string(content), digestMark, digest))
		if err := os.WriteFile(filepath.Join(to, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
