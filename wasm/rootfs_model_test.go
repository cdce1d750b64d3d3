package wasm

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"pgregory.net/rapid"
)

// TestAgainstDirFS does the same things, at random, to a rootFS and to wazero's
// own directory mount. As long as there are no links, both succeed or both
// fail, and both leave the same tree.
func TestAgainstDirFS(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dirs := [2]string{}
		systems := [2]sys.FS{}
		for i := range dirs {
			dir, err := os.MkdirTemp("", "fsmodel")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			dirs[i] = dir
		}
		roots, err := openRoots([]fsGrant{{dirs[0], true}}, nil, testQuota())
		if err != nil {
			t.Fatal(err)
		}
		defer roots.Close()
		systems[0], systems[1] = roots.Mounts()[0].FS, sysfs.DirFS(dirs[1])
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			op := drawOp(t)
			a, b := op.run(systems[0]), op.run(systems[1])
			if a != b {
				t.Fatalf("%+v: rootFS %q, DirFS %q", op, a, b)
			}
		}
		if a, b := treeOf(t, dirs[0]), treeOf(t, dirs[1]); a != b {
			t.Fatalf("rootFS left\n%s\nDirFS left\n%s", a, b)
		}
	})
}

// fsOp is an operation with its arguments.
type fsOp struct {
	Name       string
	Path, To   string
	Flag       sys.Oflag
	Size, Data int64
}

// drawOp leaves out changes of the root itself, which a rootFS refuses and a
// DirFS does not.
func drawOp(t *rapid.T) fsOp {
	ops := []string{"open", "open", "mkdir", "rmdir", "unlink", "rename", "stat", "list"}
	name := rapid.SampledFrom(ops).Draw(t, "op")
	paths := []string{"a", "b", "d", "d/a", "d/e", "d/e/a", "./b"}
	if name == "open" || name == "stat" || name == "list" {
		paths = append(paths, ".")
	}
	path := rapid.SampledFrom(paths)
	return fsOp{
		Name: name,
		Path: path.Draw(t, "path"),
		To:   path.Draw(t, "to"),
		Flag: rapid.SampledFrom([]sys.Oflag{0, sys.O_RDWR, sys.O_WRONLY, rwCreate, rwCreate | sys.O_EXCL,
			rwCreate | sys.O_TRUNC, rwCreate | sys.O_APPEND, sys.O_DIRECTORY}).Draw(t, "flag"),
		Size: rapid.Int64Range(1, 20).Draw(t, "size"),
		Data: rapid.Int64Range(0, 9).Draw(t, "data"),
	}
}

// run carries the operation out and describes the answer.
func (op fsOp) run(fsys sys.FS) string {
	switch op.Name {
	case "mkdir":
		return success(fsys.Mkdir(op.Path, 0o700))
	case "rmdir":
		return success(fsys.Rmdir(op.Path))
	case "unlink":
		return success(fsys.Unlink(op.Path))
	case "rename":
		if op.Path == op.To { // DirFS does not look whether it is there
			return "skipped"
		}
		return success(fsys.Rename(op.Path, op.To))
	case "stat":
		st, errno := fsys.Stat(op.Path)
		if st.Mode.IsDir() {
			st.Size = 0
		}
		return fmt.Sprint(success(errno), st.Mode.Type(), st.Size)
	}
	f, errno := fsys.OpenFile(op.Path, op.Flag, 0o600)
	if errno != 0 {
		return "fails"
	}
	defer f.Close()
	if op.Name == "list" {
		names, errno := f.Readdir(-1)
		return fmt.Sprint(success(errno), len(names))
	}
	return op.edit(f)
}

// edit goes through the methods of an open file.
func (op fsOp) edit(f sys.File) string {
	dir, _ := f.IsDir()
	n, write := f.Write([]byte(strings.Repeat(fmt.Sprint(op.Data), int(op.Size))))
	m, pread := f.Pread(make([]byte, 10), op.Size/2)
	off, seek := f.Seek(op.Size/3, 0)
	k, read := f.Read(make([]byte, 5))
	if dir { // where the two differ in how they refuse
		off, seek = 0, 0
	}
	return fmt.Sprint(dir, n, success(write), m, success(pread), off, success(seek), k, success(read),
		success(f.Truncate(op.Size)))
}

func success(errno sys.Errno) string {
	if errno != 0 {
		return "fails"
	}
	return "ok"
}

// treeOf lists a directory with the contents of its files.
func treeOf(t *rapid.T, dir string) string {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var data []byte
		if d.Type().IsRegular() {
			data, err = os.ReadFile(path)
		}
		fmt.Fprintf(&b, "%s %v %q\n", strings.TrimPrefix(path, dir), d.Type(), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
