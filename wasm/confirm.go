package wasm

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tinylib/msgp/msgp"
	"lukechampine.com/blake3"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

// TopicActions is where action requests and decisions meet (spec/02).
const TopicActions = "rlp/actions"

// rmpPayload is a payload that a bus message can carry.
type rmpPayload = msgp.Marshaler

// Confirmer asks on the bus: it publishes an action request and waits for a
// decision that names the same action and the same bytes.
type Confirmer struct {
	client    *bus.Client
	decisions *bus.Subscription
	timeout   time.Duration

	mu      sync.Mutex
	waiting map[string]*pendingAction // by action id
}

// pendingAction is an action that waits for its decision.
type pendingAction struct {
	request  *rmp.ActionRequest
	decision chan rmp.ActionDecision
}

// parkAfter is how long an attempt stays in its sandbox while it waits. A policy
// decides at once; a person does not.
const parkAfter = 250 * time.Millisecond

// NewConfirmer subscribes; Serve brings the decisions in. A request that
// nobody decides within timeout is denied.
func NewConfirmer(client *bus.Client, timeout time.Duration) (*Confirmer, error) {
	sub, err := client.Subscribe(TopicActions, bus.SubOptions{})
	if err != nil {
		return nil, errorf(CodeHost, "%v", err)
	}
	return &Confirmer{
		client: client, decisions: sub, timeout: timeout,
		waiting: map[string]*pendingAction{},
	}, nil
}

// Serve hands decisions to those who wait for them until ctx ends.
func (c *Confirmer) Serve(ctx context.Context) {
	defer c.decisions.Close()
	for {
		msg, err := c.decisions.Recv(ctx)
		if err != nil {
			return
		}
		var d rmp.ActionDecision
		if msg.SchemaID != rmp.CTActionDecision || msg.Decode(&d) != nil {
			continue
		}
		c.mu.Lock()
		if p := c.waiting[d.ActionID]; p != nil {
			select {
			case p.decision <- d:
			default: // the first decision counts
			}
		}
		c.mu.Unlock()
	}
}

// Confirm implements Actions.
func (c *Confirmer) Confirm(ctx context.Context, who Caller, a Action) (*Decision, error) {
	req, err := actionRequest(who, a, time.Now().Add(c.timeout))
	if err != nil {
		return nil, err
	}
	ch := make(chan rmp.ActionDecision, 1)
	c.mu.Lock()
	c.waiting[req.ActionID] = &pendingAction{req, ch}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, req.ActionID)
		c.mu.Unlock()
	}()
	trace, err := rmp.ParseTraceID(who.TraceID)
	if err != nil {
		return nil, errorf(CodeRequest, "%v", err)
	}
	if _, err := c.client.Publish(ctx, &rmp.Message{
		SchemaID: rmp.CTActionRequest, TraceID: trace, TTLMS: uint64(c.timeout.Milliseconds()),
		Meta:    rmp.Meta{Topic: TopicActions, From: "agent:" + who.Agent, To: "user"},
		Payload: req,
	}); err != nil {
		return nil, errorf(CodeHost, "asking for a decision: %v", err)
	}
	return c.wait(ctx, ch, req, who.MayPark)
}

// Pending are the actions of a run (trace:<uuid>) and of the openings in it that
// wait for a decision, for a user interface that comes late.
func (c *Confirmer) Pending(traceID string) []*rmp.ActionRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*rmp.ActionRequest
	for _, p := range c.waiting {
		if p.request.TraceID == traceID || slices.Contains(p.request.Outer, traceID) {
			out = append(out, p.request)
		}
	}
	slices.SortFunc(out, func(a, b *rmp.ActionRequest) int {
		return cmp.Or(cmp.Compare(a.ExpiresAtMS, b.ExpiresAtMS), cmp.Compare(a.ActionID, b.ActionID))
	})
	return out
}

// wait waits for the decision about a request, or only for a while.
func (c *Confirmer) wait(ctx context.Context, ch chan rmp.ActionDecision, req *rmp.ActionRequest, park bool) (*Decision, error) {
	patience := c.timeout
	if park {
		patience = min(parkAfter, patience)
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case d := <-ch:
		if d.Digest != req.Digest {
			return &Decision{Rationale: "the decision was about other content", By: "policy:digest"}, nil
		}
		return &Decision{Approved: d.Approved, Rationale: d.Rationale, By: d.By}, nil
	case <-late.C:
		if park {
			return nil, &ParkedError{req}
		}
		return &Decision{Rationale: "nobody decided in time", By: "timeout"}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// actionRequest binds what is asked to its digest, and to an id that is the
// same in every attempt of the node: the key under which an action is carried
// out once.
func actionRequest(who Caller, a Action, expires time.Time) (*rmp.ActionRequest, error) {
	digest, err := actionDigest(a)
	if err != nil {
		return nil, errorf(CodeInvalid, "action.confirm: details: %v", err)
	}
	details, err := rmp.AppendMsgpack(nil, orEmptyObject(a.Details))
	if err != nil {
		return nil, errorf(CodeInvalid, "action.confirm: details: %v", err)
	}
	id := blake3.Sum256([]byte(who.TraceID + "\x00" + who.Node + "\x00" + digest))
	return &rmp.ActionRequest{
		Op: rmp.OpActionRequest, ActionID: hex.EncodeToString(id[:16]),
		TraceID: who.TraceID, OpeningID: who.OpeningID, Node: who.Node, Agent: who.Agent,
		Attempt: who.Attempt, Kind: a.Kind, Summary: a.Summary, Details: details,
		Digest: digest, ExpiresAtMS: expires.UnixMilli(), Outer: outerTraces(who.Outer),
	}, nil
}

func outerTraces(outer []rmp.OuterNode) []string {
	var traces []string
	for _, o := range outer {
		traces = append(traces, o.TraceID)
	}
	return traces
}

func orEmptyObject(v json.RawMessage) json.RawMessage {
	if len(v) == 0 {
		return json.RawMessage("{}")
	}
	return v
}

// CheckAction reports whether the digest of a request is that of what the request
// shows. Whoever asks a person on behalf of a request checks that first: the
// decision is about the digest.
func CheckAction(req *rmp.ActionRequest) error {
	details, err := rmp.AppendJSON(nil, orEmptyMap(req.Details))
	if err != nil {
		return errorf(CodeInvalid, "action %s: details: %v", req.ActionID, err)
	}
	digest, err := actionDigest(Action{Kind: req.Kind, Summary: req.Summary, Details: details})
	if err != nil || digest != req.Digest {
		return errorf(CodeInvalid, "action %s: what it shows is not what its digest is of", req.ActionID)
	}
	return nil
}

// actionDigest is the hex BLAKE3 of the canonical JSON of what is asked.
func actionDigest(a Action) (string, error) {
	b, err := json.Marshal(map[string]any{
		"kind": a.Kind, "summary": a.Summary, "details": orEmptyObject(a.Details),
	})
	if err != nil {
		return "", err
	}
	v := jsontext.Value(b)
	if err := v.Canonicalize(); err != nil {
		return "", err
	}
	return hexSum(v), nil
}
