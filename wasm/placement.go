package wasm

import (
	"context"
	"fmt"
	"os"
)

// Isolation says where agents run (spec/03 "Loading and isolation").
type Isolation string

// Values of Isolation.
const (
	// IsolationAuto: in this process what came with the binary and what is
	// trusted as much, in a worker everything else.
	IsolationAuto Isolation = "auto"
	// IsolationInline: everything in this process.
	IsolationInline Isolation = "inline"
	// IsolationWorker: everything in a process of its own.
	IsolationWorker Isolation = "worker"
)

// ParseIsolation reads a value of the configuration; "" means auto.
func ParseIsolation(s string) (Isolation, error) {
	switch i := Isolation(s); i {
	case "":
		return IsolationAuto, nil
	case IsolationAuto, IsolationInline, IsolationWorker:
		return i, nil
	}
	return "", fmt.Errorf("isolation %q is none of auto, inline, worker", s)
}

// placement is where the guest of an attempt runs. It returns when nothing of
// the guest is left; what the guest did is in the attempt.
type placement interface {
	run(ctx context.Context, a *attempt, stdin input) (ending, error)
	// life is what the module's exports tell.
	life() Life
}

// place settles where a bundle runs and makes its module ready for that.
func (h *Host) place(ctx context.Context, b *Bundle) (placement, error) {
	r := h.cfg.Runtime
	if !h.inline(b) {
		binary, err := b.Module()
		if err != nil {
			return nil, err
		}
		code, err := r.code(ctx, binary, b.ModuleDigest)
		if err != nil {
			return nil, err
		}
		return r.workerPlace(binary, b.ModuleDigest, code), nil
	}
	m, err := h.inlineModule(ctx, b)
	if err != nil {
		return nil, err
	}
	return inlinePlace{m}, nil
}

// inline reports whether a bundle runs in this process.
func (h *Host) inline(b *Bundle) bool {
	switch h.cfg.Isolation {
	case IsolationInline:
		return true
	case IsolationWorker:
		return false
	}
	return h.cfg.Policy.TrustedInline(b)
}

// inlineModule is a module for this process. Only what came with the binary
// is compiled here as well.
func (h *Host) inlineModule(ctx context.Context, b *Bundle) (*Module, error) {
	if b.BuiltIn {
		return h.cfg.Runtime.load(ctx, b.module, b.ModuleDigest)
	}
	binary, err := b.Module()
	if err != nil {
		return nil, err
	}
	return h.cfg.Runtime.loadForeign(ctx, binary, b.ModuleDigest)
}

// inlinePlace is this process.
type inlinePlace struct{ module *Module }

func (p inlinePlace) life() Life { return p.module.life }

func (p inlinePlace) run(ctx context.Context, a *attempt, stdin input) (ending, error) {
	var err error
	if a.files, err = a.openFiles(ctx); err != nil {
		return ending{}, err
	}
	defer a.files.close()
	a.placedIn(os.Getpid())
	end := p.module.run(ctx, a.guest(ctx, p.module.life, stdin), len(stdin.doc))
	end.tripped = a.files.tripped()
	return end, nil
}

// warmWorker has a worker wait for a bundle that may run.
func (h *Host) warmWorker(ctx context.Context, b *Bundle) {
	caps, _, err := h.cfg.Policy.Effective(b)
	if err != nil {
		return
	}
	binary, err := b.Module()
	if err != nil {
		return
	}
	code, err := h.cfg.Runtime.code(ctx, binary, b.ModuleDigest)
	if err != nil {
		return
	}
	grants := (&attempt{caps: caps}).grants()
	h.cfg.Runtime.workers.refill(workerKey(code, grants), code, grants, 1)
}
