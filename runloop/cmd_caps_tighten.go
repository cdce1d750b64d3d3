package runloop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/wasm"
)

func cmdCapsTighten(io *IO) *cli.Command {
	return &cli.Command{
		Name: "tighten", Usage: "find the least that an agent's recorded runs needed, and prove it",
		ArgsUsage: "AGENT",
		UsageText: `rlp caps tighten mailer
rlp caps tighten mailer --write`,
		Description: `The override it prints is proved: every recorded attempt of this version was
replayed under it and did the same as before. What no run needed may still be what
the next one needs; an agent is told of a denial and can go on without.`,
		Flags: []cli.Flag{
			agentsDirFlag(), jsonFlag(),
			&cli.BoolFlag{Name: "write", Usage: "put it into the agent's override file"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usageErrorf("which agent? (see rlp caps tighten --help)")
			}
			t := &tightening{agentsDir: c.String("agents-dir"), write: c.Bool("write"), json: c.Bool("json")}
			return t.run(c.Context, io, c.Args().First())
		},
	}
}

// tightening is one rlp caps tighten.
type tightening struct {
	agentsDir   string
	write, json bool

	desk  *desk
	have  *wasm.Caps // that the agent has now
	usage *usage
	held  *wasm.Caps // what replays are held to at the moment
	store *pog.Store // asked what it would refuse, and never written to
}

// tightened is its result.
type tightened struct {
	Agent    string     `json:"agent"`
	Attempts int        `json:"attempts"` // that were replayed
	Left     int        `json:"not_replayable"`
	Took     []string   `json:"took"`
	Caps     *wasm.Caps `json:"caps"`
	Override string     `json:"override"` // as TOML
	File     string     `json:"file,omitempty"`
}

func (t *tightening) run(ctx context.Context, io *IO, ref string) (err error) {
	if t.desk, err = io.openDesk(t.agentsDir); err != nil {
		return err
	}
	b, err := t.desk.bundle(ref)
	if err != nil {
		return err
	}
	rule, err := t.desk.policy.Rule(b)
	if err != nil {
		return agentExit(err)
	}
	t.have = rule.Caps
	if t.usage, err = t.desk.used(ctx, b); err != nil {
		return err
	}
	if t.usage.runs == 0 {
		return exitErrorf(exitNotFound, "no recorded run of this version of %s (%d of others); run it first",
			ref, t.usage.others)
	}
	if t.store, err = io.openStore(ctx, t.desk.cfg); err != nil {
		return err
	}
	res := &tightened{Agent: b.Manifest.Name}
	done := io.busy("replaying under less and less")
	res.Caps, err = t.prove(ctx, res)
	done()
	if err := errors.Join(err, t.store.Close()); err != nil {
		return err
	}
	res.Took = append([]string{}, wasm.Taken(t.have, res.Caps)...)
	res.Override = res.Caps.TOML()
	return t.finish(res)
}

// prove finds the least capabilities under which all replays are as they were.
func (t *tightening) prove(ctx context.Context, res *tightened) (*wasm.Caps, error) {
	t.held = t.usage.needs.Of(t.have)
	r, err := openReplayer(ctx, t.desk.io, t.desk.cfg, sessionOptions{
		agentsDir: t.agentsDir, replayKB: tapedKB{kbService{t.store}},
		replayCaps: func(*wasm.Bundle) *wasm.Caps { return t.held },
	})
	if err != nil {
		return nil, err
	}
	differs, err := t.replayAll(ctx, r, res)
	if err != nil {
		err = fmt.Errorf("the recorded runs need more than their tapes tell, so nothing is taken away: %s%w", differs, err)
	} else {
		err = t.tryWithout(ctx, r)
	}
	return t.held, errors.Join(err, r.Close())
}

// tryWithout goes on taking away what the languages of agents use of their own
// accord, whether the agent cares or not: the clock and the look at each root.
func (t *tightening) tryWithout(ctx context.Context, r *replayer) error {
	proved := t.held
	defer func() { t.held = proved }()
	for _, less := range proved.Without() {
		t.held = wasm.Intersect(proved, less)
		switch _, err := t.replayAll(ctx, r, &tightened{}); {
		case err == nil:
			proved = t.held
		case !errors.Is(err, errNotSame):
			return err
		}
	}
	return nil
}

var errNotSame = errors.New("a replay under less was not the same")

func (t *tightening) replayAll(ctx context.Context, r *replayer, res *tightened) (string, error) {
	res.Attempts, res.Left = 0, 0
	for _, a := range t.usage.attempts {
		report, err := r.replay(ctx, a.trace, opening.ReplayOptions{Node: a.node})
		if err != nil {
			return "", err
		}
		if !report.Same() {
			return report.Text(), errNotSame
		}
		res.Attempts += report.Identical
		res.Left += report.NotReplayable
	}
	if res.Attempts == 0 {
		return "", exitErrorf(exitFailed, "none of the %d recorded attempts can be replayed", res.Left)
	}
	return "", nil
}

func (t *tightening) finish(res *tightened) error {
	io := t.desk.io
	if t.write {
		res.File = filepath.Join(t.desk.places.overrides, res.Agent+".toml")
		if err := os.MkdirAll(t.desk.places.overrides, 0o700); err != nil {
			return err
		}
		if err := writeSynced(res.File, []byte(res.Override)); err != nil {
			return err
		}
	}
	if t.json {
		return printJSON(io.Stdout, res)
	}
	fmt.Fprintf(io.Stderr, "recorded attempts that did the same under this: %d (%d could not be replayed)\n",
		res.Attempts, res.Left)
	for _, line := range res.Took {
		fmt.Fprintf(io.Stderr, "not needed: %s\n", printable(line))
	}
	if res.File != "" {
		fmt.Fprintf(io.Stderr, "written to %s\n", printable(res.File))
	}
	_, err := fmt.Fprint(io.Stdout, printableText(res.Override))
	return err
}
