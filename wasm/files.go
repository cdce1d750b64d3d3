package wasm

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/experimental/sysfs"

	"github.com/runloop-os/runloop/rmp"
)

// capFS is the family of the file capability.
const capFS = "fs"

// opMounts is the tape entry that says which roots an attempt had; it is the
// first one of an attempt that had any.
const opMounts = "wasi.mounts"

// files are the granted roots of one attempt, each behind the attempt's tape.
type files struct {
	roots  *fsRoots // nil in a replay
	quota  *fsQuota // nil in a replay
	mounts []fsMounted
}

// fsMounted is a file system and the path at which the guest sees it.
type fsMounted struct {
	path string
	fs   sys.FS
}

// openFiles opens what the attempt's capabilities grant. In a replay the roots
// are those of the recording, and nothing of the host is touched.
func (a *attempt) openFiles(ctx context.Context) (*files, error) {
	if a.tape.replay {
		return a.replayFiles()
	}
	if len(a.caps.FS) == 0 {
		return nil, nil
	}
	t := fileTape{record: a.recordFile, closed: a.handles.closed}
	switch {
	case a.tape.off:
		t = fileTape{}
	case a.req.Mode == rmp.ModeResume:
		t.next, t.mounted, t.spent = a.resumeFile, a.resumedMounts, a.spentBefore()
	}
	f, err := openGrants(a.grants(), a.places(), t)
	if err != nil {
		return nil, a.refuseGrant(ctx, err)
	}
	return f, nil
}

// fileTape is what stands between a guest and the roots it is granted; see fsTape.
type fileTape struct {
	record fsRecordFunc // nil for nothing
	next   fsNextFunc   // of an attempt that was parked; nil for none
	closed func(file int)
	// mounted is told of the roots in place of record; nil for nobody. An error
	// ends the attempt.
	mounted func(paths []string) error
	spent   fsSpent // before it was parked
}

// places is what opening grants has to know of paths.
type places struct {
	guarded []string // that no grant may reach
	limits  FileLimits
	at      map[string]string // where a guest sees a path, if not at its own
}

func (p *places) of(path string) string {
	if at, ok := p.at[path]; ok {
		return at
	}
	return path
}

func (a *attempt) places() *places {
	p := &places{guarded: a.guarded, limits: a.fileLimits}
	if a.raw != nil {
		p.at = a.raw.At
	}
	return p
}

// grants are the attempt's file capabilities.
func (a *attempt) grants() []fsGrant {
	grants := make([]fsGrant, len(a.caps.FS))
	for i, g := range a.caps.FS {
		grants[i] = fsGrant(g)
	}
	return grants
}

// openGrants opens roots whose use is recorded, if it is to be. The first that is
// told is which roots there are.
func openGrants(grants []fsGrant, places *places, t fileTape) (*files, error) {
	f := &files{quota: newFSQuota(places.limits)}
	f.quota.created.Store(t.spent.Created)
	f.quota.written.Store(t.spent.Written)
	var err error
	if f.roots, err = openRoots(grants, places.guarded, f.quota); err != nil {
		return nil, err
	}
	var paths []string
	tape := &fsTape{record: t.record, next: t.next, closed: t.closed}
	for _, m := range f.roots.Mounts() {
		var mounted sys.FS = m.FS
		if t.record != nil {
			mounted = tape.mount(m.Path, m.FS)
		}
		f.mounts = append(f.mounts, fsMounted{places.of(m.Path), mounted})
		paths = append(paths, m.Path)
	}
	switch {
	case t.mounted != nil:
		if err := t.mounted(paths); err != nil {
			f.close()
			return nil, err
		}
	case t.record != nil:
		t.record(opMounts, struct{}{}, paths)
	}
	return f, nil
}

// refuseGrant is the failure of an attempt whose grant cannot be given.
func (a *attempt) refuseGrant(ctx context.Context, err error) error {
	var g *GrantError
	if !errors.As(err, &g) {
		return err
	}
	_ = a.door.deny(ctx, capFS, "mount", g.Path, nil) // audited; the reason is told below
	return errorf(CodeDenied, "denied:fs:%s", g.Error())
}

func (a *attempt) recordFile(op string, args, result any) {
	if in, ok := args.(*fsArgs); ok && marksHandles(op) {
		a.handles.saw(op, in, result.(*fsResult))
	}
	if a.tape.cut {
		return
	}
	call, err := fileCall(op, args, result)
	if err != nil {
		a.tape.cut, a.tape.calls = true, nil
		return
	}
	a.tape.record(call)
}

// fileCall is a file operation as it stands on a tape; result may be nil.
func fileCall(op string, args, result any) (call rmp.Hostcall, err error) {
	call.Op = op
	if call.Args, err = marshalMsgpack(args); err == nil && result != nil {
		call.OK, err = marshalMsgpack(result)
	}
	return call, err
}

func (a *attempt) replayFiles() (*files, error) {
	paths, err := a.recordedMounts()
	if err != nil || paths == nil {
		return nil, err
	}
	return replayedFiles(paths, a.replayFile), nil
}

// recordedMounts are the roots of a recording, nil for none; the tape goes on
// behind them.
func (a *attempt) recordedMounts() (paths []string, err error) {
	if len(a.tape.calls) == 0 || a.tape.calls[0].Op != opMounts {
		return nil, nil
	}
	if err := unmarshalMsgpack(a.tape.calls[0].OK, &paths); err != nil {
		return nil, errorf(CodeRequest, "tape: %s: %v", opMounts, err)
	}
	a.tape.next = 1
	return a.takeRoots(paths)
}

// replayedFiles stand in for the roots of a recording.
func replayedFiles(paths []string, next fsNextFunc) *files {
	f := &files{}
	tape := replayTape(next)
	for _, p := range paths {
		f.mounts = append(f.mounts, fsMounted{p, tape.mount(p, nil)})
	}
	return f
}

var errLeftTape = errors.New("the recording does not go on like this")

func (a *attempt) replayFile(op string, args, result any) error {
	in, err := marshalMsgpack(args)
	if err != nil {
		return err
	}
	call, ok := a.answerFile(op, in)
	if !ok {
		return errLeftTape
	}
	return unmarshalMsgpack(call.OK, result)
}

// answerFile answers a file operation from the tape; false means that the
// guest is to end.
func (a *attempt) answerFile(op string, args []byte) (rmp.Hostcall, bool) {
	call, ok := a.tape.answer(op, args)
	if !ok {
		a.watch.kill(errDiverged)
		return call, false
	}
	if err := a.mayDo(op, args); err != nil {
		a.door.leaveTape(op, args, call, err)
		return call, false
	}
	if !a.tape.replay && a.sawFile(op, call.Args, call.OK) != nil {
		a.leftForFile(op, args)
		return call, false
	}
	return call, true
}

// config is what wazero mounts, or nil for nothing.
func (f *files) config() wazero.FSConfig {
	if f == nil || len(f.mounts) == 0 {
		return nil
	}
	cfg := wazero.NewFSConfig()
	for _, m := range f.mounts {
		cfg = cfg.(sysfs.FSConfig).WithSysFSMount(m.fs, m.path)
	}
	return cfg
}

// tripped names the limits that the guest ran into.
func (f *files) tripped() []string {
	if f == nil || f.quota == nil {
		return nil
	}
	return f.quota.Tripped()
}

func (f *files) close() {
	if f != nil && f.roots != nil {
		_ = f.roots.Close() // closing what was opened for reading tells nothing
	}
}

func unmarshalMsgpack(b []byte, v any) error {
	js, err := rmp.AppendJSON(nil, b)
	if err != nil {
		return err
	}
	return json.Unmarshal(js, v)
}
