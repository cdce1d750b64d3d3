package runloop

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// startupFileMax is the most that a shell's startup file may hold, in bytes.
const startupFileMax = 4 << 20

// startupFile is a shell's startup file as it is on disk.
type startupFile struct {
	path   string // as the user names it
	target string // where its symlinks lead: what is replaced
	text   []byte
	info   fs.FileInfo // nil when there is none yet
}

// openStartupFile reads a startup file. One that does not exist is empty; one
// that cannot be replaced without harm is an error.
func openStartupFile(path string) (*startupFile, error) {
	f := &startupFile{path: path, target: path}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return nil, exitErrorf(exitNotFound, "no folder %s", filepath.Dir(path))
		}
		return f, nil
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, exitErrorf(exitNotFound, "%s leads nowhere: %w", path, err)
	}
	f.target = target
	if f.info, err = os.Stat(target); err != nil {
		return nil, err
	}
	if !f.info.Mode().IsRegular() {
		return nil, usageErrorf("%s is no file", target)
	}
	if sys := f.sys(); sys != nil && sys.Nlink > 1 {
		return nil, usageErrorf("%s has %d names (hard links), which replacing it would separate; edit it yourself, with --dry-run for the lines",
			target, sys.Nlink)
	}
	f.text, err = readRegular(target, startupFileMax)
	return f, err
}

// sys is what Unix says of the file.
func (f *startupFile) sys() *syscall.Stat_t {
	if f.info == nil {
		return nil
	}
	sys, _ := f.info.Sys().(*syscall.Stat_t)
	return sys
}

// replace puts text in place of what the file holds, at once or not at all,
// with the same mode and owner, and returns the name of a copy of what was
// there: beside the name that the user knows, with the time in it. On an error
// the file is as it was.
func (f *startupFile) replace(text []byte, now time.Time) (backup string, err error) {
	if f.info != nil {
		stamp := now.UTC().Format("20060102T150405.000Z")
		if backup, err = f.write(f.path+".runloop-"+stamp, f.text); err != nil {
			return "", fmt.Errorf("keeping a copy: %w", err)
		}
	}
	next, err := f.write(fmt.Sprintf("%s.runloop-new-%d", f.target, os.Getpid()), text)
	if err == nil {
		err = f.swap(next)
	}
	if err != nil {
		if backup != "" {
			os.Remove(backup)
		}
		return "", err
	}
	return backup, syncFolder(filepath.Dir(f.target))
}

// write makes a new file with the mode and owner of f.
func (f *startupFile) write(name string, text []byte) (_ string, err error) {
	mode := fs.FileMode(0o644)
	if f.info != nil {
		mode = 0o600 // until it has the owner that the mode is meant for
	}
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return "", err
	}
	defer func() {
		if cerr := out.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			os.Remove(name)
		}
	}()
	if _, err := out.Write(text); err != nil {
		return "", err
	}
	if sys := f.sys(); sys != nil {
		if err := own(out, sys); err != nil {
			return "", err
		}
		if err := out.Chmod(f.info.Mode().Perm()); err != nil {
			return "", err
		}
	}
	return name, out.Sync()
}

// own gives a file to the owner of another.
func own(out *os.File, like *syscall.Stat_t) error {
	st, err := out.Stat()
	if err != nil {
		return err
	}
	if is, ok := st.Sys().(*syscall.Stat_t); ok && is.Uid == like.Uid && is.Gid == like.Gid {
		return nil
	}
	return out.Chown(int(like.Uid), int(like.Gid))
}

// swap puts the file next in the place of f, unless someone else has changed it
// since it was read.
func (f *startupFile) swap(next string) error {
	defer os.Remove(next) // gone already when all went well
	is, err := os.ReadFile(f.target)
	gone := errors.Is(err, fs.ErrNotExist)
	if err != nil && !gone {
		return err
	}
	if gone != (f.info == nil) || !bytes.Equal(is, f.text) {
		return fmt.Errorf("%s was changed by someone else just now; try again", f.target)
	}
	return os.Rename(next, f.target)
}

// syncFolder makes the names in a folder last.
func syncFolder(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
