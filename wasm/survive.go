package wasm

import (
	"fmt"
	"runtime/debug"

	"github.com/runloop-os/runloop/rmp"
)

// survive runs one attempt. A panic in it is a defect of ours, but must not end
// the attempts of others with it.
func (h *Host) survive(req *rmp.AgentRequest, run func() *rmp.AgentResponse) (res *rmp.AgentResponse) {
	defer func() {
		if p := recover(); p != nil {
			h.warn(fmt.Errorf("attempt of %s: panic: %v\n%s", req.Ref, p, debug.Stack()))
			res = failed(&rmp.AgentResponse{Node: req.Node, Attempt: req.Attempt, TraceID: req.TraceID},
				errorf(CodeHost, "the host failed"))
		}
	}()
	return run()
}
