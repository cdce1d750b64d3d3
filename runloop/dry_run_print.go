package runloop

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/runloop-os/runloop/router"
)

// showDryRun prints a dry run, which is a result.
func (o *IO) showDryRun(d *dryRun, asJSON bool) error {
	if asJSON {
		return printJSON(o.Stdout, d)
	}
	var b strings.Builder
	if d.dryRoute != nil {
		fmt.Fprintf(&b, "route: %s, by rule %s%s\n", d.Route, d.Rule, d.outcome())
	}
	if d.Shell != nil {
		fmt.Fprintf(&b, "line:  %s\nby:    %s\n", printable(d.Shell.Line), printable(d.Shell.Program))
	}
	if d.Agents != nil {
		d.writeAgents(&b)
	}
	b.WriteString("nothing was run\n")
	_, err := io.WriteString(o.Stdout, b.String())
	return err
}

// outcome is what would happen before a line is run.
func (d *dryRun) outcome() string {
	switch {
	case d.Blocked:
		return fmt.Sprintf("; router.denylist forbids it (%s)", printable(d.Pattern))
	case d.Confirm && d.Route == router.ToShell:
		return "; it would be asked about first"
	}
	return ""
}

// writeAgents writes what agents would do.
func (d *dryRun) writeAgents(b *strings.Builder) {
	p := d.Agents
	where := "in the daemon"
	if d.Where == whereLocal {
		where = "in this process"
	}
	fmt.Fprintf(b, "opening: %s (%s), %s\n", printable(p.Opening), printable(p.Source), where)
	if d.Note != "" {
		fmt.Fprintf(b, "note: %s\n", printable(d.Note))
	}
	p.writeParams(b)
	b.WriteString("nodes:\n")
	for i := range p.Nodes {
		p.Nodes[i].write(b)
	}
	if len(p.Models) == 0 {
		b.WriteString("models: none; no agent may ask one\n")
	} else {
		b.WriteString("models:\n")
	}
	for i := range p.Models {
		p.Models[i].write(b, p.Limits.Tokens != nil)
	}
	p.Limits.write(b)
	p.Estimate.write(b)
}

func (p *preview) writeParams(b *strings.Builder) {
	var m map[string]json.RawMessage
	if json.Unmarshal(p.Params, &m) != nil || len(m) == 0 {
		return
	}
	b.WriteString("parameters:\n")
	for _, key := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(b, "  %s: %s\n", printable(key), printable(string(m[key])))
	}
}

// write writes a node, what it may do and what bounds it.
func (n *previewNode) write(b *strings.Builder) {
	fmt.Fprintf(b, "  %s: %s", printable(n.Node), printable(n.Use))
	if n.Version != "" {
		fmt.Fprintf(b, " %s", printable(n.Version))
	}
	fmt.Fprintf(b, ", may %s", printable(strings.TrimPrefix(n.May, "to ")))
	for _, extra := range []struct {
		on   bool
		text string
	}{
		{n.Refused != "", "refused: " + n.Refused},
		{n.Tokens > 0, fmt.Sprintf("at most %d tokens", n.Tokens)},
		{n.MS > 0, "at most " + shortDuration(time.Duration(n.MS)*time.Millisecond)},
	} {
		if extra.on {
			fmt.Fprintf(b, "; %s", printable(extra.text))
		}
	}
	b.WriteByte('\n')
}

// write writes a model and what it would cost at most.
func (m *previewModel) write(b *strings.Builder, bounded bool) {
	fmt.Fprintf(b, "  %s", printable(m.Model))
	switch {
	case m.None != "":
		fmt.Fprintf(b, ": %s; the agents' own words take its place\n", printable(m.None))
		return
	case !slices.Equal(m.To, []string{m.Model}):
		fmt.Fprintf(b, ": %s", printable(strings.Join(m.To, ", then ")))
	}
	switch {
	case m.USDAtMost > 0:
		fmt.Fprintf(b, "; all tokens of the budget cost at most %s there", dollars(m.USDAtMost))
	case bounded:
		b.WriteString("; it costs nothing")
	}
	b.WriteByte('\n')
}

// write writes what earlier runs spent.
func (e *previewEstimate) write(b *strings.Builder) {
	switch {
	case e == nil:
		b.WriteString("estimate: none; no run of this opening has succeeded yet\n")
	case e.Runs == 1:
		fmt.Fprintf(b, "estimate: %d tokens, %s, as the last run\n", e.Tokens, dollars(e.USD))
	default:
		fmt.Fprintf(b, "estimate: %d tokens, %s, the median of the last %d runs\n", e.Tokens, dollars(e.USD), e.Runs)
	}
}

// write writes the limits, each with who set it.
func (l *previewLimits) write(b *strings.Builder) {
	b.WriteString("limits:")
	var parts []string
	if l.Tokens != nil {
		parts = append(parts, fmt.Sprintf(" %d tokens (%s)", l.Tokens.Most, l.Tokens.From))
	}
	if l.USD != nil {
		parts = append(parts, fmt.Sprintf(" %s (%s)", dollars(l.USD.Most), l.USD.From))
	}
	if l.TimeoutMS != nil {
		parts = append(parts, fmt.Sprintf(" %s (%s)",
			shortDuration(time.Duration(l.TimeoutMS.Most)*time.Millisecond), l.TimeoutMS.From))
	}
	if len(parts) == 0 {
		parts = []string{" none"}
	}
	b.WriteString(strings.Join(parts, ",") + "\n")
}
