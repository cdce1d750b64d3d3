package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/runloop-os/runloop/wasm/guest"
)

// sendMail sends a reviewed draft, as a dry run: it asks a person, notes the
// mail as sent, and delivers nothing.
func sendMail(c *guest.Call) error {
	var with struct {
		Topic string `json:"topic"`
	}
	var to contact
	var d draft
	var r review
	err := errors.Join(c.Bind(&with), c.Need("contact", &to), c.Need("draft", &d), c.Need("review", &r))
	if err != nil {
		return err
	}
	d.Subject = cmp.Or(d.Subject, subject(with.Topic))
	res, err := send(c, &to, &d, &r)
	if err != nil {
		return err
	}
	res.ArtifactID = d.ArtifactID
	if res.Reason != "" {
		c.Log("warn", res.Status+": "+res.Reason, nil)
	}
	if err := c.Out("ok", res.Status == "dry_run"); err != nil {
		return err
	}
	return c.Out("out", res)
}

func send(c *guest.Call, to *contact, d *draft, r *review) (*mailResult, error) {
	if why := unfit(to, r); why != "" {
		return &mailResult{Status: "refused", Reason: why, Recipients: []string{}}, nil
	}
	m := message{
		To: []string{to.Email}, Subject: d.Subject,
		Body: withoutCitations(d.BodyMD), DryRun: true,
	}
	decision, err := c.Confirm(guest.Action{
		Kind:    "send",
		Summary: fmt.Sprintf("Send an email to %s <%s>: %s (dry run)%s", to.Name, to.Email, d.Subject, to.doubt()),
		Details: m,
	})
	if err != nil {
		return nil, err
	}
	if !decision.Approved {
		return &mailResult{Status: "declined", Reason: decision.Rationale, Recipients: m.To}, nil
	}
	return deliver(c, m, d)
}

// unfit says why nothing may go to this contact, or nothing.
func unfit(to *contact, r *review) string {
	switch {
	case to.stub():
		return fmt.Sprintf("%q is no contact with a known address (confidence %.2f); "+
			"add one with `rlp kb add contact`", to.Name, to.Confidence)
	case !r.OK:
		return "the review is not ok: " + strings.Join(r.Notes.Suggestions, "; ")
	}
	return ""
}

func deliver(c *guest.Call, m message, d *draft) (*mailResult, error) {
	now, err := c.Now()
	if err != nil {
		return nil, err
	}
	event, err := c.Propose(guest.Delta{
		Kind: "email.sent",
		Payload: map[string]any{
			"to": m.To, "subject": m.Subject, "artifact_id": d.ArtifactID, "status": "dry_run",
		},
		Rationale: "confirmed and sent as a dry run",
	})
	if err != nil {
		return nil, err
	}
	return &mailResult{
		Status: "dry_run", Recipients: m.To, EventID: event, DeliveredAtMS: now.UnixMilli(),
		MessageID: fmt.Sprintf("<%s.%s@runloop.invalid>", strings.TrimPrefix(c.TraceID, "trace:"), c.Node),
	}, nil
}
