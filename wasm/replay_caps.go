package wasm

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero/experimental/sys"

	"github.com/runloop-os/runloop/rmp"
)

// A replay under capabilities shows whether a recorded attempt could have done
// the same with less: what it was answered comes from the tape as in any other
// replay, but a call, a root or a clock that the capabilities do not give ends
// it as diverged.

// checkTaped is nil if the door lets a recorded call pass under the caller's
// capabilities. Calls whose check is part of carrying them out go to the
// backends, which in a replay answer nothing and change nothing; those that
// reach out of the machine are held against what they need instead, and the
// others need no capability.
func (d *door) checkTaped(ctx context.Context, op string, args []byte, call rmp.Hostcall) error {
	if !d.checked || call.Err != nil && call.Err.Code == CodeDenied {
		return nil
	}
	switch op {
	case "http.request", opSecretGet, "exec.run", opToolCall:
		return d.coversTaped(op, args)
	case "time.now", "kb.query", "kb.search", "kb.why", "kb.propose", "model.complete", "model.embed", "artifact.save":
		if _, err := d.perform(ctx, op, args); errors.Is(err, &Error{Code: CodeDenied}) {
			return err
		}
	}
	return nil
}

func (d *door) coversTaped(op string, args []byte) error {
	js, err := rmp.AppendJSON(nil, args)
	if err != nil {
		return err
	}
	if !d.caller.Caps.coversCall(op, js, d.tools) {
		return errorf(CodeDenied, "denied:%s", op)
	}
	return nil
}

// leaveTape ends a replay whose guest does what it may not.
func (d *door) leaveTape(op string, args []byte, call rmp.Hostcall, err error) {
	d.tape.next-- // the call was taken, but not answered
	e := asError(err)
	d.tape.diverge(&call, &rmp.Hostcall{Op: op, Args: args, Err: &rmp.HostcallError{Code: e.Code, Message: e.Message}})
	d.watch.kill(errDiverged)
}

// takeRoots leaves out of a replay the roots that the capabilities do not
// give, with all that was recorded of them, and returns those that stay. A
// guest that needed one does something else without it; one whose language
// merely looks at every root does not.
func (a *attempt) takeRoots(paths []string) ([]string, error) {
	if !a.heldToCaps() {
		return paths, nil
	}
	gone, opened := map[string]bool{}, map[int]bool{}
	stay := slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		gone[path] = !slices.ContainsFunc(a.caps.FS, func(g FSGrant) bool { return g.Path == path })
		return gone[path]
	})
	var kept []rmp.Hostcall
	for _, call := range a.tape.calls {
		var args fsArgs
		var res fsResult
		if strings.HasPrefix(call.Op, "fs.") {
			if err := errors.Join(unmarshalMsgpack(call.Args, &args), unmarshalMsgpack(call.OK, &res)); err != nil {
				return nil, errorf(CodeRequest, "tape: %s: %v", call.Op, err)
			}
		}
		if gone[args.Root] && args.Root != "" {
			opened[res.File] = true
			continue
		}
		if args.File == 0 || !opened[args.File] {
			kept = append(kept, call)
		}
	}
	a.tape.calls = kept
	return stay, nil
}

// heldToCaps reports whether the attempt is a replay under capabilities.
func (a *attempt) heldToCaps() bool { return a.door != nil && a.door.checked }

// mayDo is nil if a recorded operation on a file is allowed in this replay.
func (a *attempt) mayDo(op string, args []byte) error {
	if !a.heldToCaps() {
		return nil
	}
	var of fsArgs
	if err := unmarshalMsgpack(args, &of); err != nil {
		return err
	}
	if of.Root == "" || !writesFile(op, sys.Oflag(of.Flag)) {
		return nil
	}
	if slices.Contains(a.caps.FS, FSGrant{of.Root, true}) {
		return nil
	}
	return errorf(CodeDenied, "denied:fs:%s may not be written", of.Root)
}
