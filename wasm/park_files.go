package wasm

import (
	"slices"
	"sync"

	"github.com/tetratelabs/wazero/experimental/sys"

	"github.com/runloop-os/runloop/rmp"
)

// An attempt with files is parked like any other when it holds none open but its
// roots, which WASI keeps for it. What it did with files is on the tape: brought
// back, the guest is answered from there, so that it finds what it has read as it
// read it, and what it has written is not written twice. From then on it is at the
// files as they are, as if it had waited where it was. An open file could not be
// brought back so: by its path there may be another one by then.

// handles are the files that a guest holds. wazero may close them from outside, so
// it takes a lock.
type handles struct {
	mu   sync.Mutex
	held map[int]bool // by number: true for what stands in the way of leaving
}

// saw notes an operation that matters here. A root is as it was wherever it is
// opened, until the guest has begun to read names out of it.
func (h *handles) saw(op string, args *fsArgs, res *fsResult) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch op {
	case "fs.open":
		if h.held == nil {
			h.held = map[int]bool{}
		}
		if res.Errno == "" {
			h.held[res.File] = !res.Dir || args.Path != rootPath
		}
	case "fs.readdir", "fs.seek", "fs.set_append":
		if _, open := h.held[args.File]; open {
			h.held[args.File] = true
		}
	}
}

// closed notes the end of one.
func (h *handles) closed(file int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.held, file)
}

// free reports whether nothing stands in the way.
func (h *handles) free() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, held := range h.held {
		if held {
			return false
		}
	}
	return true
}

// marksHandles reports whether an operation matters to handles.
func marksHandles(op string) bool {
	return slices.Contains([]string{"fs.open", "fs.readdir", "fs.seek", "fs.set_append"}, op)
}

// sawFile notes an operation as it is on the tape.
func (a *attempt) sawFile(op string, args, ok []byte) error {
	if !marksHandles(op) {
		return nil
	}
	var in fsArgs
	var res fsResult
	err := unmarshalMsgpack(args, &in)
	if err == nil && op == "fs.open" {
		err = unmarshalMsgpack(ok, &res)
	}
	if err == nil {
		a.handles.saw(op, &in, &res)
	}
	return err
}

// fsSpent is what an attempt has used of its FileLimits.
type fsSpent struct {
	Created, Written int64
}

// spentBefore counts what the attempt used before it was parked, as far as the tape
// tells: a limit is one for the whole of it. A file that was there already when it
// was opened to be made counts as made.
func (a *attempt) spentBefore() (out fsSpent) {
	if a.tape.replay {
		return out
	}
	for _, call := range a.tape.calls[:a.tape.prefix] {
		if !slices.Contains([]string{"fs.open", "fs.mkdir", "fs.write", "fs.pwrite"}, call.Op) {
			continue
		}
		var args fsArgs
		var res fsResult
		if unmarshalMsgpack(call.Args, &args) != nil || unmarshalMsgpack(call.OK, &res) != nil || res.Errno != "" {
			continue
		}
		switch {
		case call.Op == "fs.mkdir", sys.Oflag(args.Flag)&sys.O_CREAT != 0:
			out.Created++
		default:
			out.Written += res.N
		}
	}
	return out
}

// resumedMounts are the roots that the attempt had before it was parked, which must
// be those that it is granted now: the tape goes on behind them.
func (a *attempt) resumedMounts(now []string) error {
	before, err := a.recordedMounts()
	if err == nil && !slices.Equal(before, now) {
		err = otherRoots(before, now)
	}
	return err
}

func otherRoots(before, now []string) error {
	return errorf(CodeDiverged, "it waited with the folders %q, and is granted %q now", before, now)
}

// resumeFile answers a file operation from the tape until the guest is where it was
// parked. There it has to go on with what it was parked for.
func (a *attempt) resumeFile(op string, args, result any) error {
	if a.tape.given() {
		return a.replayFile(op, args, result)
	}
	if a.door.resuming() {
		in, err := marshalMsgpack(args)
		if err != nil {
			return err
		}
		a.leftForFile(op, in)
		return errLeftTape
	}
	return errTapeEnds
}

// leftForFile ends a guest that is not where it was.
func (a *attempt) leftForFile(op string, args []byte) {
	a.tape.diverge(nil, &rmp.Hostcall{Op: op, Args: args})
	a.watch.kill(errDiverged)
}
