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
	grants := make([]fsGrant, len(a.caps.FS))
	for i, g := range a.caps.FS {
		grants[i] = fsGrant(g)
	}
	roots, err := openRoots(grants, a.guarded, newFSQuota(defaultFSLimits()))
	if err != nil {
		return nil, a.refuseGrant(ctx, err)
	}
	f := &files{roots: roots}
	var paths []string
	tape := recordTape(a.recordFile)
	for _, m := range roots.Mounts() {
		f.mounts = append(f.mounts, fsMounted{m.Path, tape.mount(m.Path, m.FS)})
		paths = append(paths, m.Path)
	}
	list, err := marshalMsgpack(paths)
	a.tape.record(rmp.Hostcall{Op: opMounts, Args: emptyMap, OK: list})
	return f, err
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
	in, err := marshalMsgpack(args)
	var out []byte
	if err == nil {
		out, err = marshalMsgpack(result)
	}
	if err != nil {
		a.tape.cut, a.tape.calls = true, nil
		return
	}
	a.tape.record(rmp.Hostcall{Op: op, Args: in, OK: out})
}

func (a *attempt) replayFiles() (*files, error) {
	if len(a.tape.calls) == 0 || a.tape.calls[0].Op != opMounts {
		return nil, nil
	}
	var paths []string
	if err := unmarshalMsgpack(a.tape.calls[0].OK, &paths); err != nil {
		return nil, errorf(CodeRequest, "tape: %s: %v", opMounts, err)
	}
	a.tape.next = 1
	paths, err := a.takeRoots(paths)
	if err != nil {
		return nil, err
	}
	f := &files{}
	tape := replayTape(a.replayFile)
	for _, p := range paths {
		f.mounts = append(f.mounts, fsMounted{p, tape.mount(p, nil)})
	}
	return f, nil
}

var errLeftTape = errors.New("the recording does not go on like this")

func (a *attempt) replayFile(op string, args, result any) error {
	in, err := marshalMsgpack(args)
	if err != nil {
		return err
	}
	call, ok := a.tape.answer(op, in)
	if of, isFS := args.(*fsArgs); ok && isFS && !a.mayDo(op, of) {
		a.door.leaveTape(op, in, call, errorf(CodeDenied, "denied:fs:%s may not be written", of.Root))
		return errLeftTape
	}
	if !ok {
		a.watch.kill(errDiverged)
		return errLeftTape
	}
	return unmarshalMsgpack(call.OK, result)
}

// config is what wazero mounts, or nil for nothing.
func (f *files) config() wazero.FSConfig {
	if f == nil {
		return nil
	}
	cfg := wazero.NewFSConfig()
	for _, m := range f.mounts {
		cfg = cfg.(sysfs.FSConfig).WithSysFSMount(m.fs, m.path)
	}
	return cfg
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
