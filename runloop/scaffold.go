package runloop

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/runloop-os/runloop/wasm"
)

// scaffoldFiles are what a new agent begins with, a folder for each language
// and one for all. Templates have [[ ]] in place of {{ }}, which openings use.
//
//go:embed scaffold
var scaffoldFiles embed.FS

// sdkVersion stands in the go.mod of a new agent, whose copy of the SDK is in
// vendor/.
const sdkVersion = "v0.1.0"

// scaffold is what a new agent is made of.
type scaffold struct {
	Name    string
	About   string
	Lang    string // go, c, rust
	Dir     string // of the bundle
	Opening string // file to write a starter opening to; "" for none

	NoDigest, SDKVersion string
}

// languages are the ones that a new agent can be written in.
var languages = []string{"go", "c", "rust"}

// write makes the folder, which must not be there yet, whole or not at all.
func (s *scaffold) write() (err error) {
	s.NoDigest, s.SDKVersion = strings.Repeat("0", 64), sdkVersion
	if _, err := os.Lstat(s.Dir); err == nil {
		return exitErrorf(exitFailed, "%s is there already", s.Dir)
	}
	if err := os.MkdirAll(filepath.Dir(s.Dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(s.Dir), ".scaffold-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // gone already when all went well
	if err := s.fill(tmp); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := os.Rename(tmp, s.Dir); err != nil {
		return err
	}
	return s.writeOpening()
}

func (s *scaffold) fill(dir string) error {
	for _, from := range []string{"all", s.Lang} {
		files, err := fs.Glob(scaffoldFiles, "scaffold/"+from+"/*.tmpl")
		if err != nil {
			return err
		}
		for _, file := range files {
			name := strings.TrimSuffix(path.Base(file), ".tmpl")
			if name == openingTemplate {
				continue
			}
			if err := s.expand(file, filepath.Join(dir, s.place(name))); err != nil {
				return err
			}
		}
	}
	if s.Lang == "go" {
		return s.vendor(filepath.Join(dir, "vendor"))
	}
	return nil
}

// openingTemplate is written elsewhere.
const openingTemplate = "opening.yaml"

// place is where a file goes: sources of C and Rust into src.
func (s *scaffold) place(name string) string {
	if slices.Contains([]string{".c", ".h", ".rs"}, path.Ext(name)) {
		return filepath.Join("src", name)
	}
	return name
}

// expand writes a template to a file that is not there.
func (s *scaffold) expand(file, to string) error {
	src, err := fs.ReadFile(scaffoldFiles, file)
	if err != nil {
		return err
	}
	t, err := template.New(file).Delims("[[", "]]").Option("missingkey=error").Parse(string(src))
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, s); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return writeNew(to, b.Bytes(), 0o644)
}

func (s *scaffold) writeOpening() error {
	if s.Opening == "" {
		return nil
	}
	return s.expand("scaffold/all/"+openingTemplate+".tmpl", s.Opening)
}

// vendor copies the SDK to where `go build` looks for it
// (https://go.dev/ref/mod#vendoring).
func (s *scaffold) vendor(dir string) error {
	module, _, _ := strings.Cut(wasm.SDKPath, "/wasm/")
	list := fmt.Sprintf("# %s %s\n## explicit; go 1.24.0\n%s\n%s/guesttest\n",
		module, sdkVersion, wasm.SDKPath, wasm.SDKPath)
	sdk := wasm.SDK()
	err := fs.WalkDir(sdk, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") {
			return err
		}
		src, err := fs.ReadFile(sdk, name)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(wasm.SDKPath), filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return writeNew(to, src, 0o644)
	})
	if err != nil {
		return err
	}
	return writeNew(filepath.Join(dir, "modules.txt"), []byte(list), 0o644)
}
