package opening

import (
	"bytes"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// memFS is a folder in memory: contents by path. It is read-only.
type memFS map[string][]byte

// Open implements fs.FS.
func (m memFS) Open(name string) (fs.File, error) {
	if content, ok := m[name]; ok && fs.ValidPath(name) {
		return &memFile{memInfo{name: base(name), size: int64(len(content))}, bytes.NewReader(content)}, nil
	}
	entries := m.entries(name)
	if !fs.ValidPath(name) || len(entries) == 0 && name != "." {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memDir{memInfo: memInfo{name: base(name), dir: true}, entries: entries}, nil
}

// entries lists a folder in the order of its names.
func (m memFS) entries(name string) []fs.DirEntry {
	prefix := name + "/"
	if name == "." {
		prefix = ""
	}
	found := map[string]memInfo{}
	for path, content := range m {
		rest, ok := strings.CutPrefix(path, prefix)
		if !ok {
			continue
		}
		first, _, isDir := strings.Cut(rest, "/")
		info := memInfo{name: first, dir: isDir}
		if !isDir {
			info.size = int64(len(content))
		}
		found[first] = info
	}
	var out []fs.DirEntry
	for _, key := range sortedKeys(found) {
		out = append(out, fs.FileInfoToDirEntry(found[key]))
	}
	return out
}

// base is the last part of a path.
func base(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// memInfo implements fs.FileInfo.
type memInfo struct {
	name string
	size int64
	dir  bool
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }

// Mode is that of something that cannot be written.
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

// memFile is an open file.
type memFile struct {
	memInfo
	*bytes.Reader
}

// Size is that of the file, not of what is left to read.
func (f *memFile) Size() int64                { return f.memInfo.size }
func (f *memFile) Stat() (fs.FileInfo, error) { return f.memInfo, nil }
func (f *memFile) Close() error               { return nil }

// memDir is an open folder.
type memDir struct {
	memInfo
	entries []fs.DirEntry
}

func (d *memDir) Stat() (fs.FileInfo, error) { return d.memInfo, nil }
func (d *memDir) Close() error               { return nil }

// Read implements fs.File.
func (d *memDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: fs.ErrInvalid}
}

// ReadDir implements fs.ReadDirFile.
func (d *memDir) ReadDir(n int) ([]fs.DirEntry, error) {
	all := d.entries
	if n <= 0 {
		d.entries = nil
		return all, nil
	}
	if len(all) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(all))
	d.entries = all[n:]
	return slices.Clone(all[:n]), nil
}
