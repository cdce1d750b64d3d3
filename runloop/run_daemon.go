package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/rmp"
)

// daemonForRun connects to the daemon that is to carry out a run. It returns neither
// a connection nor an error where there is no daemon and a prompt is done here
// instead: who types at the shell's prompt cannot add --local.
func (o *IO) daemonForRun(ctx context.Context, cfg *Loaded, f *runFlags) (*daemonConn, error) {
	if err := f.checkForDaemon(); err != nil {
		return nil, err
	}
	conn, err := dialDaemon(ctx, cfg, o.daemonKind(f))
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, errNoDaemon) && f.mayRunHere(cfg):
		return nil, nil
	}
	return nil, orLocal(err)
}

// mayRunHere reports whether a prompt may do without a daemon that does not answer:
// not if it was to be left to the daemon, or if one was configured or is the system's,
// whose ledger and rules are others.
func (f *runFlags) mayRunHere(cfg *Loaded) bool {
	return f.params.prompt != nil && !f.detach && daemonSocket(cfg) == ownSocket(cfg)
}

// runInDaemon submits an opening to the daemon, follows its run and ends with
// its exit code. A client that dies does not take its run along.
func runInDaemon(ctx context.Context, io *IO, cfg *Loaded, f *runFlags, conn *daemonConn) error {
	r := &remoteRun{io: io, cfg: cfg, conn: conn, id: uuid.New()}
	defer func() { r.conn.Close() }() // it may be another by then
	o, src, err := io.readOpening(cfg, f)
	if err != nil {
		return err
	}
	params, err := f.params.read(io, o)
	if err != nil {
		return err
	}
	along := gatherOpenings(o, openingDirs(cfg, f, src))
	if err := io.agreeToRun(cfg, sessionOptions{daemon: true}, o, along); err != nil {
		return err
	}
	if r.view, err = io.newRunView(f.progress); err != nil {
		return err
	}
	req := ctrlRequest{
		Op: "run.submit", OpeningYAML: string(src.text), Source: src.name, Params: params,
		Openings: wireOpenings(along),
		Flags:    ctrlFlags{Confirm: io.confirmFlag(f)}, Limits: f.limits,
	}
	if f.params.prompt != nil {
		if err := r.announce(ctx, f, req); err != nil {
			return err
		}
	}
	return r.carryOut(ctx, f, &req)
}

// announce says where a prompt goes, as the daemon sees it, before it is sent
// there to be carried out.
func (r *remoteRun) announce(ctx context.Context, f *runFlags, req ctrlRequest) error {
	p, err := r.conn.preview(ctx, req)
	if err != nil {
		return r.io.showProblems(err, f.errorsFormat)
	}
	return r.io.say(p.line())
}

// checkForDaemon refuses flags that only make sense in this process.
func (f *runFlags) checkForDaemon() error {
	switch {
	case f.agentsDir != "":
		return usageErrorf("--agents-dir needs --local: the daemon looks for agents where its configuration says")
	case len(f.grants) > 0:
		return usageErrorf("--grant needs --local; to grant for good: rlp agent grant %s", f.grants[0])
	case f.detach && f.traceOut != "":
		return usageErrorf("--trace-out needs the end of the run; leave --detach out")
	}
	return nil
}

// daemonKind is what to connect as: a user interface where somebody can be
// asked.
func (o *IO) daemonKind(f *runFlags) bus.Kind {
	if o.interactive() && !f.yes && !f.detach {
		return bus.KindUI
	}
	return bus.KindCLI
}

// confirmFlag says how the daemon is to decide the run's actions.
func (o *IO) confirmFlag(f *runFlags) string {
	switch {
	case f.yes:
		return "yes"
	case f.detach || o.interactive():
		return "ask"
	}
	return "no"
}

// remoteRun is a run in the daemon that is followed from here.
type remoteRun struct {
	io     *IO
	cfg    *Loaded
	conn   *daemonConn
	id     uuid.UUID
	view   *runView
	watch  bool           // only look on: Ctrl-C leaves the run to itself
	end    *opening.Event // run.finished
	denied bool           // an action was
	ui     *decider       // who asks the person, nil where nobody can be asked
	// show, if there is one, shows how the run went behind what the view shows.
	show func(ctx context.Context, report *opening.Report) error
	// cancelled: from here, by Ctrl-C.
	cancelled bool
	// Events that were taken in, and of those how many may come on the topic
	// once more.
	taken, again map[eventKey]int
}

func (r *remoteRun) trace() string { return "trace:" + r.id.String() }

func (r *remoteRun) carryOut(ctx context.Context, f *runFlags, req *ctrlRequest) error {
	events, err := r.subscribe(ctx)
	if err != nil {
		return err
	}
	if _, err := r.conn.request(ctx, r.id, req); err != nil {
		return r.io.showProblems(err, f.errorsFormat)
	}
	if f.detach {
		_, err := fmt.Fprintln(r.io.Stdout, r.trace())
		return err
	}
	err = r.follow(ctx, events)
	if err == nil && f.traceOut != "" {
		err = r.writeTrace(ctx, f.traceOut)
	}
	return err
}

func (r *remoteRun) subscribe(ctx context.Context) (*bus.Subscription, error) {
	return r.conn.Subscribe(ctx, "rlp/runs/"+r.id.String()+"/events", bus.SubOptions{
		MaxMessages: 1 << 16, MaxBytes: 64 << 20,
	})
}

// pending are the run's actions that wait for a decision.
func (r *remoteRun) pending(ctx context.Context) []*rmp.ActionRequest {
	a, err := r.conn.ask(ctx, &ctrlRequest{Op: "run.get", TraceID: r.trace()})
	if err != nil || a.Run == nil {
		return nil // it has ended, or the events tell what is wrong
	}
	var out []*rmp.ActionRequest
	for _, js := range a.Run.Actions {
		req := &rmp.ActionRequest{}
		raw, err := rmp.AppendMsgpack(nil, js)
		if err == nil {
			_, err = req.UnmarshalMsg(raw)
		}
		if err != nil {
			r.warnf("an action that waits for a decision cannot be read: %v", err)
			continue
		}
		out = append(out, req)
	}
	return out
}

func (r *remoteRun) event(msg *bus.Msg) error {
	var ev rmp.RunEvent
	if err := msg.Decode(&ev); err != nil {
		return fmt.Errorf("an event of the run: %w", err)
	}
	meta, err := rmp.AppendJSON(nil, ev.Meta)
	if err != nil {
		return fmt.Errorf("an event of the run: %w", err)
	}
	event := opening.Event{
		TSMillis: ev.TSMillis, TraceID: ev.TraceID, RunID: ev.RunID, OpeningID: ev.OpeningID,
		Kind: ev.Kind, Level: ev.Level, Message: ev.Message, Meta: meta,
	}
	if key := keyOf(event); r.again[key] > 0 {
		r.again[key]--
		return nil
	}
	r.take(event)
	return nil
}

// catchUp takes in the events that the daemon kept, but for those that were
// there before. Some come once more: what was published after the subscription
// began.
func (r *remoteRun) catchUp(events []opening.Event) {
	r.again = map[eventKey]int{}
	for _, ev := range events {
		key := keyOf(ev)
		r.again[key]++
		if r.again[key] > r.taken[key] {
			r.take(ev)
		}
	}
}

// eventKey tells events apart, but for those of the same millisecond that read
// the same; of these it is enough to know how many there were.
type eventKey struct {
	ts      int64
	kind    string
	message uint64
}

var eventSeed = maphash.MakeSeed()

func keyOf(ev opening.Event) eventKey {
	return eventKey{ev.TSMillis, ev.Kind, maphash.String(eventSeed, ev.Message)}
}

func (r *remoteRun) take(ev opening.Event) {
	if r.taken == nil {
		r.taken = map[eventKey]int{}
	}
	r.taken[keyOf(ev)]++
	r.view.event(ev)
	switch ev.Kind {
	case "run.finished":
		r.end = &ev
	case "action.decided":
		var meta struct{ Approved bool }
		if json.Unmarshal(ev.Meta, &meta) == nil && !meta.Approved {
			r.denied = true
		}
	}
}

// report asks for the outputs of the run that has ended.
func (r *remoteRun) report(ctx context.Context) *opening.Report {
	a, err := r.conn.ask(ctx, &ctrlRequest{Op: "run.get", TraceID: r.trace()})
	if err != nil || a.Run == nil {
		return nil // they are in the ledger, too
	}
	return a.Run.Report
}

// writeTrace takes the trace out of the ledger, where the daemon put it.
func (r *remoteRun) writeTrace(ctx context.Context, file string) error {
	t, err := r.io.peekTrace(ctx, r.cfg, r.id.String())
	if err != nil {
		return fmt.Errorf("--trace-out: %w", err)
	}
	if err := writeSynced(file, append(t.JSON(), '\n')); err != nil {
		return fmt.Errorf("--trace-out: %w", err)
	}
	return nil
}
