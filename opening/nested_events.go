package opening

import (
	"encoding/json"
	"strings"
	"time"
)

// nestedMsg is an event of the run that an attempt is.
type nestedMsg struct {
	a  *attempt
	ev Event
}

// nestedEvent makes an event of a run inside an event of this one: it happened
// at node/inner node. When such a run begins and ends is said by the events of
// its node. While a person is asked for something in it the node waits as it
// would for an agent of its own.
func (r *runner) nestedEvent(msg nestedMsg) {
	if strings.HasPrefix(msg.ev.Kind, "run.") || msg.a.resp != nil {
		return
	}
	var meta map[string]json.RawMessage
	var inner string
	if json.Unmarshal(msg.ev.Meta, &meta) != nil || json.Unmarshal(meta["node"], &inner) != nil {
		return
	}
	r.nestedAction(msg.a, msg.ev.Kind, meta)
	if r.e.Sink == nil {
		return
	}
	ev, node := msg.ev, msg.a.req.Node+"/"+inner
	ev.TraceID, ev.RunID, ev.OpeningID = r.ids.trace, r.ids.trace, r.ids.opening
	if rest, ok := strings.CutPrefix(ev.Message, inner); ok {
		ev.Message = node + rest
	} else {
		ev.Message = node + ": " + ev.Message
	}
	meta["node"] = mustJSON(node)
	ev.Meta = mustJSON(meta)
	r.batch.events = append(r.batch.events, ev)
}

// nestedAction lets the timeout of an attempt stand still while something in it
// waits for a person.
func (r *runner) nestedAction(a *attempt, kind string, meta map[string]json.RawMessage) {
	switch kind {
	case kindActionRequested:
		var expires int64
		if json.Unmarshal(meta["expires_at_ms"], &expires) == nil {
			r.pause(a, time.UnixMilli(expires))
		}
	case kindActionDecided:
		if a.asking > 0 {
			r.resume(a)
		}
	}
}
