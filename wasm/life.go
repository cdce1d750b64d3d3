package wasm

import (
	"context"
	"fmt"
	"sync"

	"github.com/runloop-os/runloop/rmp"
)

// parseLife reads agent.life of a manifest; "" leaves it to the exports of the
// module.
func parseLife(s string) (Life, error) {
	for _, l := range []Life{LifeCommand, LifeReactor, LifeResident} {
		if s == l.String() {
			return l, nil
		}
	}
	if s != "" {
		return 0, fmt.Errorf("agent.life %q is none of command, reactor, resident", s)
	}
	return 0, nil
}

// stays reports whether the attempt is for an agent that stays.
func (a *attempt) stays() bool { return a.bundle.Manifest.Life == LifeResident }

// settleLife holds what the manifest says of the agent's life against the
// module. Both kinds of module can lead the life of a resident: their entry is
// called once.
func (a *attempt) settleLife(module Life) error {
	want := a.bundle.Manifest.Life
	life := module
	if want == LifeResident {
		life = want
	}
	if want != 0 && want != life {
		return errorf(CodeBundle, "agent %s: the manifest says life = %q, but the module is a %s",
			a.bundle.Manifest.Name, want, module)
	}
	a.door.count.seen(a.bundle, life)
	return nil
}

// mayRun refuses an agent that is in quarantine. A replay happens in a sandbox
// that nothing leaves, and is how one finds out what is wrong.
func (h *Host) mayRun(req *rmp.AgentRequest, b *Bundle) error {
	if req.Mode == rmp.ModeReplay {
		return nil
	}
	return h.breaker.check(req.Ref, b.Digest)
}

// performResident runs an attempt of an agent that stays. What waits for a
// resident holds no place that others could use.
func (h *Host) performResident(ctx context.Context, a *attempt, place placement, res *rmp.AgentResponse) *rmp.AgentResponse {
	if a.tape.replay {
		return h.replayResident(ctx, a, place, res)
	}
	freeSlot(ctx)
	return h.askResident(ctx, a, res)
}

// judge counts how an attempt ended, and puts an agent that crashes again and
// again into quarantine. Residents are judged where they are kept. The tape is not
// to be looked at here: a resident may still be at work on an attempt that nobody
// waits for any more, and writes it.
func (h *Host) judge(a *attempt, res *rmp.AgentResponse) {
	if a.req.Mode == rmp.ModeReplay {
		return
	}
	count, ref, digest := a.door.count, a.req.Ref, a.bundle.Digest
	count.ended(res.Status, res.MemBytes)
	switch {
	case a.stays():
	case res.Status == rmp.StatusOK:
		h.breaker.well(ref, digest)
	case res.Error != nil && isCrash(res.Error.Code) && !(res.Error.Code == CodeDeadline && a.hurried()):
		how := res.Error.Code + ": " + res.Error.Message
		count.crashed(how)
		record, err := h.breaker.crashed(ref, digest, how, false)
		if record != nil {
			h.warn(record.err())
		}
		if err != nil {
			h.warn(err)
		}
	}
}

// hurried reports whether the run left the attempt less time than the agent
// may have: then its deadline says nothing about the agent.
func (a *attempt) hurried() bool {
	left := a.req.Budget.DeadlineMillis
	return left > 0 && left < int64(a.limits.WallMS)
}

// placedIn notes in which process the guest runs.
func (a *attempt) placedIn(pid int) {
	if a.onPlace != nil {
		a.onPlace(pid)
	}
}

type slotKey struct{}

// takenSlot returns a context by which a place among the attempts that run can
// be given back before the attempt ends, and a function that does so at its
// end.
func (h *Host) takenSlot(ctx context.Context) (context.Context, func()) {
	free := sync.OnceFunc(func() { <-h.slots })
	return context.WithValue(ctx, slotKey{}, free), free
}

func freeSlot(ctx context.Context) {
	if free, ok := ctx.Value(slotKey{}).(func()); ok {
		free()
	}
}
