package runloop

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/pog"
)

func kbSearchCommand(io *IO) *cli.Command {
	return &cli.Command{
		Name: "search", Usage: "find contacts, notes and artifacts by words", ArgsUsage: "TEXT...",
		UsageText: `rlp kb search "Q4 plan"
rlp kb search budget --domain notes --limit 3
rlp kb search budget | cut -f4`,
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "limit", Aliases: []string{"k"}, Value: 10, Usage: "at most `N` hits"},
			&cli.StringSliceFlag{Name: "domain", Usage: "only `contacts|notes|artifacts|email`; may be given again"},
			&cli.StringFlag{Name: "actor", Usage: "only what `ACTOR` said: user, system, agent:<name>"},
			&cli.DurationFlag{Name: "within", Usage: "only of the last `DURATION`, such as 72h"},
			&cli.BoolFlag{Name: "confirmed-only", Usage: "only what a person stands behind"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usageErrorf("search for what? (see rlp kb search --help)")
			}
			return io.withStore(c.Context, func(store *pog.Store) error {
				hits, err := store.Search(c.Context, pog.AllReader(), searchOf(c))
				if err != nil {
					return err
				}
				return showHits(io, hits, c.Bool("json"))
			})
		},
	}
}

func searchOf(c *cli.Context) pog.SearchRequest {
	req := pog.SearchRequest{
		Text: strings.Join(c.Args().Slice(), " "), K: c.Int("limit"), Actor: c.String("actor"),
		ConfirmedOnly: c.Bool("confirmed-only"),
	}
	for _, d := range c.StringSlice("domain") {
		req.Domains = append(req.Domains, pog.Domain(d))
	}
	if d := c.Duration("within"); d > 0 {
		req.Since = time.Now().Add(-d)
	}
	return req
}

func showHits(io *IO, hits []pog.Hit, asJSON bool) error {
	if asJSON {
		return printJSON(io.Stdout, hits)
	}
	t := &table{head: []string{"ENTITY", "EVENT", "FOUND BY", "TITLE", "EXCERPT"}}
	for _, h := range hits {
		t.add(h.Entity, strconv.FormatInt(h.EventID, 10), strings.Join(h.FoundBy, ","), h.Title,
			strings.Join(strings.Fields(h.Excerpt), " "))
	}
	if err := io.showTable(t); err != nil {
		return err
	}
	if len(hits) == 0 {
		return exitErrorf(exitNotFound, "nothing found")
	}
	return nil
}

func kbQueryCommand(io *IO) *cli.Command {
	return &cli.Command{
		Name: "query", Usage: "run one read-only SQL statement on the views", ArgsUsage: "SQL [VALUE...]",
		UsageText: `rlp kb query "SELECT name, email FROM contacts WHERE org = ?" Mill`,
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.IntFlag{Name: "rows", Usage: "at most `N` rows"},
			&cli.DurationFlag{Name: "timeout", Usage: "at most `DURATION`"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usageErrorf("which statement? (see rlp kb query --help)")
			}
			return io.withStore(c.Context, func(store *pog.Store) error {
				var args []any
				for _, a := range c.Args().Tail() {
					args = append(args, a)
				}
				res, err := store.Query(c.Context, pog.AllReader(), c.Args().First(), args,
					pog.Limits{Rows: c.Int("rows"), Timeout: c.Duration("timeout")})
				if err != nil {
					return err
				}
				return showRows(io, res, c.Bool("json"))
			})
		},
	}
}

func showRows(io *IO, res *pog.Result, asJSON bool) error {
	if asJSON {
		return printJSON(io.Stdout, res)
	}
	t := &table{head: res.Columns}
	for _, row := range res.Rows {
		cells := make([]string, len(row))
		for i, v := range row {
			cells[i] = cellText(v)
		}
		t.add(cells...)
	}
	if res.Truncated != "" {
		io.warnf("cut off by the limit on %s", res.Truncated)
	}
	return io.showTable(t)
}

func cellText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []byte:
		return fmt.Sprintf("%x", v)
	}
	return fmt.Sprint(v)
}

func kbWhyCommand(io *IO) *cli.Command {
	return &cli.Command{
		Name: "why", Usage: "show the events that something comes from", ArgsUsage: "ENTITY",
		UsageText:   "rlp kb why note:…\nrlp kb why trace:0684 --json",
		Description: "ENTITY is contact:…, note:…, artifact:…, run:…, trace:…, or an event's number.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("why what? (see rlp kb why --help)")
			}
			entity, err := io.entityRef(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			return io.withStore(c.Context, func(store *pog.Store) error {
				causes, err := store.Why(c.Context, pog.AllReader(), entity)
				if err != nil {
					return err
				}
				if c.Bool("json") {
					return printJSON(io.Stdout, causes)
				}
				for _, cause := range causes {
					writeCause(io, cause, 0)
				}
				return nil
			})
		},
	}
}

// writeCause shows an event and, indented below it, what it rests on.
func writeCause(io *IO, c *pog.Cause, depth int) {
	mark := ""
	switch {
	case c.Seen:
		mark = "  (above)"
	case c.Cut:
		mark = "  (and more)"
	}
	fmt.Fprintf(io.Stdout, "%s%s event:%d  %s  %s  %s  %s%s\n", strings.Repeat("   ", depth), c.Relation,
		c.EventID, c.Kind, printable(c.Actor), time.UnixMilli(c.TSMillis).Format("2006-01-02 15:04:05"),
		printable(c.Summary), mark)
	for _, sub := range c.Causes {
		writeCause(io, sub, depth+1)
	}
}

func kbVerifyCommand(io *IO) *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "check every hash, the chain and the views",
		UsageText: "rlp kb verify\nrlp kb verify --head 1042:9f3c…",
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.StringFlag{Name: "head", Usage: "a `HEAD` that was written down before: proves that nothing is missing"},
		},
		Action: func(c *cli.Context) error {
			return io.withStore(c.Context, func(store *pog.Store) error {
				var opts pog.VerifyOptions
				if h := c.String("head"); h != "" {
					head, err := pog.ParseHead(h)
					if err != nil {
						return usageErrorf("--head: %v", err)
					}
					opts.Head = &head
				}
				done := io.busy("checking the ledger")
				r, err := store.Verify(c.Context, opts)
				done()
				if err != nil {
					return err
				}
				return showVerify(io, r, c.Bool("json"))
			})
		},
	}
}

func showVerify(io *IO, r *pog.Report, asJSON bool) error {
	if asJSON {
		if err := printJSON(io.Stdout, r); err != nil {
			return err
		}
	} else {
		for _, d := range r.Damages {
			fmt.Fprintf(io.Stdout, "%s: event %d: %s (%d in all)\n", d.Kind, d.EventID, printable(d.Detail), d.Count)
		}
		fmt.Fprintf(io.Stdout, "%d events, head %s\n", r.Events, r.Head)
	}
	if !r.OK() {
		return exitErrorf(exitFailed, "the ledger is damaged")
	}
	return nil
}

func kbStatsCommand(io *IO) *cli.Command {
	return &cli.Command{
		Name: "stats", Usage: "how much there is", UsageText: "rlp kb stats", Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			return io.withStore(c.Context, func(store *pog.Store) error {
				s, err := store.Stats(c.Context)
				if err != nil {
					return err
				}
				if c.Bool("json") {
					return printJSON(io.Stdout, s)
				}
				return showStats(io, s)
			})
		},
	}
}

// showStats prints a row for each number.
func showStats(io *IO, s *pog.Stats) error {
	t := &table{head: []string{"OF", "NAME", "COUNT"}}
	t.add("ledger", "events", strconv.FormatInt(s.Events, 10))
	t.add("ledger", "head", s.Head.String())
	t.add("views", "watermark", strconv.FormatInt(s.Watermark, 10))
	for _, part := range []struct {
		of     string
		counts map[string]int64
	}{{"events", s.Kinds}, {"rows", s.Rows}, {"bytes", s.Bytes}} {
		for _, name := range slices.Sorted(maps.Keys(part.counts)) {
			t.add(part.of, name, strconv.FormatInt(part.counts[name], 10))
		}
	}
	if s.ViewError != "" {
		io.warnf("the views could not be brought up to date: %s", s.ViewError)
	}
	return io.showTable(t)
}
