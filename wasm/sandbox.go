package wasm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

// exitTempfail is the status with which a guest says that another attempt may
// do better (EX_TEMPFAIL of sysexits.h).
const exitTempfail = 75

// ending is how a guest came to its end. err is nil only for status 0.
type ending struct {
	exit   uint32 // whole, never cut to 8 bits
	memory uint64 // size of linear memory, in bytes
	err    error
	// tripped names limits on files that the guest ran into.
	tripped []string
}

// run runs g in an instance of the module until it ends or ctx does. inputLen
// is what a reactor is told of its input.
func (m *Module) run(ctx context.Context, g *guest, inputLen int) ending {
	ctx = withGuest(ctx, g)
	in, err := m.instance(ctx, g)
	if err != nil {
		return endingOf(ctx, 0, err)
	}
	defer in.close()
	if g.onMemory != nil {
		g.onMemory(in.memory)
	}
	g.meter.enter()
	status, err := in.call(ctx, m.life, inputLen)
	g.meter.leave()
	memory := uint64(in.mod.Memory().Size())
	end := endingOf(ctx, status, err)
	end.memory = memory
	return end
}

func (in *instance) call(ctx context.Context, life Life, inputLen int) (uint32, error) {
	if life != LifeReactor {
		_, err := in.within(ctx, exportStart)
		return 0, err
	}
	res, err := in.within(ctx, exportHandle, uint64(uint32(inputLen)))
	if err != nil {
		return 0, err
	}
	return uint32(res[0]), nil
}

// instance returns one that is ready to be called for g.
func (m *Module) instance(ctx context.Context, g *guest) (*instance, error) {
	if m.life != LifeReactor {
		return m.instantiate(ctx, g)
	}
	in := m.takePooled(g)
	if in == nil {
		var err error
		if in, err = m.initialized(ctx, g); err != nil {
			return nil, err
		}
	}
	// Time goes on from where _initialize left it.
	g.clock.continueFrom(in.cur.clock)
	in.cur = g
	return in, nil
}

func (m *Module) instantiate(ctx context.Context, g *guest) (*instance, error) {
	memory, err := m.owner.memories.reserveUpTo(m.info, g.memory)
	if errors.Is(err, errNoMemory) && m.owner.pools.drain() { // what is made ahead can wait
		memory, err = m.owner.memories.reserveUpTo(m.info, g.memory)
	}
	if err != nil {
		return nil, err
	}
	in := &instance{cur: g, memory: memory}
	if in.mod, err = m.wazero.InstantiateModule(memory.With(ctx), m.compiled, in.config()); err != nil {
		memory.Release()
		return nil, err
	}
	in.stop, _ = in.mod.ExportedGlobal(gateStop).(api.MutableGlobal)
	if in.mod.ExportedFunction(gateMain) != nil {
		if _, err := in.within(ctx, gateMain); err != nil {
			in.close()
			return nil, err
		}
	}
	return in, nil
}

// initialized makes a reactor instance and runs its _initialize. The files of
// g are mounted already: they are fixed at instantiation.
func (m *Module) initialized(ctx context.Context, g *guest) (*instance, error) {
	ig := newInitGuest(g.args, g.memory)
	ig.fs, ig.env = g.fs, g.env
	ctx = withGuest(ctx, ig)
	in, err := m.instantiate(ctx, ig)
	if err != nil {
		return nil, err
	}
	_, err = in.within(ctx, exportInitialize)
	if err == nil {
		err = ctx.Err() // it may be stopped already
	}
	if err != nil {
		in.close()
		return nil, fmt.Errorf("%s: %w", exportInitialize, err)
	}
	return in, nil
}

// endingOf says how a guest ended that returned status or err. What the host
// knows goes first: a guest may exit with any number, also one that wazero
// uses for its own purposes.
func endingOf(ctx context.Context, status uint32, err error) ending {
	var exit *sys.ExitError
	var noMemory *MemoryError
	switch killed := killedBy(ctx); {
	case killed != nil && (err != nil || !inTime(ctx)):
		return ending{err: killed}
	case err == nil:
		return ending{exit: status, err: exitError(status)}
	case errors.As(err, &noMemory):
		return ending{err: errorf(CodeLoadRefused+":"+noMemory.Code, "%s", noMemory.Message)}
	case errors.As(err, &exit):
		return ending{exit: exit.ExitCode(), err: exitError(exit.ExitCode())}
	}
	return ending{err: trapError(err)}
}

// inTime reports whether a guest that returned although its context had ended
// was just quicker: true for a deadline or a cancel, false for what it did, and
// for what it may not do any more.
func inTime(ctx context.Context) bool {
	cause := context.Cause(ctx)
	for _, own := range []error{errOutputLimit, errOutputGone, errDiverged, errParked, &Error{Code: CodeRevoked}} {
		if errors.Is(cause, own) {
			return false
		}
	}
	return true
}

func exitError(status uint32) error {
	if status == 0 {
		return nil
	}
	return &Error{
		Code:      CodeExit,
		Message:   fmt.Sprintf("the agent exited with status %d", status),
		Retryable: status == exitTempfail,
	}
}

// killedBy is why the host stopped the guest, or nil if it did not.
func killedBy(ctx context.Context) error {
	var revoked *Error
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return nil
	case errors.As(cause, &revoked) && revoked.Code == CodeRevoked:
		return revoked
	case errors.Is(cause, errDeadline), errors.Is(cause, context.DeadlineExceeded):
		return &Error{Code: CodeDeadline, Message: "stopped at its deadline", Retryable: true}
	case errors.Is(cause, errParked):
		return errParked
	case errors.Is(cause, errOutputLimit):
		return errorf(CodeOutputLimit, "stopped: more output than its limit")
	case errors.Is(cause, errOutputGone):
		return errorf(CodeOutputGone, "stopped: nobody reads its output")
	case errors.Is(cause, errDiverged):
		return errorf(CodeDiverged, "stopped: it left the recorded path")
	default:
		return errorf(CodeCancelled, "stopped: the run was cancelled")
	}
}

// trapError names a WebAssembly trap from wazero's text, of which only the
// first line is ours to show.
func trapError(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	text = strings.TrimPrefix(text, "wasm error: ")
	if strings.Contains(text, "stack overflow") {
		return errorf(CodeStackOverflow, "the agent's stack overflowed")
	}
	return errorf(CodeTrap, "%s", text)
}
