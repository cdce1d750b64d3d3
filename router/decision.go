package router

import "time"

// Exit codes of `rlp route` (spec/08). A timeout, 12, is the caller's.
const (
	ExitShell = 10
	ExitAgent = 11
)

// Exit returns the exit code that tells the widget where the line goes.
func (d Decision) Exit() int {
	if d.Route == ToAgent {
		return ExitAgent
	}
	return ExitShell
}

// JSON returns the one line that `rlp route` prints, without its end. Nothing
// of the typed line is in it.
func (d Decision) JSON() []byte {
	b := append([]byte(`{"version":1,"route":"`), d.Route...)
	b = append(append(b, `","rule":"`...), d.Rule...)
	b = append(b, `","blocked":`...)
	b = appendBool(b, d.Blocked)
	if d.Confirm {
		b = append(b, `,"confirm":true`...)
	}
	return append(b, '}')
}

// appendBool spells v as JSON does.
func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, "true"...)
	}
	return append(b, "false"...)
}

// Reasons is a decision with its evidence, as `rlp why --json` prints it.
type Reasons struct {
	Version  int       `json:"version"`
	Route    Route     `json:"route"`
	Rule     Rule      `json:"rule"`
	Blocked  bool      `json:"blocked"`
	Confirm  bool      `json:"confirm"`
	Shell    float64   `json:"shell"`
	Agent    float64   `json:"agent"`
	Features []Feature `json:"features"`
	Pattern  string    `json:"pattern,omitempty"`
	Said     *said     `json:"correction,omitempty"`
}

// Why returns the decision with its evidence.
func (d Decision) Why() Reasons {
	shell, agent := d.sums()
	features := d.Features
	if features == nil {
		features = []Feature{}
	}
	return Reasons{1, d.Route, d.Rule, d.Blocked, d.Confirm, shell, agent, features, d.Pattern, d.said()}
}

// said is a correction that decided, as `rlp why --json` shows it.
type said struct {
	First    string `json:"first"` // "" for any word
	Shape    string `json:"shape"`
	Recorded string `json:"recorded"` // RFC 3339, UTC
	Instead  Rule   `json:"instead_of"`
}

func (d Decision) said() *said {
	if d.Correction == nil {
		return nil
	}
	c := d.Correction
	return &said{c.First, c.Shape, c.Time.UTC().Format(time.RFC3339), d.Otherwise}
}

// sums adds up the evidence for each side.
func (d Decision) sums() (shell, agent float64) {
	for _, f := range d.Features {
		if f.Side == ToAgent {
			agent += f.Weight
		} else {
			shell += f.Weight
		}
	}
	return shell, agent
}
