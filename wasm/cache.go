package wasm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
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

// open returns the subfolder of one module and whether it holds checked code.
// The caller has the lock.
func (c *codeCache) open(digest string) (dir string, hit bool, err error) {
	dir = filepath.Join(c.dir, digest)
	want, err := os.ReadFile(dir + ".sum")
	if err == nil {
		got, err := sumFolder(dir)
		if err == nil && got == string(want) {
			return dir, true, nil
		}
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return "", false, fmt.Errorf("compilation cache: %w", err)
	}
	return dir, false, nil
}

// seal notes the digests of what was just written.
func (c *codeCache) seal(digest string) error {
	dir := filepath.Join(c.dir, digest)
	sum, err := sumFolder(dir)
	if err != nil {
		return fmt.Errorf("compilation cache: %w", err)
	}
	return writeFileAtomic(dir+".sum", []byte(sum))
}

// sumFolder lists the digest and path of every file below dir.
func sumFolder(dir string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is not a regular file", name)
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		fmt.Fprintf(&b, "%s %s\n", hexSum(content), rel)
		return err
	})
	return b.String(), err
}
