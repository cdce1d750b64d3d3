package wasm

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"lukechampine.com/blake3"
)

// codeCache is the folder where compiled modules are kept between processes.
// Its files are native code which wazero guards with a checksum only, so the
// folder must be ours alone, and each module has a subfolder of its own whose
// files must match the digests noted beside it when they were written;
// anything else in it is thrown away before wazero may look.
type codeCache struct{ dir string }

// openCodeCache makes the folder if need be. It refuses one that others own or
// may write to.
func openCodeCache(dir string) (*codeCache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("compilation cache: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return nil, fmt.Errorf("compilation cache %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return nil, fmt.Errorf("compilation cache %s: must be a folder with mode 0700 that is yours", dir)
	}
	return &codeCache{dir: dir}, nil
}

// lock keeps other processes from working on the same module; the second of
// two first runs waits and then loads what the first compiled.
func (c *codeCache) lock(ctx context.Context, digest string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, digest+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("compilation cache: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("compilation cache: %w", err)
	}
	return func() { f.Close() }, nil
}

// seal is what is noted of a module's folder once it is written: the digests
// of its files and what the scan found, which need not be done again.
type seal struct {
	Scan  int               `json:"scan"` // scanVersion
	Info  *ModuleInfo       `json:"info"`
	Life  Life              `json:"life"`
	Files map[string]string `json:"files"`
}

// scanVersion goes up when a scan refuses what it used to accept, and when other
// files are kept.
const scanVersion = 5

// folder is where a module is kept. Programs of two versions may use the cache
// at a time, and must not take the other's files for damaged ones.
func (c *codeCache) folder(digest string) string {
	return filepath.Join(c.dir, fmt.Sprintf("v%d-%s", scanVersion, digest))
}

// open returns the subfolder of a module and its seal, or nil when it has none
// that counts. The caller has the lock and checks the files against the seal.
func (c *codeCache) open(digest string) (dir string, s *seal) {
	dir = c.folder(digest)
	src, err := os.ReadFile(dir + ".seal")
	if err != nil {
		return dir, nil
	}
	s = &seal{}
	if json.Unmarshal(src, s) != nil || s.Scan != scanVersion || s.Info == nil || len(s.Files) == 0 {
		return dir, nil
	}
	return dir, s
}

// matches reports whether the files below dir are those of the seal.
func (s *seal) matches(dir string) bool {
	files, err := sumFolder(dir)
	return err == nil && maps.Equal(files, s.Files)
}

// clear makes the subfolder anew, with nothing in it.
func (c *codeCache) clear(dir string) error {
	os.Remove(dir + ".seal") // if it is there, it would not match any more
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return fmt.Errorf("compilation cache: %w", err)
	}
	return nil
}

// seal notes what was just written.
func (c *codeCache) seal(digest string, info *ModuleInfo, life Life) (*seal, error) {
	dir := c.folder(digest)
	files, err := sumFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("compilation cache: %w", err)
	}
	s := &seal{Scan: scanVersion, Info: info, Life: life, Files: files}
	src, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("compilation cache: %w", err)
	}
	return s, writeFileAtomic(dir+".seal", src)
}

// sumFolder is the digest of every file below dir, by its path there.
func sumFolder(dir string) (map[string]string, error) {
	files := map[string]string{}
	buf := make([]byte, sumBuffer)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is not a regular file", name)
		}
		sum, err := sumFile(name, buf)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		files[rel] = sum
		return err
	})
	return files, err
}

// sumBuffer is how much of a file is looked at at a time: enough for the hash to
// work in parallel. To read files whole, 20 MB for the built-in agents, takes
// longer than to hash them, because each page of memory is new.
const sumBuffer = 1 << 20

// sumFile is the digest of a file, by way of buf.
func sumFile(name string, buf []byte) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := blake3.New(32, nil)
	for {
		n, err := f.Read(buf)
		h.Write(buf[:n]) // never fails
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}
