package runloop

import (
	"context"
	"errors"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/router"
)

// dryRun is what --dry-run shows: where a prompt goes, and what would run there.
type dryRun struct {
	*dryRoute
	Shell  *dryShell `json:"shell,omitempty"`
	Agents *preview  `json:"agents,omitempty"`
	// Where is who would run the agents: daemon or local.
	Where string `json:"where,omitempty"`
	Note  string `json:"note,omitempty"`
}

// dryRoute is the route of a prompt; a run of a named opening has none.
type dryRoute struct {
	Route   router.Route `json:"route"`
	Rule    router.Rule  `json:"rule"`
	Blocked bool         `json:"blocked"` // it would be refused
	Confirm bool         `json:"confirm"` // it would be asked about
	Pattern string       `json:"pattern,omitempty"`
}

// dryShell is a line that would be run.
type dryShell struct {
	Program string `json:"program"`
	Line    string `json:"line"`
}

func dryRouteOf(d *router.Decision) *dryRoute {
	return &dryRoute{d.Route, d.Rule, d.Blocked, d.Confirm, d.Pattern}
}

// Values of dryRun.Where.
const (
	whereDaemon = "daemon"
	whereLocal  = "local"
)

// dryRunCommand shows what a run of an opening would be. Nothing is run, asked
// or recorded.
func dryRunCommand(ctx context.Context, io *IO, cfg *Loaded, f *runFlags) error {
	o, src, err := io.readOpening(cfg, f)
	if err != nil {
		return err
	}
	params, err := f.params.read(io, o)
	if err != nil {
		return err
	}
	out := &dryRun{Where: whereDaemon}
	if f.route != nil {
		out.dryRoute = dryRouteOf(f.route)
		if f.route.Route == router.ToShell { // a flag has sent it to agents
			out.Route, out.Confirm = router.ToAgent, false
		}
	}
	if !f.local {
		req := &ctrlRequest{
			OpeningYAML: string(src.text), Source: src.name, Params: params, Limits: f.limits,
			Openings: wireOpenings(gatherOpenings(o, openingDirs(cfg, f, src))),
		}
		out.Agents, err = io.daemonPreview(ctx, cfg, f, req)
		if exitCode(err) == exitNoDaemon {
			out.Note, err = "no daemon answers; this is what --local would run", nil
		}
		if err != nil {
			return io.showProblems(err, f.errorsFormat)
		}
	}
	if out.Agents == nil {
		out.Where = whereLocal
		if out.Agents, err = io.localPreview(cfg, f, src, params); err != nil {
			return io.showProblems(err, f.errorsFormat)
		}
		out.Agents.Estimate = io.estimateOf(ctx, cfg, out.Agents.OpeningID)
	}
	return io.showDryRun(out, f.json)
}

// daemonPreview asks the daemon what a run there would be.
func (o *IO) daemonPreview(ctx context.Context, cfg *Loaded, f *runFlags, req *ctrlRequest) (*preview, error) {
	if err := f.checkForDaemon(); err != nil {
		return nil, err
	}
	conn, err := dialDaemon(ctx, cfg, o.daemonKind(f))
	if err != nil {
		return nil, orLocal(err)
	}
	defer conn.Close()
	return conn.preview(ctx, *req)
}

// preview asks for the preview of what a request would begin.
func (d *daemonConn) preview(ctx context.Context, req ctrlRequest) (*preview, error) {
	req.Op = "run.preview"
	a, err := d.ask(ctx, &req)
	if err == nil && a.Preview == nil {
		err = errors.New("the daemon's answer has no preview")
	}
	if err != nil {
		return nil, err
	}
	return a.Preview, nil
}

// localPreview says what a run in this process would be.
func (o *IO) localPreview(cfg *Loaded, f *runFlags, src *openingSource, params []byte) (*preview, error) {
	catalog, err := o.catalog(cfg, sessionOptions{agentsDir: f.agentsDir})
	if err != nil {
		return nil, err
	}
	plan, err := opening.Load(src.name, src.text,
		openingCatalog{planCatalog: planCatalog{catalog}, dirs: openingDirs(cfg, f, src)}, params)
	if err != nil {
		return nil, err
	}
	routes := brokerConfig(&cfg.Models)
	routes.Secrets = o.secret // nobody is asked, so none is looked up
	models, err := openBroker(routes)
	if err != nil {
		return nil, err
	}
	defer models.Close()
	d := &desk{io: o, cfg: cfg, places: o.places(cfg), catalog: catalog, policy: o.policy(cfg, f.grants...)}
	return d.preview(src.name, plan, f.limits, models), nil
}
