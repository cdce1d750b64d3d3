package wasm

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// Bounds of an archive. A bundle is a handful of files, of which the module is
// the only large one.
const (
	archiveEntriesMax = 1024
	archiveBytesMax   = 128 << 20 // unpacked, headers and all
	archiveNameMax    = 512
	archiveDepthMax   = 16
)

// unpack writes what a .tar or .tar.gz holds below root. It stops at the first
// entry that a bundle has no use for: links, devices, absolute paths, .. and
// names that are not clean, a name that comes twice, and anything that is too
// large or too much; who calls throws away what was written until then.
func unpack(r io.Reader, root *os.Root) error {
	plain, err := decompress(bufio.NewReaderSize(r, 1<<16))
	if err != nil {
		return err
	}
	u := &unpacker{root: root, tar: tar.NewReader(plain), seen: map[string]bool{}}
	for {
		h, err := u.tar.Next()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return archiveError(err)
		}
		if err := u.entry(h); err != nil {
			return err
		}
	}
}

// decompress is r, or what it holds if that is gzip (RFC 1952), cut off where
// it would be too large.
func decompress(r *bufio.Reader) (io.Reader, error) {
	magic, _ := r.Peek(2) // a file that short is no archive, which tar says
	var plain io.Reader = r
	if string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, archiveError(err)
		}
		plain = z
	}
	return &cappedReader{plain, archiveBytesMax}, nil
}

var errArchiveSize = fmt.Errorf("it unpacks to more than %d bytes", archiveBytesMax)

// cappedReader is an error, not an end, where there is more than left.
type cappedReader struct {
	r    io.Reader
	left int64
}

func (c *cappedReader) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errArchiveSize
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

func archiveError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends in the middle")
	}
	return errorf(CodeBundle, "not an archive that can be installed: %v", err)
}

type unpacker struct {
	root *os.Root
	tar  *tar.Reader
	seen map[string]bool
	size int64
}

func (u *unpacker) entry(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // a comment, as git archive writes one
	}
	name, err := entryName(h)
	if err != nil {
		return errorf(CodeBundle, "archive entry %q: %v", shorten(h.Name), err)
	}
	if u.size += h.Size; h.Size > moduleMax || u.size > archiveBytesMax {
		return errorf(CodeBundle, "archive entry %q: too large", shorten(h.Name))
	}
	if u.seen[name] || len(u.seen) >= archiveEntriesMax {
		return errorf(CodeBundle, "archive entry %q: it comes twice, or is one of more than %d",
			shorten(h.Name), archiveEntriesMax)
	}
	u.seen[name] = true
	if name == "." {
		return nil
	}
	if h.Typeflag == tar.TypeDir {
		err = u.root.MkdirAll(name, 0o755)
	} else {
		err = u.file(name, h.Size)
	}
	if err != nil {
		return errorf(CodeBundle, "archive entry %q: %v", shorten(h.Name), reason(err))
	}
	return nil
}

// entryName is the clean path of an entry that may be in a bundle.
func entryName(h *tar.Header) (string, error) {
	if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir {
		return "", errors.New("neither a file nor a folder")
	}
	name := strings.TrimPrefix(h.Name, "./")
	if h.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	switch {
	case name == "" && h.Typeflag == tar.TypeDir:
		return ".", nil
	case len(name) > archiveNameMax || strings.Count(name, "/") >= archiveDepthMax:
		return "", errors.New("the name is too long")
	case path.IsAbs(name) || path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../"):
		return "", errors.New("not a clean path inside of the archive")
	case strings.ContainsAny(name, "\\\x00") || printable(name) != name:
		return "", errors.New("the name has characters that no bundle needs")
	}
	return name, nil
}

// shorten is the beginning of a name for an error.
func shorten(name string) string { return name[:min(len(name), 120)] }

func (u *unpacker) file(name string, size int64) error {
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, u.tar, size)
	return errors.Join(err, f.Close())
}
