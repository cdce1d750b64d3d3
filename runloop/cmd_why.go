package runloop

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/router"
)

func cmdWhy(io *IO) *cli.Command {
	return &cli.Command{
		Name: "why", Usage: "show why a line goes to the shell or to agents",
		UsageText: `rlp why "tidy my downloads"
rlp why --json git status`,
		Description: "Shows the rule that decides a line, and the weight of each piece of evidence.",
		ArgsUsage:   "PROMPT...", Flags: append(routeFlagList(), jsonFlag()), SkipFlagParsing: true,
		Action: func(c *cli.Context) error { return whyCommand(io, c.Args().Slice()) },
	}
}

func whyCommand(io *IO, args []string) error {
	if len(args) == 0 {
		args = []string{"--help"}
	}
	f, err := parseRouteFlags(io, args)
	switch {
	case err != nil:
		return err
	case f.Help:
		return helpCommand(io, []string{"why"})
	case f.Was != "" || f.Forget || f.Corrections:
		return usageErrorf("rlp why only looks; corrections are made with rlp route (see rlp route --help)")
	}
	in, damage, err := io.routeInput(f)
	if err != nil {
		return err
	}
	if damage != nil {
		io.warnf("corrections are not used: %v; rlp route --corrections makes the file anew", damage)
	}
	d := router.Classify(*in)
	if f.JSON {
		b, err := json.Marshal(d.Why())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(io.Stdout, "%s\n", safeJSON(b))
		return err
	}
	return io.showWhy(&d)
}

// showWhy prints a decision for a person: what, why, and the evidence.
func (o *IO) showWhy(d *router.Decision) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, by rule %s\n", d.Route, d.Rule)
	if d.Pattern != "" {
		fmt.Fprintf(&b, "router.%s has the pattern %s\n", d.Rule, printable(d.Pattern))
	}
	if d.Blocked {
		b.WriteString("the shell integration refuses to run it\n")
	}
	if d.Confirm {
		b.WriteString("it may destroy something and reads like a sentence: the shell integration asks first\n")
	}
	if c := d.Correction; c != nil {
		fmt.Fprintf(&b, "you said so on %s, of %s; without that rule %s would decide\n",
			c.Time.Format(time.DateTime), printable(describeKey(c.Key)), d.Otherwise)
	}
	if _, err := io.WriteString(o.Stdout, b.String()); err != nil || len(d.Features) == 0 {
		return err
	}
	t := &table{head: []string{"FEATURE", "WEIGHT", "FOR"}}
	for _, ft := range d.Features {
		t.add(ft.Name, strconv.FormatFloat(ft.Weight, 'g', 3, 64), string(ft.Side))
	}
	return o.showTable(t)
}
