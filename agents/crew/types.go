package main

import (
	"fmt"
	"strings"
)

// What travels between the agents of compose_email. The manifests name these
// as content types.

// contact is toolresult.contacts.resolved.v1. A stub has no address and a
// confidence of at most stubConfidence.
type contact struct {
	ContactID   string     `json:"contact_id"`
	Name        string     `json:"name"`
	Email       string     `json:"email"`
	Org         string     `json:"org,omitempty"`
	Confidence  float64    `json:"confidence"` // 0..1
	LastEventID int64      `json:"last_event_id,omitempty"`
	Mention     string     `json:"mention,omitempty"`    // the words of a prompt that named it
	RunnersUp   []runnerUp `json:"runners_up,omitempty"` // the best first

	folded string // Name, where it was folded before
}

// runnerUp is another contact that the query could have meant.
type runnerUp struct {
	ContactID  string  `json:"contact_id"`
	Name       string  `json:"name"`
	Org        string  `json:"org,omitempty"`
	Confidence float64 `json:"confidence"`
}

// stubConfidence is the most that a contact gets which is nobody we know.
const stubConfidence = 0.4

func (c *contact) stub() bool { return c.Email == "" || c.Confidence <= stubConfidence }

// doubt tells the person who else could have been meant.
func (c *contact) doubt() string {
	if len(c.RunnersUp) == 0 {
		return ""
	}
	var names []string
	for _, o := range c.RunnersUp {
		names = append(names, o.Name)
	}
	return fmt.Sprintf("; confidence %.2f, it could also be %s", c.Confidence, strings.Join(names, ", "))
}

// bundle is observation.context.bundle.v1.
type bundle struct {
	Topic    string    `json:"topic"`
	Snippets []snippet `json:"snippets"`
}

// snippet is a piece of the knowledge base and the event it comes from.
type snippet struct {
	Title   string `json:"title"`
	Excerpt string `json:"excerpt"`
	EventID int64  `json:"event_id"`
}

// draft is artifact.draft.email.v1.
type draft struct {
	ArtifactID string  `json:"artifact_id"`
	Path       string  `json:"path"`
	SHA256     string  `json:"sha256"`
	Subject    string  `json:"subject"`
	BodyMD     string  `json:"body_md"`
	Rationale  string  `json:"rationale"`
	Citations  []int64 `json:"citations"` // event ids
	WordCount  int     `json:"word_count"`
}

// review is critique.review.v1.
type review struct {
	OK    bool        `json:"ok"`
	Notes reviewNotes `json:"notes"`
}

type reviewNotes struct {
	Summary     string   `json:"summary"`
	Suggestions []string `json:"suggestions"`
}

// mailResult is toolresult.mail.result.v1. Status is dry_run, declined or
// refused.
type mailResult struct {
	Status        string   `json:"status"`
	Reason        string   `json:"reason,omitempty"`
	Recipients    []string `json:"recipients"`
	ArtifactID    string   `json:"artifact_id"`
	MessageID     string   `json:"message_id,omitempty"`
	DeliveredAtMS int64    `json:"delivered_at_ms,omitempty"`
	EventID       int64    `json:"event_id,omitempty"`
}

// message is what would go out: the person confirms exactly this.
type message struct {
	To      []string `json:"to"`
	Subject string   `json:"subject"`
	Body    string   `json:"body"`
	DryRun  bool     `json:"dry_run"`
}
