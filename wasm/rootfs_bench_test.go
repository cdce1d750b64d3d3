package wasm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/experimental/sysfs"
)

// BenchmarkFS compares a rootFS, which lets nothing out, with wazero's own
// directory mount, which does.
func BenchmarkFS(b *testing.B) {
	dir := b.TempDir()
	paths := map[int]string{}
	for _, depth := range []int{1, 3, 8} {
		paths[depth] = strings.Repeat("d/", depth-1) + fmt.Sprintf("file%d", depth)
		full := filepath.Join(dir, paths[depth])
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(full, make([]byte, 4096), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 200 {
		if err := os.WriteFile(fmt.Sprintf("%s/d/%d", dir, i), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	quota := newFSQuota(FileLimits{OpenFiles: 64, Created: 1 << 40, Written: 1 << 60, Entries: 1000})
	systems := map[string]sys.FS{
		"DirFS":  sysfs.DirFS(dir),
		"rootFS": openRoot(b, fsGrant{Path: dir, Write: true}, []string{b.TempDir(), b.TempDir()}, quota),
	}
	for _, name := range sortedKeys(systems) {
		fsys := systems[name]
		for _, depth := range []int{1, 3, 8} {
			b.Run(fmt.Sprintf("open/depth=%d/%s", depth, name), func(b *testing.B) { benchOpen(b, fsys, paths[depth]) })
			b.Run(fmt.Sprintf("stat/depth=%d/%s", depth, name), func(b *testing.B) { benchStat(b, fsys, paths[depth]) })
		}
		b.Run("create/"+name, func(b *testing.B) { benchCreate(b, fsys) })
		b.Run("pread4k/"+name, func(b *testing.B) { benchPread(b, fsys, paths[1]) })
		b.Run("write4k/"+name, func(b *testing.B) { benchWrite(b, fsys) })
		b.Run("readdir200/"+name, func(b *testing.B) { benchReaddir(b, fsys) })
	}
}

func benchOpen(b *testing.B, fsys sys.FS, path string) {
	for b.Loop() {
		if errno := errnoOfOpen(fsys, path, 0); errno != 0 {
			b.Fatal(errno)
		}
	}
}

func benchStat(b *testing.B, fsys sys.FS, path string) {
	for b.Loop() {
		if _, errno := fsys.Stat(path); errno != 0 {
			b.Fatal(errno)
		}
	}
}

func benchCreate(b *testing.B, fsys sys.FS) {
	for b.Loop() {
		if errno := errnoOfOpen(fsys, "new", rwCreate); errno != 0 {
			b.Fatal(errno)
		}
		if errno := fsys.Unlink("new"); errno != 0 {
			b.Fatal(errno)
		}
	}
}

func benchPread(b *testing.B, fsys sys.FS, path string) {
	f, errno := fsys.OpenFile(path, 0, 0)
	benchIO(b, f, errno, func(buf []byte) (int, sys.Errno) { return f.Pread(buf, 0) })
}

func benchWrite(b *testing.B, fsys sys.FS) {
	f, errno := fsys.OpenFile("written", rwCreate, 0o600)
	benchIO(b, f, errno, func(buf []byte) (int, sys.Errno) { return f.Pwrite(buf, 0) })
}

// benchIO moves 4 KiB at a time.
func benchIO(b *testing.B, f sys.File, errno sys.Errno, call dataFunc) {
	if errno != 0 {
		b.Fatal(errno)
	}
	defer f.Close()
	buf := make([]byte, 4096)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if n, errno := call(buf); n != len(buf) {
			b.Fatal(n, errno)
		}
	}
}

func benchReaddir(b *testing.B, fsys sys.FS) {
	for b.Loop() {
		d, errno := fsys.OpenFile("d", 0, 0)
		if errno != 0 {
			b.Fatal(errno)
		}
		if names, errno := d.Readdir(-1); len(names) < 200 {
			b.Fatal(len(names), errno)
		}
		_ = d.Close()
	}
}
