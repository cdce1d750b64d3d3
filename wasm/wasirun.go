package wasm

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// WASIConfig is a program that is no agent: any WASI command, to be run in the
// sandbox with the streams of whoever started it.
type WASIConfig struct {
	Module []byte
	Args   []string          // argv, the program's name first
	Env    map[string]string // all of the environment
	Caps   *Caps             // files and time; nil: nothing
	At     map[string]string // where the program sees a granted path, if not at its own
	Seed   [32]byte          // of its randomness
	Limits Limits            // zero fields mean the runtime's maximum
	Stdin  io.Reader         // nil: empty
	Stdout io.Writer
	Stderr io.Writer
	// Guarded are the host's own files, see HostConfig.
	Guarded   []string
	Isolation Isolation // IsolationInline, or else a worker
}

// WASIResult is how a program ended that ended by itself.
type WASIResult struct {
	Exit    uint32   // whole
	Memory  uint64   // size of linear memory, in bytes
	Tripped []string // limits on files that it ran into
	// What its process used; zero inline.
	CPU      time.Duration
	Resident int64 // bytes, at its largest
}

// RunWASI runs a program to its end. The error is an *[Error] that says why it
// was refused, stopped or trapped; an exit status is none.
func (r *Runtime) RunWASI(ctx context.Context, cfg WASIConfig) (WASIResult, error) {
	place, err := r.placeWASI(ctx, &cfg)
	if err != nil {
		return WASIResult{}, asError(err)
	}
	a := newRawAttempt(&cfg, r.cfg.Max)
	a.fileLimits = r.cfg.Files
	end, err := a.run(ctx, place)
	if err != nil {
		return WASIResult{}, asError(err)
	}
	res := WASIResult{Exit: end.exit, Memory: end.memory, Tripped: end.tripped, CPU: a.cpu, Resident: a.resident}
	if end.err == nil || errors.Is(end.err, &Error{Code: CodeExit}) {
		return res, nil
	}
	return res, asError(end.err)
}

func (r *Runtime) placeWASI(ctx context.Context, cfg *WASIConfig) (placement, error) {
	digest := hexSum(cfg.Module)
	if cfg.Isolation == IsolationInline {
		m, err := r.loadForeign(ctx, cfg.Module, digest)
		if err == nil && m.life != LifeCommand {
			err = notACommand()
		}
		return inlinePlace{m}, err
	}
	code, err := r.code(ctx, cfg.Module, digest)
	if err == nil && code.seal.Life != LifeCommand {
		err = notACommand()
	}
	return r.workerPlace(cfg.Module, digest, code), err
}

func notACommand() error {
	return errorf(CodeLoadRefused+":"+CodeNoEntryPoint, "the module is a %s, not a command with %s",
		LifeReactor, exportStart)
}

// newRawAttempt is an attempt without a request, a bundle or a tape.
func newRawAttempt(cfg *WASIConfig, most Limits) *attempt {
	a := &attempt{
		req:    &rmp.AgentRequest{Seed: cfg.Seed[:]},
		bundle: &Bundle{Manifest: &Manifest{}},
		caps:   cfg.Caps, limits: cfg.Limits.or(most).atMost(most), guarded: cfg.Guarded,
		tape: &tape{off: true}, clock: newVirtualClock(), raw: cfg, started: time.Now(),
	}
	if a.caps == nil {
		a.caps = &Caps{}
	}
	services := &Services{Now: time.Now}
	if a.caps.Time {
		a.clock = newRealClock(services.Now)
	}
	a.door = &door{
		open: true, services: services, tape: a.tape, emit: a.logLine,
		caller: Caller{Caps: a.caps},
	}
	return a
}

// rawOutput hands on what a program writes as it is, up to a limit.
type rawOutput struct {
	to      io.Writer
	left    int64
	onLimit func()
	failed  func(error) // the reader has gone
}

func (o *rawOutput) Write(p []byte) (int, error) {
	keep := p
	if int64(len(p)) > o.left {
		keep = p[:o.left]
		o.onLimit()
	}
	o.left -= int64(len(keep))
	if _, err := o.to.Write(keep); err != nil {
		o.failed(err)
	}
	return len(p), nil
}

// rawStreams leads the streams of a program to whoever started it. When they
// do not take any more, the program ends.
func (a *attempt) rawStreams() {
	stream := func(to io.Writer) io.Writer {
		if to == nil {
			to = io.Discard
		}
		return &rawOutput{
			to: to, left: int64(a.limits.StdoutKB) << 10,
			onLimit: func() { a.watch.kill(errOutputLimit) },
			failed:  func(error) { a.watch.kill(errOutputGone) },
		}
	}
	a.out, a.errs = stream(a.raw.Stdout), stream(a.raw.Stderr)
}
