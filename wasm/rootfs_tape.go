package wasm

import (
	"errors"
	"io/fs"

	"github.com/tetratelabs/wazero/experimental/sys"
	wasisys "github.com/tetratelabs/wazero/sys"
)

// fsRecordFunc is told of every operation after it was carried out. Args is a
// *fsArgs and result a *fsResult; both belong to the callee.
type fsRecordFunc func(op string, args, result any)

// fsNextFunc answers an operation from a recording, by filling in result, a
// *fsResult. It returns an error if the recording does not go on with op and
// args; the guest then sees EIO. errTapeEnds says that the recording was of the
// beginning only: this operation and all that follow are for real.
type fsNextFunc func(op string, args, result any) error

var errTapeEnds = errors.New("the recording ends here")

// fsTape stands between a guest and its file systems. It either records what
// they answer or answers in their place, without touching the host; or first the
// one and then the other, for a guest that is brought back to where it was. One
// tape serves all roots of one instance, whose calls come one at a time.
type fsTape struct {
	record fsRecordFunc
	next   fsNextFunc
	closed func(file int) // told of files that the guest closes; nil for nobody
	files  int            // opened so far
}

// recordTape makes a tape that records.
func recordTape(record fsRecordFunc) *fsTape { return &fsTape{record: record} }

// replayTape makes a tape that answers from a recording.
func replayTape(next fsNextFunc) *fsTape { return &fsTape{next: next} }

// mount puts the tape in front of a file system. In a replay inner is not used
// and may be nil. The path tells the roots of an instance apart.
func (t *fsTape) mount(path string, inner sys.FS) sys.FS {
	if t.record == nil {
		inner = sys.UnimplementedFS{}
	}
	return &tapeFS{tape: t, inner: inner, path: path}
}

// fsArgs are the arguments of an operation; each uses some of the fields.
type fsArgs struct {
	Root   string `json:"root,omitempty"` // which mount, for operations on paths
	File   int    `json:"file,omitempty"` // which file: the first that was opened is 1
	Path   string `json:"path,omitempty"`
	To     string `json:"to,omitempty"`
	Flag   uint32 `json:"flag,omitempty"` // wazero's Oflag
	Perm   uint32 `json:"perm,omitempty"`
	Off    int64  `json:"off,omitempty"`
	Whence int    `json:"whence,omitempty"`
	Len    int    `json:"len,omitempty"`
	Sum    []byte `json:"sum,omitempty"` // BLAKE3 of what is written
	Atim   int64  `json:"atim,omitempty"`
	Mtim   int64  `json:"mtim,omitempty"`
	On     bool   `json:"on,omitempty"`
}

// fsResult is what an operation answered; each uses some of the fields.
type fsResult struct {
	Errno string     `json:"errno,omitempty"` // such as ENOENT; empty for success
	File  int        `json:"file,omitempty"`  // number of the file that was opened
	Dir   bool       `json:"dir,omitempty"`
	Dev   uint64     `json:"dev,omitempty"`
	Ino   uint64     `json:"ino,omitempty"`
	Stat  *fsStat    `json:"stat,omitempty"`
	N     int64      `json:"n,omitempty"` // bytes or the new offset
	Data  []byte     `json:"data,omitempty"`
	Text  string     `json:"text,omitempty"` // target of a link
	Names []fsDirent `json:"names,omitempty"`
}

// fsStat is the metadata of a file. Times are nanoseconds since the epoch.
type fsStat struct {
	Dev   uint64 `json:"dev"`
	Ino   uint64 `json:"ino"`
	Mode  uint32 `json:"mode"` // fs.FileMode
	Nlink uint64 `json:"nlink"`
	Size  int64  `json:"size"`
	Atim  int64  `json:"atim"`
	Mtim  int64  `json:"mtim"`
	Ctim  int64  `json:"ctim"`
}

// fsDirent is a name in a directory.
type fsDirent struct {
	Name string `json:"name"`
	Ino  uint64 `json:"ino"`
	Type uint32 `json:"type"` // fs.FileMode
}

// do carries out one operation: live, and then recorded, or from the tape.
func (t *fsTape) do(op string, args fsArgs, live tapeCall) (fsResult, sys.Errno) {
	var res fsResult
	if t.next != nil {
		switch err := t.next(op, &args, &res); {
		case err == nil:
			return res, errnoOf(res.Errno)
		case !errors.Is(err, errTapeEnds) || t.record == nil:
			return fsResult{}, sys.EIO
		}
		t.next = nil
	}
	res.Errno = errnoName(live(&res))
	t.record(op, &args, &res)
	return res, errnoOf(res.Errno)
}

// errnoNames are the names of wazero's error numbers. The numbers themselves
// are not stable, so recordings hold names.
var errnoNames = map[sys.Errno]string{
	sys.EACCES: "EACCES", sys.EAGAIN: "EAGAIN", sys.EBADF: "EBADF", sys.EEXIST: "EEXIST",
	sys.EFAULT: "EFAULT", sys.EINTR: "EINTR", sys.EINVAL: "EINVAL", sys.EIO: "EIO",
	sys.EISDIR: "EISDIR", sys.ELOOP: "ELOOP", sys.ENAMETOOLONG: "ENAMETOOLONG",
	sys.ENOENT: "ENOENT", sys.ENOSYS: "ENOSYS", sys.ENOTDIR: "ENOTDIR", sys.ERANGE: "ERANGE",
	sys.ENOTEMPTY: "ENOTEMPTY", sys.ENOTSOCK: "ENOTSOCK", sys.ENOTSUP: "ENOTSUP",
	sys.EPERM: "EPERM", sys.EROFS: "EROFS",
}

// errnoName is the name of an error number, empty for success.
func errnoName(errno sys.Errno) string {
	if errno == 0 {
		return ""
	}
	if name, ok := errnoNames[errno]; ok {
		return name
	}
	return "EIO"
}

// errnoOf is the error number of a name; an unknown one is EIO.
func errnoOf(name string) sys.Errno {
	if name == "" {
		return 0
	}
	for errno, n := range errnoNames {
		if n == name {
			return errno
		}
	}
	return sys.EIO
}

func fromStat(st wasisys.Stat_t) *fsStat {
	return &fsStat{st.Dev, st.Ino, uint32(st.Mode), st.Nlink, st.Size, st.Atim, st.Mtim, st.Ctim}
}

// stat converts back; a recording without metadata has zeros.
func (s *fsStat) stat() (st wasisys.Stat_t) {
	if s == nil {
		return st
	}
	return wasisys.Stat_t{
		Dev: s.Dev, Ino: s.Ino, Mode: fs.FileMode(s.Mode), Nlink: s.Nlink,
		Size: s.Size, Atim: s.Atim, Mtim: s.Mtim, Ctim: s.Ctim,
	}
}
