package wasm

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/semver"
	"golang.org/x/sys/unix"
)

// incomingPrefix begins the names of folders beside the agents in which a
// bundle is made ready, where no catalog looks.
const incomingPrefix = ".incoming-"

// incomingOld is after how long such a folder was left behind by a crash.
const incomingOld = 24 * time.Hour

// Staged is a bundle that was read whole and checked, in a folder that nobody
// looks into until Install.
type Staged struct {
	Bundle *Bundle // as it will be installed
	// Old is the bundle that it takes the place of, or nil. Of one that is
	// damaged only the manifest is there.
	Old *Bundle

	dir     string // agents folder
	staging string
}

// Stage reads a bundle from a folder, a .tar or a .tar.gz and checks every
// digest and its signature. Only what the manifest names is taken, the
// signature and README.md. Close gives back what it took.
func Stage(agentsDir, from string) (*Staged, error) {
	if err := os.MkdirAll(agentsDir, 0o755); err != nil {
		return nil, errorf(CodeBundle, "agents folder: %v", err)
	}
	removeLeftovers(agentsDir)
	staging, err := os.MkdirTemp(agentsDir, incomingPrefix)
	if err != nil {
		return nil, errorf(CodeBundle, "agents folder: %v", err)
	}
	s := &Staged{dir: agentsDir, staging: staging}
	if err := s.read(from); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func removeLeftovers(agentsDir string) {
	old, _ := filepath.Glob(filepath.Join(agentsDir, incomingPrefix+"*")) // the pattern is well formed
	for _, dir := range old {
		if st, err := os.Lstat(dir); err == nil && time.Since(st.ModTime()) > incomingOld {
			_ = os.RemoveAll(dir) // tried again the next time
		}
	}
}

func (s *Staged) read(from string) error {
	src, ref, err := s.open(from)
	if err != nil {
		return err
	}
	b, err := LoadBundle(src.FS, ref)
	if err != nil {
		return err
	}
	files, err := src.plainFiles(b, ref)
	if err != nil {
		return err
	}
	name := b.Manifest.Name
	for file, content := range files {
		if err := writeStaged(filepath.Join(s.staging, name, filepath.FromSlash(file)), content); err != nil {
			return errorf(CodeBundle, "installing %s: %v", name, err)
		}
	}
	if err := s.load(name); err != nil {
		return err
	}
	s.Bundle.Origin = from
	return s.findOld(name)
}

// load reads back what will be installed: what is shown and granted is that.
func (s *Staged) load(name string) error {
	ready, _, err := DirSource(s.staging)
	if err == nil {
		s.Bundle, err = LoadBundle(ready.FS, name)
	}
	return err
}

// open finds the bundle's folder in a folder or an archive.
func (s *Staged) open(from string) (src Source, ref string, err error) {
	st, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return src, "", errorf(CodeUnknownAgent, "there is nothing at %s", from)
	}
	if err != nil || !st.IsDir() && !st.Mode().IsRegular() {
		return src, "", errorf(CodeBundle, "%s is neither a folder nor a file", from)
	}
	if st.IsDir() {
		abs, err := filepath.Abs(from)
		if err != nil {
			return src, "", errorf(CodeBundle, "%s: %v", from, err)
		}
		src, _, err = DirSource(filepath.Dir(abs))
		return src, filepath.Base(abs), err
	}
	unpacked := filepath.Join(s.staging, "unpacked")
	if err := unpackFile(from, unpacked); err != nil {
		return src, "", err
	}
	src, _, err = DirSource(unpacked)
	if err == nil {
		ref, err = bundleFolder(src.FS)
	}
	return src, ref, err
}

func unpackFile(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return errorf(CodeBundle, "%s: %v", from, reason(err))
	}
	defer f.Close()
	if err := os.Mkdir(to, 0o700); err != nil {
		return errorf(CodeBundle, "unpacking: %v", err)
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return errorf(CodeBundle, "unpacking: %v", err)
	}
	defer root.Close()
	return unpack(f, root)
}

// bundleFolder is where in an archive the bundle is: at its top, or in the
// only folder there.
func bundleFolder(fsys fs.FS) (string, error) {
	if _, err := fs.Stat(fsys, ManifestFile); err == nil {
		return ".", nil
	}
	found, err := fs.Glob(fsys, "*/"+ManifestFile)
	if err != nil || len(found) != 1 {
		return "", errorf(CodeBundle, "the archive holds %d bundles at its top, not one", len(found))
	}
	return path.Dir(found[0]), nil
}

// plainFiles are the files of a bundle by their paths in its folder. All must
// be plain files inside of it: what a link leads to is not the bundle's.
func (src *Source) plainFiles(b *Bundle, ref string) (map[string][]byte, error) {
	files, err := src.files(b, ref)
	if err != nil {
		return nil, err
	}
	if readme, err := readBundleFile(src.FS, path.Join(ref, "README.md"), textFileMax); err == nil {
		files[path.Join(ref, "README.md")] = readme
	}
	out := map[string][]byte{}
	for name, content := range files {
		inside := name
		if ref != "." {
			var ok bool
			if inside, ok = strings.CutPrefix(name, ref+"/"); !ok {
				return nil, errorf(CodeBundle, "%s lies outside of the bundle; build it with a module of its own", name)
			}
		}
		for at := name; at != "." && at != ref; at = path.Dir(at) {
			if st, err := fs.Lstat(src.FS, at); err != nil || st.Mode()&fs.ModeSymlink != 0 {
				return nil, errorf(CodeBundle, "%s is a link; a bundle holds plain files", at)
			}
		}
		out[inside] = content
	}
	return out, nil
}

func writeStaged(name string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// findOld looks for what is installed under the name now.
func (s *Staged) findOld(name string) error {
	at := filepath.Join(s.dir, name)
	st, err := os.Lstat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil || !st.IsDir():
		return errorf(CodeBundle, "%s is there and no folder; move it away", at)
	}
	src, _, err := DirSource(s.dir)
	if err != nil {
		return err
	}
	if s.Old, err = LoadBundle(src.FS, name); err == nil {
		return nil
	}
	s.Old = &Bundle{Manifest: &Manifest{Name: name}}
	if text, err := readBundleFile(src.FS, path.Join(name, ManifestFile), manifestMax); err == nil {
		if m, err := ParseManifest(ManifestFile, text); err == nil {
			s.Old.Manifest = m
		}
	}
	return nil
}

// Downgrade reports whether an older version would take the place of a newer
// one (https://semver.org, section 11).
func (s *Staged) Downgrade() bool {
	return s.Old != nil && s.Old.Manifest.Version != "" &&
		semver.Compare("v"+s.Bundle.Manifest.Version, "v"+s.Old.Manifest.Version) < 0
}

// OtherSigner reports whether a signed bundle would be replaced by one that
// somebody else signed, or nobody.
func (s *Staged) OtherSigner() bool {
	return s.Old != nil && s.Old.Signer != "" && s.Old.Signer != s.Bundle.Signer
}

// Install makes the bundle visible at once and whole, and what it takes the
// place of invisible.
func (s *Staged) Install() error {
	name := s.Bundle.Manifest.Name
	from, to := filepath.Join(s.staging, name), filepath.Join(s.dir, name)
	var err error
	if s.Old == nil {
		err = os.Rename(from, to)
	} else if err = unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE); err != nil {
		err = s.swap(from, to) // file systems that cannot exchange
	}
	if err != nil {
		return errorf(CodeBundle, "installing %s: %v", name, err)
	}
	s.Bundle.Origin = s.dir
	return syncDir(s.dir)
}

func (s *Staged) swap(from, to string) error {
	old := filepath.Join(s.staging, "old")
	if err := os.Rename(to, old); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return errors.Join(err, os.Rename(old, to))
	}
	return nil
}

// Close removes what is left of the staging.
func (s *Staged) Close() error {
	if err := os.RemoveAll(s.staging); err != nil {
		return errorf(CodeBundle, "%v", err)
	}
	return nil
}

// Remove takes an installed bundle away, at once and then for good.
func Remove(agentsDir, name string) error {
	if !agentName().MatchString(name) {
		return errorf(CodeUnknownAgent, "%q is not an agent's name", name)
	}
	at := filepath.Join(agentsDir, name)
	if st, err := os.Lstat(at); err != nil || !st.IsDir() {
		return errorf(CodeUnknownAgent, "agent %s is not installed in %s", name, agentsDir)
	}
	gone, err := os.MkdirTemp(agentsDir, incomingPrefix)
	if err == nil {
		err = os.Rename(at, filepath.Join(gone, name))
	}
	if err = errors.Join(err, os.RemoveAll(gone)); err != nil {
		return errorf(CodeBundle, "removing %s: %v", name, err)
	}
	return nil
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return errorf(CodeBundle, "%v", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
