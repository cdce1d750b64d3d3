package runloop

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/pog"
)

// Bounds of what is looked up for a completion.
const (
	completeTime = 80 * time.Millisecond // for all of it
	completeRuns = 30
)

// offerValue offers what a placeholder stands for. lead is what stands before it
// in the same word.
func (c *completer) offerValue(placeholder, lead string) {
	ctx, cancel := context.WithTimeout(context.Background(), completeTime)
	defer cancel()
	n := len(c.out.items)
	if words := choicesOf(placeholder); words != nil {
		for _, w := range words {
			c.out.add(w, "")
		}
	} else {
		for part := range strings.SplitSeq(placeholder, "|") {
			c.offerNamed(ctx, strings.TrimSuffix(part, "..."), lead)
		}
	}
	for i := range c.out.items[n:] {
		c.out.items[n+i].value = lead + c.out.items[n+i].value
	}
}

// offerNamed offers what a name in capitals stands for, wherever it is used.
func (c *completer) offerNamed(ctx context.Context, name, lead string) {
	switch name {
	case "FILE", "PATH", "FILE.wasm":
		c.out.files = anyFiles
	case "DIR":
		c.out.files = onlyDirs
	case "TRACE":
		c.out.files = anyFiles
		c.offerRuns(ctx, strings.TrimPrefix(c.cur, lead))
	case "ENTITY":
		c.offerRuns(ctx, strings.TrimPrefix(c.cur, lead))
	case "OPENING":
		c.out.files = anyFiles
		c.offerOpenings(ctx, strings.TrimPrefix(c.cur, lead))
	case "AGENT":
		c.offerAgents()
	case "NODE":
		c.offerNodes(ctx)
	case "KEY=VALUE":
		c.offerParams()
	case "COMMAND", "TOPIC":
		c.offerHelp(name)
	}
}

// quietConfig is the configuration, or nil where it cannot be read. Nobody is
// told: there is a line being typed.
func (c *completer) quietConfig() *Loaded {
	cfg, err := c.io.configSource().load()
	if err != nil {
		return nil
	}
	return cfg
}

// offerRuns offers the latest runs, by the form of id that was begun.
func (c *completer) offerRuns(ctx context.Context, begun string) {
	cfg := c.quietConfig()
	if cfg == nil {
		return
	}
	if strings.HasPrefix("trace:", begun) {
		begun = ""
	}
	runs, err := pog.PeekRuns(ctx, c.io.storeOptions(cfg), begun, completeRuns)
	if err != nil {
		return
	}
	for _, r := range runs {
		id := r.TraceID
		if begun != "" && !strings.HasPrefix(id, begun) {
			id = strings.TrimPrefix(id, "trace:")
		}
		c.out.add(id, orText(r.Opening, "unknown")+", "+r.Started.Format("2006-01-02 15:04"))
	}
}

// offerOpenings offers openings, and what those are for whose names were begun so.
func (c *completer) offerOpenings(ctx context.Context, begun string) {
	cfg := c.quietConfig()
	if cfg == nil {
		return
	}
	names := openingNames(cfg.Openings.SearchDirs)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if strings.HasPrefix(name, "-") {
			continue // it would be a flag
		}
		about := ""
		if ctx.Err() == nil && strings.HasPrefix(name, begun) {
			if o := c.opening(cfg, name); o != nil {
				about = strings.Join(o.Goals, " ")
			}
		}
		c.out.add(name, about)
	}
}

// opening reads an opening, or nothing where it cannot.
func (c *completer) opening(cfg *Loaded, ref string) *opening.Opening {
	if ref == "-" {
		return nil // stdin is not ours
	}
	name, src, err := findOpening(ref, cfg.Openings.SearchDirs, bytes.NewReader(nil))
	if err != nil {
		return nil
	}
	o, err := opening.Parse(name, src)
	if err != nil {
		return nil
	}
	return o
}

func (c *completer) offerAgents() {
	cfg := c.quietConfig()
	if cfg == nil {
		return
	}
	catalog, err := c.io.catalog(cfg, sessionOptions{})
	if err != nil {
		return
	}
	refs, err := catalog.Refs()
	if err != nil {
		return
	}
	for _, ref := range refs {
		c.out.add(ref, "")
	}
}

// offerNodes offers the nodes of the run that is the command's first argument.
func (c *completer) offerNodes(ctx context.Context) {
	cfg := c.quietConfig()
	if cfg == nil || len(c.args) == 0 {
		return
	}
	run, err := c.io.readRecorded(ctx, cfg, c.args[0])
	if err != nil {
		return
	}
	for _, n := range run.trace.Nodes {
		c.out.add(n.NodeID, n.Agent)
	}
}

// offerParams offers the parameters of the opening, or of the run, that is the
// command's first argument.
func (c *completer) offerParams() {
	cfg := c.quietConfig()
	if cfg == nil || len(c.args) == 0 || placeholderAt(c.doc.args, 0) != "OPENING" {
		return
	}
	o := c.opening(cfg, c.args[0])
	var params map[string]json.RawMessage
	if o == nil || json.Unmarshal(o.Params, &params) != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		c.out.add(name+"=", "default "+string(params[name]))
	}
}

// offerHelp offers what rlp help knows.
func (c *completer) offerHelp(placeholder string) {
	root := docOfApp(newCLI(c.io))
	d, rest := root.find(c.args)
	if len(rest) > 0 {
		return
	}
	if placeholder == "TOPIC" {
		for _, t := range topics() {
			c.out.add(t.name, t.usage)
		}
		return
	}
	for _, s := range d.subs {
		c.out.add(s.name(), s.usage)
	}
}
