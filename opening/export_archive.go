package opening

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"lukechampine.com/blake3"
)

// Limits of run bundles, in bytes but for the count. A bundle may come from
// anybody.
const (
	// RunBundleMax is the most a file may have.
	RunBundleMax    = 128 << 20
	maxBundleOpen   = 256 << 20 // unpacked
	maxBundleRatio  = 200       // unpacked by packed, beyond the first MiB
	maxBundleFiles  = 10_000
	maxBundleNested = 6 // parts of a name
)

// bundleHead is how every run bundle begins: a gzip header (RFC 1952) without a
// time or a name, with one extra field, "RL", that holds the BLAKE3 of all that
// comes after the header. Tools that know nothing of it unpack the file as any
// other.
var bundleHead = []byte{
	0x1f, 0x8b, 8, 4 /* FEXTRA */, 0, 0, 0, 0, 2, 0xff, 36, 0, 'R', 'L', 32, 0,
}

// Lengths of the parts of the header.
const (
	plainHead = 10 // a gzip header without an extra field
	digestLen = 32
)

// IsRunBundle reports whether a file begins as a run bundle does.
func IsRunBundle(data []byte) bool { return bytes.HasPrefix(data, bundleHead) }

// packBundle makes the file: a tar, the manifest first and the others in the order of
// their names, compressed.
func packBundle(files map[string][]byte) ([]byte, error) {
	archive, err := packTar(files)
	if err != nil {
		return nil, err
	}
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(archive)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	body := z.Bytes()[plainHead:]
	sum := blake3.Sum256(body)
	out := append(bytes.Clone(bundleHead), sum[:]...)
	return append(out, body...), nil
}

// packTar makes the one tar that there is for these files.
func packTar(files map[string][]byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	names := sortedKeys(files)
	if _, ok := files[fileManifest]; ok {
		names = append([]string{fileManifest}, names...)
	}
	for i, name := range names {
		if i > 0 && name == fileManifest {
			continue
		}
		err := w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: name, Size: int64(len(files[name])), Mode: 0o644,
			ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		})
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			return nil, fmt.Errorf("packing %s: %w", quote(name), err)
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// unpackBundle gives the files of a bundle, when every byte of it is as packBundle would
// have it.
func unpackBundle(data []byte) (map[string][]byte, error) {
	head := len(bundleHead) + digestLen
	switch {
	case len(data) > RunBundleMax:
		return nil, fmt.Errorf("it has %d bytes; a run bundle may have %d", len(data), RunBundleMax)
	case !IsRunBundle(data) || len(data) < head:
		return nil, errors.New("it does not begin as a run bundle does")
	}
	if sum := blake3.Sum256(data[head:]); !bytes.Equal(sum[:], data[len(bundleHead):head]) {
		return nil, errors.New("its digest is not that of its content: it was changed or cut")
	}
	archive, err := inflate(data)
	if err != nil {
		return nil, err
	}
	files, err := unpackTar(archive)
	if err != nil {
		return nil, err
	}
	again, err := packTar(files)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, archive) {
		return nil, errors.New("its archive holds more than its files, or holds them in another form")
	}
	return files, nil
}

// inflate unpacks the one compressed member, up to the limits.
func inflate(data []byte) ([]byte, error) {
	in := bytes.NewReader(data)
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("unpacking: %w", err)
	}
	z.Multistream(false)
	limit := min(int64(maxBundleOpen), 1<<20+maxBundleRatio*int64(len(data)))
	out, err := io.ReadAll(io.LimitReader(z, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("unpacking: %w", err)
	case int64(len(out)) > limit:
		return nil, fmt.Errorf("it unpacks to more than the %d bytes that one of its size may have", limit)
	case in.Len() > 0:
		return nil, errors.New("something comes after its end")
	}
	return out, nil
}

// unpackTar reads plain files with allowed names, each once.
func unpackTar(archive []byte) (map[string][]byte, error) {
	files := map[string][]byte{}
	in := bytes.NewReader(archive)
	r := tar.NewReader(in)
	for {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return files, nil
		case err != nil:
			return nil, fmt.Errorf("its archive: %w", err)
		case h.Typeflag != tar.TypeReg || h.Format != tar.FormatUSTAR:
			return nil, fmt.Errorf("%s is not a plain file", quote(h.Name))
		case !isBundleName(h.Name):
			return nil, fmt.Errorf("a run bundle holds no file %s", quote(h.Name))
		case files[h.Name] != nil:
			return nil, fmt.Errorf("%s is there twice", quote(h.Name))
		case len(files) == maxBundleFiles:
			return nil, fmt.Errorf("it holds more than %d files", maxBundleFiles)
		case h.Size > int64(in.Len()):
			return nil, fmt.Errorf("%s is longer than the archive", quote(h.Name))
		}
		content := make([]byte, h.Size)
		if _, err := io.ReadFull(r, content); err != nil {
			return nil, fmt.Errorf("its archive: %s: %w", quote(h.Name), err)
		}
		files[h.Name] = content
	}
}

// isBundleName reports whether a run bundle may hold a file of this name. No
// name leads out of the folder it is unpacked in.
func isBundleName(name string) bool {
	switch name {
	case fileManifest, fileOpening, fileTrace, fileEvents, fileLinks:
		return true
	}
	if sum, ok := strings.CutPrefix(name, dirBlobs); ok {
		_, err := parseHash(sum)
		return err == nil && strings.ToLower(sum) == sum
	}
	rest, ok := strings.CutPrefix(name, dirAgents)
	if !ok || len(name) > 250 {
		return false
	}
	parts := strings.Split(rest, "/")
	for _, p := range parts {
		if !isBundlePart(p) {
			return false
		}
	}
	return len(parts) <= maxBundleNested
}

// isBundlePart reports whether s may be one part of a name: letters, digits and
// "@._-", and not hidden.
func isBundlePart(s string) bool {
	if s == "" || s[0] == '.' || len(s) > 100 {
		return false
	}
	for i := range len(s) {
		if !isWordByte(s[i]) && s[i] != '.' && s[i] != '@' {
			return false
		}
	}
	return true
}
