package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/rmp"
)

// runInDaemon submits an opening to the daemon, follows its run and ends with
// its exit code. A client that dies does not take its run along.
func runInDaemon(ctx context.Context, io *IO, cfg *Loaded, f *runFlags) error {
	if err := f.checkForDaemon(); err != nil {
		return err
	}
	conn, err := dialDaemon(ctx, cfg, io.daemonKind(f))
	if err != nil {
		return err
	}
	defer conn.Close()
	o, src, err := io.readOpening(cfg, f)
	if err != nil {
		return err
	}
	params, err := f.params.read(io, o.Params)
	if err != nil {
		return err
	}
	view, err := io.newRunView(f.progress)
	if err != nil {
		return err
	}
	r := &remoteRun{io: io, conn: conn, id: uuid.New(), view: view}
	return r.carryOut(ctx, cfg, f, &ctrlRequest{
		Op: "run.submit", OpeningYAML: string(src.text), Source: src.name, Params: params,
		Flags: ctrlFlags{Confirm: io.confirmFlag(f)},
	})
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
	conn   *daemonConn
	id     uuid.UUID
	view   *runView
	watch  bool           // only look on: Ctrl-C leaves the run to itself
	end    *opening.Event // run.finished
	denied bool           // an action was
	// Events that were taken in before they came on the topic, by seenKey.
	seen map[string]int
}

func (r *remoteRun) trace() string { return "trace:" + r.id.String() }

func (r *remoteRun) carryOut(ctx context.Context, cfg *Loaded, f *runFlags, req *ctrlRequest) error {
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
		err = r.writeTrace(ctx, cfg, f.traceOut)
	}
	return err
}

func (r *remoteRun) subscribe(ctx context.Context) (*bus.Subscription, error) {
	return r.conn.Subscribe(ctx, "rlp/runs/"+r.id.String()+"/events", bus.SubOptions{
		MaxMessages: 1 << 16, MaxBytes: 64 << 20,
	})
}

// follow shows the run until it ends. Ctrl-C cancels it or, if the person at
// the terminal says so, leaves it to itself.
func (r *remoteRun) follow(ctx context.Context, events *bus.Subscription) error {
	if r.io.interactive() {
		ui, err := r.io.startDecider(ctx, r.conn, deciderOptions{
			of:    func(id rmp.TraceID) (*ruling, bool) { return nil, id == rmp.TraceID(r.id) },
			pause: r.view.pause, pending: r.pending,
		})
		if err != nil {
			return err
		}
		defer ui.close()
	}
	left, err := r.read(ctx, events)
	var report *opening.Report
	if err == nil && !left {
		report = r.report(ctx)
	}
	if verr := r.view.close(report); err == nil {
		err = verr
	}
	switch {
	case err != nil:
		return err
	case left:
		r.io.warnf("the run goes on; follow it with: rlp runs follow %s", r.trace())
		return &exitError{code: exitInterrupted, err: errShown}
	}
	return r.exit()
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
			r.io.warnf("an action that waits for a decision cannot be read: %v", err)
			continue
		}
		out = append(out, req)
	}
	return out
}

// read takes events in until the run has ended, or is left.
func (r *remoteRun) read(ctx context.Context, events *bus.Subscription) (left bool, err error) {
	interrupts, stop := notifyInterrupts()
	defer stop()
	msgs, errs, end := receive(ctx, events)
	defer end()
	for r.end == nil {
		select {
		case msg := <-msgs:
			if err := r.event(msg); err != nil {
				return false, err
			}
		case err := <-errs:
			return false, r.lost(err)
		case <-interrupts:
			if r.leave(ctx) {
				return true, nil
			}
			if _, err := r.conn.ask(ctx, &ctrlRequest{Op: "run.cancel", TraceID: r.trace()}); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// receive reads a subscription into a channel until end is called.
func receive(ctx context.Context, sub *bus.Subscription) (msgs chan *bus.Msg, errs chan error, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	msgs, errs = make(chan *bus.Msg), make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			msg, err := sub.Recv(ctx)
			if err != nil {
				errs <- err
				return
			}
			select {
			case msgs <- msg:
			case <-ctx.Done():
				return
			}
		}
	}()
	return msgs, errs, func() {
		cancel()
		<-done
	}
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
	if key := seenKey(event); r.seen[key] > 0 {
		r.seen[key]--
		return nil
	}
	r.take(event)
	return nil
}

// catchUp takes in the events that the daemon kept. Those of them that were
// published after the subscription began come once more.
func (r *remoteRun) catchUp(events []opening.Event) {
	r.seen = map[string]int{}
	for _, ev := range events {
		r.take(ev)
		r.seen[seenKey(ev)]++
	}
}

// seenKey tells events apart, but for those of the same millisecond that read
// the same; of these it is enough to know how many there were.
func seenKey(ev opening.Event) string {
	return fmt.Sprintf("%d %s %s", ev.TSMillis, ev.Kind, ev.Message)
}

func (r *remoteRun) take(ev opening.Event) {
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

// lost says what it means that the daemon does not talk any more.
func (r *remoteRun) lost(err error) error {
	if errors.Is(err, bus.ErrSlowConsumer) {
		return exitErrorf(exitFailed, "the events came faster than they could be written; the run goes on: "+
			"rlp runs show %s", r.trace())
	}
	return exitErrorf(exitNoDaemon, "the daemon is gone (%v); what became of the run: rlp runs show %s", err, r.trace())
}

// leave asks whether to leave the run to itself. Without a terminal, and by
// default, it is cancelled; who only looked on leaves.
func (r *remoteRun) leave(ctx context.Context) bool {
	if r.watch || !r.io.interactive() {
		return r.watch
	}
	var answer string
	r.view.pause(func() {
		answer = r.io.askLine(ctx, "Cancel the run, or leave it to the daemon? [C/l] ")
	})
	return answer == "l" || answer == "leave"
}

// report asks for the outputs of the run that has ended.
func (r *remoteRun) report(ctx context.Context) *opening.Report {
	a, err := r.conn.ask(ctx, &ctrlRequest{Op: "run.get", TraceID: r.trace()})
	if err != nil || a.Run == nil {
		return nil // they are in the ledger, too
	}
	return a.Run.Report
}

// exit is the error that stands for how the run ended.
func (r *remoteRun) exit() error {
	var meta struct {
		Status  opening.Status
		Success bool
	}
	if err := json.Unmarshal(r.end.Meta, &meta); err != nil {
		return err
	}
	return runExit(&opening.Report{Status: meta.Status, Success: meta.Success}, r.denied,
		meta.Status == opening.StatusCancelled)
}

// writeTrace takes the trace out of the ledger, where the daemon put it.
func (r *remoteRun) writeTrace(ctx context.Context, cfg *Loaded, file string) error {
	ev, err := pog.Peek(ctx, r.io.storeOptions(cfg), "run.trace", r.id.String())
	if err != nil {
		return fmt.Errorf("--trace-out: %w", err)
	}
	if err := writeSynced(file, append(ev.Payload, '\n')); err != nil {
		return fmt.Errorf("--trace-out: %w", err)
	}
	return nil
}
