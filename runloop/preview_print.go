package runloop

import (
	"fmt"
	"strings"
	"time"

	"github.com/runloop-os/runloop/opening"
)

// announce says, before anything is sent, where a prompt goes. Runs without a
// prompt say nothing.
func (s *session) announce(plan *opening.Plan, f *runFlags) error {
	if f.params.prompt == nil {
		return nil
	}
	line := s.preview("", plan, f.limits, f.grants...).line()
	if f.alone {
		line += " · here, no daemon answers"
	}
	return s.io.say(line)
}

// preview says what a run of the session would be.
func (s *session) preview(source string, plan *opening.Plan, asked opening.Limits, granted ...string) *preview {
	cfg := s.live.Load()
	d := &desk{io: s.io, cfg: cfg, places: s.places, catalog: s.catalog, policy: s.io.policy(cfg, granted...)}
	return d.preview(source, plan, asked, s.broker)
}

// say writes one line to people.
func (o *IO) say(line string) error {
	_, err := fmt.Fprintln(o.Stderr, printable(line))
	return err
}

// line is the preview on one line.
func (p *preview) line() string {
	return fmt.Sprintf("agents: %s · %s · %s", p.Opening, p.modelLine(), p.Limits.line())
}

// modelLine says which models would be asked.
func (p *preview) modelLine() string {
	if len(p.Models) == 0 {
		return "no model is asked"
	}
	var parts []string
	for _, m := range p.Models {
		parts = append(parts, m.line())
	}
	return "model " + strings.Join(parts, ", ")
}

// line is a model as it is asked for, and where that leads if it is somewhere
// else.
func (m *previewModel) line() string {
	switch {
	case m.None != "":
		return fmt.Sprintf("%s (%s: the agents' own words)", m.Model, m.None)
	case len(m.To) > 0 && m.To[0] != m.Model:
		return fmt.Sprintf("%s (at %s)", m.Model, m.To[0])
	}
	return m.Model
}

// line is the limits on one line.
func (l *previewLimits) line() string {
	var parts []string
	if l.Tokens != nil {
		parts = append(parts, fmt.Sprintf("%d tokens", l.Tokens.Most))
	}
	if l.USD != nil {
		parts = append(parts, dollars(l.USD.Most))
	}
	if l.TimeoutMS != nil {
		parts = append(parts, shortDuration(time.Duration(l.TimeoutMS.Most)*time.Millisecond))
	}
	if len(parts) == 0 {
		return "no budget"
	}
	return "budget " + strings.Join(parts, ", ")
}

// dollars has cents, or as many digits as a smaller amount needs.
func dollars(usd float64) string {
	s := fmt.Sprintf("$%.6f", usd)
	whole := len(s) - len("0000")
	return s[:whole] + strings.TrimRight(s[whole:], "0")
}

// shortDuration is a duration without the parts that are zero: 2m, 1m30s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
