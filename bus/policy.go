package bus

import (
	"os"
	"slices"
	"strings"

	"github.com/runloop-os/runloop/rmp"
)

// Peer is who is at the other end of a connection. The kernel says UID, GID,
// Groups and PID; Kind and Name are what the client says.
type Peer struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	PID      int32
	Kind     Kind
	Name     string
	Session  string
}

// Policy says who may do what on a socket. The zero Policy has the defaults of
// spec/02.
type Policy struct {
	// GID, when not zero, lets members of that group in, besides the own uid
	// and root.
	GID uint32
	// DecisionKinds and DecisionUIDs may publish action decisions: a peer
	// must be in both. Requests to agents and requests for confirmation take
	// one of DecisionUIDs, too. Default ui and tui, and the own uid.
	DecisionKinds []Kind
	DecisionUIDs  []uint32
	// MaySpeakFor, when set, says whether a peer of kind agent or tool may
	// use a trace id other than those of the requests it was sent.
	MaySpeakFor func(peer Peer, trace rmp.TraceID) bool
	// Publish and Subscribe, when set, are asked last and may refuse more.
	Publish   func(peer Peer, topic string, h *rmp.Header) error
	Subscribe func(peer Peer, filter, queue string) error
}

// withDefaults fills in what is not set.
func (p Policy) withDefaults() Policy {
	if p.DecisionKinds == nil {
		p.DecisionKinds = []Kind{KindUI, KindTUI}
	}
	if p.DecisionUIDs == nil {
		p.DecisionUIDs = []uint32{uint32(os.Geteuid())}
	}
	return p
}

// admit reports why a peer may not connect at all.
func (p *Policy) admit(peer *Peer) *WireError {
	switch {
	case peer.UID == uint32(os.Geteuid()), peer.UID == 0:
		return nil
	case p.GID != 0 && (peer.GID == p.GID || slices.Contains(peer.Groups, p.GID)):
		return nil
	}
	return wireErrorf(CodeForbidden, "uid %d may not use this socket", peer.UID)
}

// clientKind reports whether a client on a socket may be of this kind.
func clientKind(k Kind) bool {
	switch k {
	case KindCLI, KindAgent, KindUI, KindTUI, KindTool:
		return true
	}
	return false
}

// restricted reports whether a kind runs what others wrote: it may only speak
// for the runs it was asked to work for, and listen to topics it can name.
func restricted(k Kind) bool { return k == KindAgent || k == KindTool }

// publish reports why a peer may not publish a frame. asked says whether the
// peer was sent a request with the frame's trace id.
func (p *Policy) publish(peer *Peer, r *route, h *rmp.Header, asked func(rmp.TraceID) bool) *WireError {
	if r.daemon || daemonSchema(h.SchemaID) {
		return wireErrorf(CodeForbidden, "only the daemon publishes schema %d to %.64s", h.SchemaID, r.topic)
	}
	if h.SchemaID == rmp.CTActionDecision {
		if !slices.Contains(p.DecisionKinds, peer.Kind) || !slices.Contains(p.DecisionUIDs, peer.UID) {
			return wireErrorf(CodeForbidden, "uid %d as %s may not decide actions", peer.UID, peer.Kind)
		}
	}
	if asAgent(h.SchemaID) && !slices.Contains(p.DecisionUIDs, peer.UID) {
		return wireErrorf(CodeForbidden, "uid %d may not have agents act or ask for them", peer.UID)
	}
	if restricted(peer.Kind) {
		if err := p.speaksFor(peer, r.topic, h.TraceID, asked); err != nil {
			return err
		}
	}
	if p.Publish == nil {
		return nil
	}
	return forbidden(p.Publish(*peer, r.topic, h))
}

// speaksFor reports why a restricted peer may not use a trace id on a topic.
func (p *Policy) speaksFor(peer *Peer, topic string, trace rmp.TraceID, asked func(rmp.TraceID) bool) *WireError {
	if !asked(trace) && (p.MaySpeakFor == nil || !p.MaySpeakFor(*peer, trace)) {
		return wireErrorf(CodeForbidden, "%s %q was not asked to work for trace %s", peer.Kind, peer.Name, trace)
	}
	run, ok := runOf(topic)
	if ok && run != trace {
		return wireErrorf(CodeForbidden, "trace %s may not publish to the topic of another run", trace)
	}
	return nil
}

// subscribe reports why a peer may not subscribe.
func (p *Policy) subscribe(peer *Peer, filter, queue string) *WireError {
	if restricted(peer.Kind) && strings.ContainsAny(filter, "+#") {
		return wireErrorf(CodeForbidden, "kind %s may not subscribe with wildcards", peer.Kind)
	}
	if p.Subscribe == nil {
		return nil
	}
	return forbidden(p.Subscribe(*peer, filter, queue))
}

// forbidden is the report of a refusal.
func forbidden(err error) *WireError {
	if err == nil {
		return nil
	}
	return &WireError{Code: CodeForbidden, Message: err.Error()}
}

// daemonSchema and daemonTopic are what no client may publish: what the daemon
// says of itself and of runs must not be forged.
func daemonSchema(id uint16) bool {
	switch id {
	case rmp.CTRunEvent, rmp.CTCtrlResp, rmp.CTBusDropNotice, rmp.CTRuntimeHello:
		return true
	}
	return false
}

// asAgent reports whether a frame comes down to a decision: a request to an agent
// can bring one along, and what a person is shown is a request in an agent's
// name.
func asAgent(id uint16) bool {
	return id == rmp.CTExecutorAgentRequest || id == rmp.CTActionRequest
}

func daemonTopic(topic string) bool {
	return strings.HasPrefix(topic, "rlp/sys/") || Matches("rlp/runs/+/events", topic)
}

// runOf returns the run that a topic below rlp/runs belongs to. A level that
// is no trace id names no run, and so none that could be another's.
func runOf(topic string) (rmp.TraceID, bool) {
	rest, ok := strings.CutPrefix(topic, "rlp/runs/")
	if !ok {
		return rmp.TraceID{}, false
	}
	level, _, _ := strings.Cut(rest, "/")
	trace, err := rmp.ParseTraceID(level)
	return trace, err == nil
}

// Refusal is what an audit gets to know: who was refused what, and why.
type Refusal struct {
	Peer  Peer
	Op    string // connect, hello, publish, subscribe
	Code  string
	Topic string
	Trace rmp.TraceID
	Why   string
	// Suppressed counts refusals of the same connection, or of connections as
	// such, that were not audited since the last one that was, because there
	// were too many.
	Suppressed int
}
