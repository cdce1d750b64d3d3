package runloop

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/runloop-os/runloop/examples"
)

// openingMax is the most an opening's file may hold, in bytes.
const openingMax = 1 << 20

// openingExts are how the names of openings' files end, the first found counts.
var openingExts = []string{".yaml", ".yml", ".opening"}

// findOpening reads an opening by path or by name: a name is looked for along
// dirs and then among those that came with the binary. It returns what to call
// the file in errors.
func findOpening(ref string, dirs []string, stdin io.Reader) (name string, src []byte, err error) {
	if ref == "-" {
		src, err = readLimited(stdin, openingMax)
		return "stdin", src, err
	}
	if looksLikePath(ref) {
		src, err = readFileLimited(ref, openingMax)
		if errors.Is(err, fs.ErrNotExist) {
			return ref, nil, exitErrorf(exitNotFound, "no opening at %s", ref)
		}
		return ref, src, err
	}
	for _, dir := range dirs {
		for _, ext := range openingExts {
			file := filepath.Join(dir, ref+ext)
			src, err = readRegular(file, openingMax)
			if !errors.Is(err, fs.ErrNotExist) {
				return file, src, err
			}
		}
	}
	for _, ext := range openingExts {
		src, err = fs.ReadFile(examples.Openings(), ref+ext)
		if err == nil {
			return ref + ext + " (built in)", src, nil
		}
	}
	return ref, nil, exitErrorf(exitNotFound, "no opening %q in %s, nor built in%s",
		ref, strings.Join(dirs, ", "), didYouMean(ref, openingNames(dirs)))
}

func looksLikePath(ref string) bool {
	return strings.ContainsRune(ref, os.PathSeparator) || slices.Contains(openingExts, filepath.Ext(ref))
}

// openingNames lists the names that findOpening knows.
func openingNames(dirs []string) []string {
	var names []string
	add := func(files []string) {
		for _, f := range files {
			names = append(names, strings.TrimSuffix(filepath.Base(f), filepath.Ext(f)))
		}
	}
	for _, dir := range dirs {
		for _, ext := range openingExts {
			files, _ := filepath.Glob(filepath.Join(dir, "*"+ext)) // fails on bad patterns only
			add(files)
		}
	}
	for _, ext := range openingExts {
		files, _ := fs.Glob(examples.Openings(), "*"+ext)
		add(files)
	}
	return names
}

// readInput is readFileLimited in which "-" is stdin.
func (o *IO) readInput(name string, most int64) ([]byte, error) {
	if name != "-" {
		return readFileLimited(name, most)
	}
	b, err := readLimited(o.Stdin, most)
	if err != nil {
		return nil, usageErrorf("stdin: %v", err)
	}
	return b, nil
}

func readFileLimited(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, usageErrorf("%s is a folder", name)
	}
	b, err := readLimited(f, most)
	if err != nil {
		return nil, usageErrorf("%s: %v", name, err)
	}
	return b, nil
}

// readRegular is readFileLimited for files that others may have put there, or that
// are read while somebody waits: a fifo is an error and not something to wait for.
// /dev/null is an empty file.
func readRegular(name string, most int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() && name != os.DevNull {
		return nil, usageErrorf("%s is no regular file", name)
	}
	b, err := readLimited(f, most)
	if err != nil {
		return nil, usageErrorf("%s: %v", name, err)
	}
	return b, nil
}

func readLimited(r io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = usageErrorf("over %d bytes", most)
	}
	return b, err
}
