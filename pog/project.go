package pog

import (
	"cmp"
	"encoding/json"
)

// The functions here derive rows from the payloads of one kind each. A
// payload that does not decode was not validated by this version: its event
// stays in the events view and nothing else follows from it, because a view
// must never stop on one bad row.

// projectNote adds a note, or replaces the one from the same source. An
// agent has its own sources: it cannot replace what a person imported by
// naming that file.
func projectNote(p *projection, r *record) error {
	var n struct {
		Title, Body, Source string
		Tags                []string
		Citations           []int64
	}
	if json.Unmarshal(r.Payload, &n) != nil {
		return nil
	}
	key := p.red.key("event:" + r.Hash.String())
	if n.Source != "" {
		owner := ""
		if r.byAgent() {
			owner = r.Actor
		}
		key = p.red.key("note:" + owner + "\x00" + n.Source)
	}
	v, err := p.find(&notesTable, `note_key = ?`, key)
	if err != nil {
		return err
	}
	if v == nil {
		v = row{"note_key": key}
	}
	v["title"], v["body"], v["source"], v["tags"] = n.Title, n.Body, n.Source, jsonList(n.Tags)
	if err := p.save(&notesTable, r, v); err != nil {
		return err
	}
	if err := p.cite(r, "note:"+key, n.Citations); err != nil {
		return err
	}
	return p.history(r, "note:"+key)
}

// artifactID is the id an artifact goes by when its event names none.
func artifactID(id, sha256 string) string {
	if id == "" && len(sha256) >= 16 {
		return "a" + sha256[:16]
	}
	return id
}

// projectArtifact adds an artifact. One agent does not overwrite another's.
func projectArtifact(p *projection, r *record) error {
	var a struct {
		ID, Kind, Path, SHA256, Name, Summary string
		MediaType                             string `json:"media_type"`
		Size                                  *int64
		Citations                             []int64
	}
	if json.Unmarshal(r.Payload, &a) != nil {
		return nil
	}
	id := artifactID(a.ID, a.SHA256)
	v, err := p.find(&artifactsTable, `artifact_id = ?`, id)
	if err != nil {
		return err
	}
	if foreign := v != nil && r.byAgent() && v.str("actor") != r.Actor; !foreign {
		if v == nil {
			v = row{"artifact_id": id}
		}
		v["kind"], v["path"], v["sha256"], v["name"] = a.Kind, a.Path, a.SHA256, a.Name
		v["media_type"], v["summary"], v["trace_id"] = a.MediaType, a.Summary, r.trace
		if a.Size != nil {
			v["size"] = *a.Size
		}
		if err := p.save(&artifactsTable, r, v); err != nil {
			return err
		}
	}
	if r.trace != "" {
		if err := p.edge(r, "artifact:"+id, "made_in", "trace:"+r.trace); err != nil {
			return err
		}
	}
	if err := p.cite(r, "artifact:"+id, a.Citations); err != nil {
		return err
	}
	return p.history(r, "artifact:"+id)
}

func projectEmail(p *projection, r *record) error {
	var e struct {
		To, CC      []string
		Subject     string
		ArtifactID  string `json:"artifact_id"`
		MessageID   string `json:"message_id"`
		Status      string
		DeliveredMS int64 `json:"delivered_at_ms"`
		Citations   []int64
	}
	if json.Unmarshal(r.Payload, &e) != nil {
		return nil
	}
	err := p.save(&emailsTable, r, row{
		"sent_to": jsonList(e.To), "cc": jsonList(e.CC), "subject": e.Subject,
		"artifact_id": e.ArtifactID, "message_id": e.MessageID, "status": e.Status,
		"delivered_at_ms": e.DeliveredMS, "trace_id": r.trace,
	})
	if err != nil {
		return err
	}
	if e.ArtifactID != "" {
		if err := p.edge(r, eventKey(r.ID), "sent", "artifact:"+e.ArtifactID); err != nil {
			return err
		}
		if err := p.history(r, "artifact:"+e.ArtifactID); err != nil {
			return err
		}
	}
	return p.cite(r, eventKey(r.ID), e.Citations)
}

func projectAccount(p *projection, r *record) error {
	var a struct {
		Kind, Handle string
		AuthRef      string `json:"auth_ref"`
		Scopes       []string
		Verified     bool
	}
	if json.Unmarshal(r.Payload, &a) != nil {
		return nil
	}
	v, err := p.find(&accountsTable, `kind = ? AND handle = ?`, a.Kind, a.Handle)
	if err != nil {
		return err
	}
	if v == nil {
		v = row{"kind": a.Kind, "handle": a.Handle}
	} else if r.byAgent() && v.str("actor") != r.Actor {
		return nil
	}
	v["auth_ref"], v["scopes"], v["verified"] = a.AuthRef, jsonList(a.Scopes), a.Verified
	return p.save(&accountsTable, r, v)
}

// outcome is what the payloads about runs, nodes and attempts have in common.
type outcome struct {
	Status  string
	Success *bool
	Error   json.RawMessage
}

// state is the status, or what follows from the other fields.
func (o *outcome) state() string {
	switch {
	case o.Status != "":
		return o.Status
	case o.Success != nil && !*o.Success, o.errorText() != "":
		return "error"
	}
	return "ok"
}

// errorText is the error as text: itself when it is a string, else its JSON.
func (o *outcome) errorText() string {
	var s string
	if json.Unmarshal(o.Error, &s) == nil || string(o.Error) == "null" {
		return s
	}
	return string(o.Error)
}

func projectRun(p *projection, r *record) error {
	var e struct {
		outcome
		OpeningID   string `json:"opening_id"`
		OpeningName string `json:"opening_name"`
		Reason      string // why a run in which nothing failed is no success
	}
	if json.Unmarshal(r.Payload, &e) != nil || r.trace == "" {
		return nil
	}
	v, err := p.find(&runsTable, `trace_id = ?`, r.trace)
	if err != nil {
		return err
	}
	if v == nil {
		v = row{"trace_id": r.trace}
	}
	switch r.Kind {
	case "run.started":
		v["opening_id"], v["opening_name"] = e.OpeningID, e.OpeningName
		v["state"], v["started_ms"] = "running", r.TSMillis
	case "run.paused":
		v["state"] = "paused"
	case "run.resumed":
		v["state"] = "running"
	case "run.finished":
		v["state"], v["error"], v["finished_ms"] = e.state(), cmp.Or(e.errorText(), e.Reason), r.TSMillis
	}
	return p.save(&runsTable, r, v)
}

func projectNode(p *projection, r *record) error {
	var e struct {
		outcome
		Node, Agent string
		Attempt     int64
	}
	if json.Unmarshal(r.Payload, &e) != nil || r.trace == "" {
		return nil
	}
	v, err := p.find(&nodesTable, `trace_id = ? AND node = ? AND attempt = ?`,
		r.trace, e.Node, e.Attempt)
	if err != nil {
		return err
	}
	if v == nil {
		v = row{"trace_id": r.trace, "node": e.Node, "attempt": e.Attempt}
	}
	if e.Agent != "" {
		v["agent"] = e.Agent
	}
	switch r.Kind {
	case "node.started":
		if err := p.loseAttempt(r, e.Node, e.Attempt-1); err != nil {
			return err
		}
		v["state"], v["started_ms"] = "running", r.TSMillis
	case "node.parked":
		v["state"] = "waiting"
	default:
		v["state"], v["error"], v["finished_ms"] = e.state(), e.errorText(), r.TSMillis
	}
	return p.save(&nodesTable, r, v)
}

// loseAttempt notes that an attempt went with its process, if another of its node
// begins although nothing is known about its end.
func (p *projection) loseAttempt(r *record, node string, attempt int64) error {
	v, err := p.find(&nodesTable, `trace_id = ? AND node = ? AND attempt = ?`, r.trace, node, attempt)
	if err != nil || v == nil || v.str("state") != "running" {
		return err
	}
	v["state"] = "lost"
	return p.save(&nodesTable, r, v)
}

func projectAction(p *projection, r *record) error {
	var e struct {
		ActionID                   string `json:"action_id"`
		Node, Agent, Kind, Summary string
		Digest, By, Rationale      string
		Approved                   bool
	}
	if json.Unmarshal(r.Payload, &e) != nil {
		return nil
	}
	v, err := p.find(&actionsTable, `action_id = ?`, e.ActionID)
	if err != nil {
		return err
	}
	if v == nil {
		v = row{"action_id": e.ActionID, "trace_id": r.trace}
	}
	if r.Kind == "action.requested" {
		v["node"], v["agent"], v["kind"] = e.Node, e.Agent, e.Kind
		v["summary"], v["digest"] = e.Summary, e.Digest
		v["state"], v["requested_ms"] = "requested", r.TSMillis
	} else {
		v["state"], v["decided_ms"] = "denied", r.TSMillis
		if e.Approved {
			v["state"] = "approved"
		}
		v["decided_by"], v["rationale"] = e.By, e.Rationale
		if e.By == "" {
			v["decided_by"] = r.Actor
		}
	}
	if err := p.save(&actionsTable, r, v); err != nil {
		return err
	}
	return p.history(r, "action:"+e.ActionID)
}

// projectEffect makes all that is known of one action in the world found by its
// key: it is asked for before each.
func projectEffect(p *projection, r *record) error {
	var e struct{ Key string }
	if json.Unmarshal(r.Payload, &e) != nil || e.Key == "" {
		return nil
	}
	return p.history(r, "effect:"+e.Key)
}
