package wasm

import (
	"cmp"
	"sync/atomic"

	"github.com/tetratelabs/wazero/experimental/sys"
)

// FileLimits bounds what one instance may do to all its roots together. A zero
// field means the default.
type FileLimits struct {
	OpenFiles int   // files and directories open at once
	Created   int   // files and directories made
	Written   int64 // bytes written, holes included; overwriting counts again
	Entries   int   // names in a directory that is listed
}

// defaultFSLimits suits an agent that writes documents.
func defaultFSLimits() FileLimits {
	return FileLimits{OpenFiles: 256, Created: 10_000, Written: 1 << 30, Entries: 65_536}
}

// fsQuota counts against FileLimits. It is shared by the roots of one instance
// and may be used from several goroutines.
type fsQuota struct {
	limits  FileLimits
	open    atomic.Int64
	created atomic.Int64
	written atomic.Int64
	tripped [4]atomic.Bool // by quotaOpenFiles and so on
}

// quotaNames are the limits as people are told of them, by the indexes below.
var quotaNames = []string{"open_files", "files_created", "bytes_written", "dir_entries"}

// or fills zero fields from d.
func (l FileLimits) or(d FileLimits) FileLimits {
	return FileLimits{
		OpenFiles: cmp.Or(l.OpenFiles, d.OpenFiles), Created: cmp.Or(l.Created, d.Created),
		Written: cmp.Or(l.Written, d.Written), Entries: cmp.Or(l.Entries, d.Entries),
	}
}

// Indexes into fsQuota.tripped.
const (
	quotaOpenFiles = iota
	quotaCreated
	quotaWritten
	quotaEntries
)

func newFSQuota(limits FileLimits) *fsQuota { return &fsQuota{limits: limits} }

// Tripped names the limits that something was refused for, in a fixed order,
// so that the host can say what the guest only sees as an error number.
func (q *fsQuota) Tripped() (names []string) {
	for i, name := range quotaNames {
		if q.tripped[i].Load() {
			names = append(names, name)
		}
	}
	return names
}

// take adds n to a counter unless that passes the limit.
func (q *fsQuota) take(counter *atomic.Int64, n, limit int64, which int) bool {
	for {
		have := counter.Load()
		if n > limit-have { // written so that it cannot overflow
			q.tripped[which].Store(true)
			return false
		}
		if counter.CompareAndSwap(have, have+n) {
			return true
		}
	}
}

// openFile takes one open file; closeFile gives it back.
func (q *fsQuota) openFile() sys.Errno {
	if !q.take(&q.open, 1, int64(q.limits.OpenFiles), quotaOpenFiles) {
		return errnoOpenFiles
	}
	return 0
}

func (q *fsQuota) closeFile() { q.open.Add(-1) }

// create takes one new file; uncreate gives it back when nothing was made.
func (q *fsQuota) create() sys.Errno {
	if !q.take(&q.created, 1, int64(q.limits.Created), quotaCreated) {
		return errnoSpace
	}
	return 0
}

func (q *fsQuota) uncreate() { q.created.Add(-1) }

// write takes n bytes.
func (q *fsQuota) write(n int64) sys.Errno {
	if n < 0 || !q.take(&q.written, n, q.limits.Written, quotaWritten) {
		return errnoSpace
	}
	return 0
}

// unwrite gives back bytes that were not written after all.
func (q *fsQuota) unwrite(n int64) { q.written.Add(-n) }

// entries tells whether a directory of n names may be listed.
func (q *fsQuota) entries(n int) sys.Errno {
	if n > q.limits.Entries {
		q.tripped[quotaEntries].Store(true)
		return errnoTooMany
	}
	return 0
}
