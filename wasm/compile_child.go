package wasm

import (
	"context"
	"errors"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// compileJob is what a compiling child is told. The module is its stdin.
type compileJob struct {
	Dir       string     `json:"dir"` // for the native code
	Size      int        `json:"size"`
	Scan      ScanLimits `json:"scan"`
	Pages     uint32     `json:"pages"` // most memory of a guest, 64 KiB each
	Unchecked bool       `json:"unchecked"`
}

// compileEnd is what it answers: what the module is, or why it is refused.
type compileEnd struct {
	Info    *ModuleInfo `json:"info,omitempty"`
	Life    Life        `json:"life,omitempty"`
	Code    string      `json:"code,omitempty"`
	Message string      `json:"message,omitempty"`
}

// compileMain is a compiling child from its start to its end.
func compileMain() int {
	c := childConn()
	var job compileJob
	if err := c.expect(msgJob, &job); err != nil {
		return 1
	}
	memory := uint64(compileMemory + compilePerByte*job.Size)
	limits := childLimits{Data: memory, CPU: compileCPU, Files: 64, Size: compileFileMax}
	if err := confine(limits); err != nil {
		return 1
	}
	module, err := mapModule(os.Stdin, job.Size)
	if err != nil {
		return 1
	}
	if err := c.sendJSON(msgEnd, compile(&job, module, int64(memory/4*3))); err != nil {
		return 1
	}
	_, _, _ = c.recv() // until it is ended: how much memory it took is asked of one that lives
	return 0
}

// What is refused is refused within 64 MiB (spec/03 "Loading and isolation"), which
// is no more than a module may be long. So it is not read into memory but mapped,
// what the scan has passed is let go, and the collector works for a small heap until
// the module has been scanned.
const (
	scanHeap   = 24 << 20
	scanWindow = 4 << 20
)

// mappedModule is a module that can be read again from its file where it was let go.
type mappedModule struct {
	bytes []byte
	at    int // how far the scan was when it was last let go
}

func mapModule(file *os.File, size int) (*mappedModule, error) {
	if size == 0 {
		return &mappedModule{}, nil // the kernel maps nothing that is empty
	}
	b, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_PRIVATE)
	return &mappedModule{bytes: b}, err
}

// passed lets go of the module, if the scan went on far enough for that.
func (m *mappedModule) passed(at int) {
	if at-m.at >= scanWindow || m.at-at >= scanWindow {
		_ = unix.Madvise(m.bytes, unix.MADV_DONTNEED) // it only saves memory
		m.at = at
	}
}

// compile scans and compiles one module, the latter with a heap of about so many
// bytes.
func compile(job *compileJob, m *mappedModule, heap int64) *compileEnd {
	module := m.bytes
	debug.SetMemoryLimit(scanHeap)
	info, err := scan(module, job.Scan, m.passed)
	debug.SetMemoryLimit(heap)
	if err != nil {
		return refusedBy(err)
	}
	r := NewRuntime(RuntimeConfig{Max: Limits{MemoryMB: int(job.Pages / pagesPerMB)}})
	r.unchecked = job.Unchecked
	built, err := r.build(context.Background(), &buildInput{module: inHand(module), info: info, dir: job.Dir})
	if err != nil {
		return refusedBy(err)
	}
	return &compileEnd{Info: info, Life: built.life}
}

// refusedBy is the answer for a module that is not to be run.
func refusedBy(err error) *compileEnd {
	var refused *ScanError
	if errors.As(err, &refused) {
		return &compileEnd{Code: refused.Code, Message: refused.Message}
	}
	e := asError(err)
	return &compileEnd{Code: e.Code, Message: e.Message}
}

// refusal is what a child answered, as the host reports it.
func (e *compileEnd) refusal() error {
	if e.Code == "" && e.Info != nil && e.Life != 0 {
		return nil
	}
	return errorf(refusalCode(e.Code), "%.500s", e.Message)
}

// refusalCode is the code of a refusal: one of those that there are, whatever
// the child says.
func refusalCode(code string) string {
	for _, known := range []string{
		CodeMalformed, CodeLimit, CodeFeature, CodeNoMemory, CodeNoEntryPoint, CodeBadEntry,
		CodeUnknownImport, CodeImportSignature,
	} {
		if code == known || code == CodeLoadRefused+":"+known {
			return CodeLoadRefused + ":" + known
		}
	}
	return CodeLoadRefused
}
