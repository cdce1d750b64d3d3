package wasm

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime/debug"
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
	debug.SetMemoryLimit(int64(memory / 4 * 3))
	module, err := io.ReadAll(io.NewSectionReader(os.Stdin, 0, int64(job.Size)))
	if err != nil {
		return 1
	}
	if err := c.sendJSON(msgEnd, compile(&job, module)); err != nil {
		return 1
	}
	return 0
}

// compile scans and compiles one module.
func compile(job *compileJob, module []byte) *compileEnd {
	info, err := Scan(module, job.Scan)
	if err != nil {
		return refusedBy(err)
	}
	r := NewRuntime(RuntimeConfig{Max: Limits{MemoryMB: int(job.Pages / pagesPerMB)}})
	r.unchecked = job.Unchecked
	m, err := r.build(context.Background(), &buildInput{binary: module, info: info, dir: job.Dir})
	if err != nil {
		return refusedBy(err)
	}
	return &compileEnd{Info: info, Life: m.life}
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
