package runloop

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/opening"
)

func cmdRunsExport(io *IO) *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "put a run into one file", ArgsUsage: "TRACE",
		UsageText: `rlp runs export trace:0b1c…
rlp runs export trace:0b1c… -o bug.rlrun --with-agents
rlp runs export trace:0b1c… -o public.rlrun --redact`,
		Description: `The file holds the opening, the trace, the run's events with their place in the
ledger's chain, and its artifacts. rlp runs verify checks it, rlp replay and rlp
trace take it, on any machine. With --redact, what people wrote or are called is
replaced by salted hashes of it; the file can still be checked, but not replayed.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`; - is stdout (default: named after opening and trace)"},
			&cli.BoolFlag{Name: "with-agents", Usage: "put the agents that ran into it as well"},
			&cli.BoolFlag{Name: "redact", Usage: "replace addresses, names and texts by commitments"},
			&cli.StringFlag{Name: "key", Usage: "the salt of --redact, read from `FILE` or made there"},
			&cli.StringFlag{Name: "agents-dir", Usage: "look for agents in `DIR` first"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("which run? (see rlp runs export --help)")
			}
			return runsExport(c.Context, io, &exportFlags{
				ref: c.Args().First(), out: c.String("output"), withAgents: c.Bool("with-agents"),
				redact: c.Bool("redact"), key: c.String("key"), agentsDir: c.String("agents-dir"), json: c.Bool("json"),
			})
		},
	}
}

type exportFlags struct {
	ref, out           string
	withAgents, redact bool
	key, agentsDir     string
	json               bool
}

func runsExport(ctx context.Context, io *IO, f *exportFlags) error {
	if f.key != "" && !f.redact {
		return usageErrorf("--key is the salt of --redact (see rlp runs export --help)")
	}
	cfg, err := io.config()
	if err != nil {
		return err
	}
	b, err := io.exportRun(ctx, cfg, f.ref)
	if err != nil {
		return err
	}
	if f.withAgents {
		if b.Agents, err = io.agentsOf(cfg, b.Trace, f.agentsDir); err != nil {
			return err
		}
	}
	if f.redact {
		key, err := redactKey(f.key)
		if err != nil {
			return err
		}
		b = b.Redact(key)
	}
	return io.writeRunBundle(f, b)
}

// writeRunBundle checks what was put together as anybody would, and writes it.
func (o *IO) writeRunBundle(f *exportFlags, b *opening.RunBundle) error {
	data, err := b.Encode()
	if err != nil {
		return err
	}
	if _, err := opening.ParseRunBundle(data); err != nil {
		return fmt.Errorf("the run cannot be exported: %w", err)
	}
	if f.out == "-" {
		_, err := o.Stdout.Write(data)
		return err
	}
	name := f.out
	if name == "" {
		name = fmt.Sprintf("%s-%.8s%s", b.Trace.OpeningName, b.Trace.TraceID[len("trace:"):], runBundleExt)
	}
	if err := writeSynced(name, data); err != nil {
		return err
	}
	if err := os.Chmod(name, 0o644); err != nil {
		return err
	}
	return o.showRunBundle(name, len(data), b, f.json)
}

// bundleSummary is what is said of a run bundle.
type bundleSummary struct {
	File     string `json:"file"`
	Bytes    int    `json:"bytes"`
	TraceID  string `json:"trace_id"`
	Opening  string `json:"opening_name"`
	Head     string `json:"head"` // commits to all of it
	Events   int    `json:"events"`
	Before   string `json:"ledger_before,omitempty"` // id:seal, as rlp kb verify has it
	After    string `json:"ledger_after,omitempty"`
	Blobs    int    `json:"blobs"`
	Agents   bool   `json:"with_agents"`
	Redacted bool   `json:"redacted"`
}

func (o *IO) showRunBundle(name string, size int, b *opening.RunBundle, asJSON bool) error {
	s := bundleSummary{
		File: name, Bytes: size, TraceID: b.Trace.TraceID, Opening: b.Trace.OpeningName, Head: b.Head,
		Blobs: len(b.Blobs), Agents: len(b.Agents) > 0, Redacted: b.Redacted,
	}
	if l := b.Ledger; l != nil {
		s.Events = len(l.Events)
		s.Before = fmt.Sprintf("%d:%s", l.Before.EventID, l.Before.Seal)
		s.After = fmt.Sprintf("%d:%s", l.After.EventID, l.After.Seal)
	}
	if asJSON {
		return printJSON(o.Stdout, s)
	}
	more := ""
	if s.Agents {
		more += ", with its agents"
	}
	if s.Redacted {
		more += ", redacted"
	}
	_, err := fmt.Fprintf(o.Stdout, "%s: %s of %s: %d events, %d blobs, %d bytes%s\nhead %s\n",
		printable(name), printable(s.TraceID), printable(s.Opening), s.Events, s.Blobs, size, more, s.Head)
	if err == nil && s.After != "" {
		_, err = fmt.Fprintf(o.Stdout, "ledger %s to %s\n", s.Before, s.After)
	}
	return err
}
