package runloop

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/enter"
)

// runCorrections is rlp route --was, --forget and --corrections. They run when
// somebody asks for them, so they may open the knowledge base.
func runCorrections(ctx context.Context, io *IO, f *enter.Flags) error {
	if f.Corrections {
		return io.withCorrections(ctx, func(l *correctionLedger) error { return listCorrections(ctx, io, f, l) })
	}
	in := &router.Input{}
	if f.Stdin || f.Given {
		var err error
		if in, _, err = io.routeInput(f); err != nil {
			return err
		}
	}
	if f.Forget {
		return io.withCorrections(ctx, func(l *correctionLedger) error { return forget(ctx, io, f, in, l) })
	}
	return correct(ctx, io, f, in)
}

// correctionSaid is what --was and --forget print.
type correctionSaid struct {
	Version  int          `json:"version"`
	Recorded bool         `json:"recorded"`
	Event    int64        `json:"event,omitempty"`
	First    string       `json:"first"` // "" for any word
	Shape    string       `json:"shape"`
	Side     router.Route `json:"side,omitempty"`
	text     string
}

func (s *correctionSaid) print(io *IO, asJSON bool) error {
	if asJSON {
		return printJSON(io.Stdout, s)
	}
	_, err := fmt.Fprintln(io.Stdout, printable(s.text))
	return err
}

// correct records that a line belongs to the other side.
func correct(ctx context.Context, io *IO, f *enter.Flags, in *router.Input) error {
	d := router.Classify(*in)
	if err := correctable(&d); err != nil {
		return err
	}
	key, err := router.KeyOf(*in)
	if err != nil {
		return exitErrorf(exitDeclined, "nothing is recorded: %w; router.allowlist and the prefix \", \" are other ways", err)
	}
	said := &correctionSaid{Version: 1, First: key.First, Shape: key.Shape, Side: f.Was}
	if d.Route == f.Was {
		said.text = fmt.Sprintf("nothing to correct: the line goes to %s already, by rule %s", sideName(f.Was), d.Rule)
		return said.print(io, f.JSON)
	}
	if f.Was == router.ToAgent && key.Alone() {
		return exitErrorf(exitDeclined, "nothing is recorded: a single word goes to agents only behind \", \" or \"@ \", "+
			"because it may be a mistyped password")
	}
	return io.withCorrections(ctx, func(l *correctionLedger) error {
		payload := routeEvent{First: key.First, Shape: key.Shape, Side: f.Was, Rule: d.Rule}
		if said.Event, err = l.record(ctx, kindCorrected, payload); err != nil {
			return err
		}
		said.Recorded = true
		said.text = fmt.Sprintf("event:%d: %s goes to %s (rlp route --forget takes it back)",
			said.Event, describeKey(key), sideName(f.Was))
		return said.print(io, f.JSON)
	})
}

// correctable refuses lines that are decided before any correction is asked.
func correctable(d *router.Decision) error {
	switch d.Rule {
	case router.RuleBlank:
		return usageErrorf("--was: nothing was typed")
	case router.RuleDeny, router.RuleAllow:
		return exitErrorf(exitDeclined, "nothing is recorded: router.%s decides, with the pattern %q", d.Rule, d.Pattern)
	case router.RuleOpening:
		return exitErrorf(exitDeclined, "nothing is recorded: router.fastpath_shell is false, so everything goes to agents")
	case router.RuleForced:
		return exitErrorf(exitDeclined, "nothing is recorded: the line has a prefix that decides")
	case router.RuleTooLong:
		return exitErrorf(exitDeclined, "nothing is recorded: lines of that length always go to the shell")
	}
	return nil
}

// forget takes back what was said of a line, or else the newest of all.
func forget(ctx context.Context, io *IO, f *enter.Flags, in *router.Input, l *correctionLedger) error {
	list, err := l.all(ctx)
	if err != nil {
		return err
	}
	if f.Stdin || f.Given {
		if list, err = ofLine(list, in); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return exitErrorf(exitNotFound, "there is no such correction (see rlp route --corrections)")
	}
	c := &list[0]
	event, err := l.record(ctx, kindForgotten, routeEvent{First: c.First, Shape: c.Shape})
	if err != nil {
		return err
	}
	said := &correctionSaid{Version: 1, Recorded: true, Event: event, First: c.First, Shape: c.Shape}
	said.text = fmt.Sprintf("event:%d: %s is decided by the rules again", event, describeKey(c.Key))
	return said.print(io, f.JSON)
}

// ofLine keeps the corrections that a line would be decided by.
func ofLine(list []heldCorrection, in *router.Input) ([]heldCorrection, error) {
	key, err := router.KeyOf(*in)
	if errors.Is(err, router.ErrNoKey) {
		return nil, nil
	}
	if err != nil {
		return nil, usageErrorf("--forget: %v", err)
	}
	for i := range list {
		if list[i].Key == key {
			return list[i : i+1], nil
		}
	}
	return nil, nil
}

// listCorrections prints the corrections that hold, the newest first.
func listCorrections(ctx context.Context, io *IO, f *enter.Flags, l *correctionLedger) error {
	list, err := l.all(ctx)
	if err != nil {
		return err
	}
	if f.JSON {
		return printJSON(io.Stdout, correctionRows(list))
	}
	t := &table{head: []string{"FIRST", "SHAPE", "SIDE", "RECORDED", "EVENT"}}
	for _, c := range list {
		t.add(anyWord(c.First), c.Shape, string(c.Side), c.Time.UTC().Format(time.RFC3339),
			"event:"+strconv.FormatInt(c.event, 10))
	}
	return io.showTable(t)
}

// correctionRow is a correction as --corrections --json lists it.
type correctionRow struct {
	First    string       `json:"first"`
	Shape    string       `json:"shape"`
	Side     router.Route `json:"side"`
	Recorded string       `json:"recorded"`
	Event    int64        `json:"event"`
}

func correctionRows(list []heldCorrection) []correctionRow {
	rows := make([]correctionRow, len(list))
	for i, c := range list {
		rows[i] = correctionRow{c.First, c.Shape, c.Side, c.Time.UTC().Format(time.RFC3339), c.event}
	}
	return rows
}

// sideName is a side in a sentence.
func sideName(r router.Route) string {
	if r == router.ToAgent {
		return "agents"
	}
	return "the shell"
}

// describeKey names the lines that a correction is about.
func describeKey(k router.Key) string {
	switch {
	case k.First == "":
		return "a single word in another script"
	case k.Alone():
		return fmt.Sprintf("%q alone", k.First)
	}
	return fmt.Sprintf("%q with %s", k.First, k.Shape)
}

func anyWord(first string) string {
	if first == "" {
		return "(any)"
	}
	return first
}
