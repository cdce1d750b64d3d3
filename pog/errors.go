package pog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// Code is the stable name of a kind of failure and, as an error, the target
// to test for: errors.Is(err, pog.ErrDiskFull).
type Code string

// Failures of the files under a store. All of them come as a *StorageError.
const (
	ErrBusy        Code = "busy"            // another process kept the write lock
	ErrCorrupt     Code = "corrupt"         // a damaged page or not a database at all
	ErrDiskFull    Code = "disk_full"       // disk, quota or file size limit
	ErrForeign     Code = "foreign_file"    // another program's database
	ErrIO          Code = "io_error"        // the disk failed; nothing was acknowledged
	ErrNewerSchema Code = "newer_schema"    // written by a newer version
	ErrNotRegular  Code = "not_a_file"      // directory, symbolic link, pipe, device
	ErrReadOnly    Code = "read_only"       // no permission to write
	ErrUnknown     Code = "outcome_unknown" // the commit failed and could not be looked up
)

// Failures of what was asked.
const (
	ErrClosed    Code = "closed"    // the store was closed
	ErrDenied    Code = "denied"    // named denied:<capability>:<why>
	ErrDuplicate Code = "duplicate" // see DuplicateError
	ErrNoFTS5    Code = "no_fts5"   // a binary built without the full-text module
	ErrNotFound  Code = "not_found" // absent, or not this reader's to see
	ErrQuery     Code = "bad_query" // the SQL, its arguments or its limits
	ErrRefused   Code = "refused"   // see RefusedError
	ErrTimeLimit Code = "time_limit"
)

// Error says what the code means.
func (c Code) Error() string {
	if text, ok := codeText[c]; ok {
		return text
	}
	return string(c)
}

// codeText is never written after start-up.
var codeText = map[Code]string{
	ErrBusy:        "locked by another process",
	ErrCorrupt:     "not a sound database",
	ErrDiskFull:    "no space left",
	ErrForeign:     "belongs to another program",
	ErrIO:          "input/output error",
	ErrNewerSchema: "written by a newer version",
	ErrNotRegular:  "not a regular file",
	ErrReadOnly:    "not writable",
	ErrUnknown:     "not known whether it was written",
	ErrClosed:      "the store is closed",
	ErrDenied:      "denied",
	ErrDuplicate:   "already in the ledger",
	ErrNoFTS5:      "built without sqlite_fts5; build with make",
	ErrNotFound:    "not found",
	ErrQuery:       "the query cannot be run",
	ErrRefused:     "refused",
	ErrTimeLimit:   "took longer than allowed",
}

// hints say what a person can do about a failure of the files.
var hints = map[Code]string{
	ErrBusy:        "wait for it or end it, then try again",
	ErrCorrupt:     "keep a copy of the directory, then restore a backup",
	ErrDiskFull:    "free some and try again",
	ErrForeign:     "choose another directory",
	ErrIO:          "check the disk, then try again",
	ErrNewerSchema: "use the version that wrote it",
	ErrNotRegular:  "move it away or choose another directory",
	ErrReadOnly:    "check the permissions of the file and its directory",
	ErrUnknown:     "propose it again: a second copy is refused",
}

// CodeOf returns the code of the first error in err's chain that has one, or
// "" when none has.
func CodeOf(err error) Code {
	var storage *StorageError
	if errors.As(err, &storage) {
		return storage.Code
	}
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.code()
	}
	var duplicate *DuplicateError
	if errors.As(err, &duplicate) {
		return ErrDuplicate
	}
	var code Code
	errors.As(err, &code)
	return code
}

// StorageError is a failure of one of the store's files: what was being done,
// to which file, what went wrong and what to do next, in one line.
type StorageError struct {
	Code Code
	Op   string
	Path string
	Err  error // may be nil
}

func (e *StorageError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s", e.Op, e.Path, e.Code.Error())
	if e.Err != nil {
		fmt.Fprintf(&b, " (%s)", strings.ReplaceAll(e.Err.Error(), "\n", " "))
	}
	if hint := hints[e.Code]; hint != "" {
		b.WriteString("; " + hint)
	}
	return b.String()
}

// Unwrap makes both the code and the cause visible to errors.Is.
func (e *StorageError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Code}
	}
	return []error{e.Code, e.Err}
}

// DuplicateError says that a delta is an event the ledger already has: same
// kind, actor, scope, payload and provenance.
type DuplicateError struct {
	Index   int // of the delta in the call
	Kind    string
	EventID int64 // the event it equals
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("delta %d (%s) is already in the ledger as event %d",
		e.Index, e.Kind, e.EventID)
}

// Is reports whether target is ErrDuplicate.
func (e *DuplicateError) Is(target error) bool { return target == ErrDuplicate }

// Problem is one reason why a delta was refused.
type Problem struct {
	Delta int    `json:"delta"`           // index in the call
	Field string `json:"field,omitempty"` // "payload.email", "evidence[1]", "scope"
	// Reason is a sentence fragment, or denied:<capability>:<why>.
	Reason string `json:"reason"`
}

func (p Problem) String() string {
	if p.Field == "" {
		return fmt.Sprintf("delta %d: %s", p.Delta, p.Reason)
	}
	return fmt.Sprintf("delta %d: %s: %s", p.Delta, p.Field, p.Reason)
}

// RefusedError lists everything that is wrong with the deltas of one call.
// Nothing of the call was written.
type RefusedError struct {
	Problems []Problem
}

func (e *RefusedError) Error() string {
	texts := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		texts = append(texts, p.String())
	}
	return "refused: " + strings.Join(texts, "; ")
}

// Is reports whether target is ErrRefused, or ErrDenied when a capability
// was missing.
func (e *RefusedError) Is(target error) bool {
	return target == ErrRefused || target == ErrDenied && e.code() == ErrDenied
}

func (e *RefusedError) code() Code {
	for _, p := range e.Problems {
		if strings.HasPrefix(p.Reason, "denied:") {
			return ErrDenied
		}
	}
	return ErrRefused
}

// storageError gives an error of SQLite or the operating system its code. It
// returns nil for nil and leaves alone what already has a code.
func storageError(op, path string, err error) error {
	if err == nil || CodeOf(err) != "" {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s %s: %w", op, path, err)
	}
	return &StorageError{Code: classify(err), Op: op, Path: path, Err: err}
}

func classify(err error) Code {
	if code := classifyErrno(err); code != "" {
		return code
	}
	var se sqlite3.Error
	if !errors.As(err, &se) {
		return ErrIO
	}
	if code := classifyErrno(se.SystemErrno); code != "" {
		return code
	}
	switch se.Code {
	case sqlite3.ErrFull:
		return ErrDiskFull
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		return ErrBusy
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrFormat:
		return ErrCorrupt
	case sqlite3.ErrReadonly, sqlite3.ErrPerm, sqlite3.ErrAuth:
		return ErrReadOnly
	}
	return ErrIO
}

// classifyErrno looks at what the kernel said. EFBIG is a full disk too: it
// is how RLIMIT_FSIZE and some quotas show (setrlimit(2)).
func classifyErrno(err error) Code {
	var errno syscall.Errno
	errors.As(err, &errno)
	switch errno {
	case syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG:
		return ErrDiskFull
	case syscall.EROFS, syscall.EACCES, syscall.EPERM:
		return ErrReadOnly
	case syscall.ENOTDIR, syscall.EISDIR:
		return ErrNotRegular
	}
	return ""
}
