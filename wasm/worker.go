package wasm

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tinylib/msgp/msgp"
	"golang.org/x/sys/unix"

	"github.com/runloop-os/runloop/rmp"
)

// workerStart bounds how long a worker may take to load its module.
const workerStart = 30 * time.Second

// worker is a child that runs the guest of one attempt. What it sends is
// believed no more than the guest itself: the parent alone decides about
// capabilities, the tape, limits and how the attempt ended.
type worker struct {
	*child
}

// startWorker starts one and has it load a module.
func startWorker(ctx context.Context, c *code, grants []fsGrant) (*worker, error) {
	ctx, cancel := context.WithTimeout(ctx, workerStart)
	defer cancel()
	rules := append([]jailRule{reading(c.dir)}, forGrants(grants)...)
	ch, err := startChild(workerName, &jail{rules: rules}, nil)
	if err != nil {
		return nil, err
	}
	w := &worker{ch}
	stop := context.AfterFunc(ctx, w.kill)
	defer stop()
	var ready workerReady
	err = w.conn.sendJSON(msgJob, workerLoad{Dir: c.dir, Seal: c.seal})
	if err == nil {
		err = w.conn.expect(msgReady, &ready)
	}
	switch {
	case err == nil && ready.Error == "":
		return w, nil
	case err == nil && strings.HasPrefix(ready.Code, CodeLoadRefused+":"):
		err = errorf(refusalCode(ready.Code), "%.500s", ready.Error)
	case err == nil:
		err = fmt.Errorf("%w: %.500s", errCodeUnusable, printable(ready.Error))
	case ctx.Err() != nil:
		err = killedBy(ctx)
	default:
		w.kill()
		err = w.death()
	}
	w.close()
	return nil, err
}

// errCodeUnusable: a worker cannot load what the cache has for its module.
var errCodeUnusable = errors.New("the compiled form of the module cannot be used")

// workerPlace runs guests of one module in workers.
type workerPlace struct {
	pool  *workerPool
	code  *code
	renew func(context.Context) (*code, error) // compiles it again
}

func (r *Runtime) workerPlace(binary []byte, digest string, c *code) *workerPlace {
	return &workerPlace{r.workers, c, func(ctx context.Context) (*code, error) {
		return r.renewCode(ctx, binary, digest)
	}}
}

// take gets a worker. What is in the cache may be from another build of this
// program that kept it otherwise; then it is made anew, once.
func (p *workerPlace) take(ctx context.Context, grants []fsGrant) (*worker, error) {
	w, err := p.pool.take(ctx, p.code, grants)
	if !errors.Is(err, errCodeUnusable) {
		return w, err
	}
	if p.code, err = p.renew(ctx); err != nil {
		return nil, err
	}
	return p.pool.take(ctx, p.code, grants)
}

func (p *workerPlace) life() Life { return p.code.seal.Life }

func (p *workerPlace) run(ctx context.Context, a *attempt, stdin input) (ending, error) {
	job, err := a.job(p.code, stdin)
	if err != nil {
		return ending{}, err
	}
	w, err := p.take(ctx, job.Grants)
	if err != nil {
		return ending{}, err
	}
	defer w.close()
	defer context.AfterFunc(ctx, w.kill)()
	a.door.remote = true
	a.placedIn(w.proc.Pid)
	var end *workerEnd
	if err = w.conn.sendJSON(msgJob, job); err == nil {
		serving, stop := w.while(ctx)
		end, err = w.serve(serving, a, stdin)
		stop()
	}
	w.kill() // it has nothing left to do, and its end is to be known
	<-w.done
	a.cpu, a.resident = w.used()
	switch killed := killedBy(ctx); {
	case killed != nil && (err != nil || !inTime(ctx)):
		return ending{err: killed}, nil
	case errors.Is(err, errWire):
		return ending{err: errorf(CodeWorkerDied, "its process sent what makes no sense")}, nil
	case err != nil:
		return ending{err: w.death()}, nil
	case a.door.parked != nil:
		return a.parkedEnd(end), nil
	}
	return a.endOf(ctx, end)
}

// while returns a context that ends with the process as well: a resident may
// wait for its next message for days, and nobody would notice that it is gone.
func (w *worker) while(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-w.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// serve answers the worker until it says that the guest has ended.
func (w *worker) serve(ctx context.Context, a *attempt, stdin input) (*workerEnd, error) {
	var live reader
	if stdin.live != nil {
		live = stdin.reader(ctx)
	}
	for {
		kind, payload, err := w.conn.recv()
		if err != nil {
			return nil, err
		}
		switch kind {
		case msgCall:
			err = w.hostcall(ctx, a, payload)
		case msgNote:
			err = a.note(payload)
		case msgClose:
			err = a.closes(payload)
		case msgReplay:
			err = w.replay(a, payload)
		case msgRead:
			err = w.input(live, payload)
		case msgStdout:
			_, err = a.out.Write(payload)
		case msgStderr:
			_, err = a.errs.Write(payload)
		case msgEnd:
			end := &workerEnd{}
			if json.Unmarshal(payload, end) != nil {
				return nil, errWire
			}
			return end, nil
		default:
			err = errWire
		}
		if err != nil {
			return nil, err
		}
	}
}

// errGuestEnds ends the service of a guest that is not to go on.
var errGuestEnds = errors.New("the guest is to end")

// hostcall lets a request through the door, like that of a guest in this
// process.
func (w *worker) hostcall(ctx context.Context, a *attempt, payload []byte) error {
	if len(payload) > requestMax {
		return errWire
	}
	call, err := parseHostcall(payload)
	if err != nil || call.Op == "" || msgp.NextType(call.Args) != msgp.MapType {
		return errWire
	}
	answer, ok := a.door.ask(ctx, call.Op, call.Args)
	if a.door.parked != nil {
		return w.conn.sendCall(msgAnswer, parkedAnswer())
	}
	if !ok {
		return errGuestEnds
	}
	return w.conn.sendCall(msgAnswer, &answer)
}

// note puts a file operation of the guest on the tape, and nothing else: an
// answer to a hostcall is recorded where it was given.
func (a *attempt) note(payload []byte) error {
	call, err := parseHostcall(payload)
	if err != nil || a.tape.given() || a.door.resuming() || len(a.caps.FS) == 0 || !isFileOp(call.Op) || call.Err != nil {
		return errWire
	}
	if a.sawFile(call.Op, call.Args, call.OK) != nil {
		return errWire
	}
	a.tape.record(call)
	return nil
}

// closes notes that the guest has closed a file.
func (a *attempt) closes(payload []byte) error {
	if len(payload) != 4 {
		return errWire
	}
	a.handles.closed(int(binary.BigEndian.Uint32(payload)))
	return nil
}

func isFileOp(op string) bool { return op == opMounts || strings.HasPrefix(op, "fs.") }

// replay answers a file operation from the tape, as far as it goes.
func (w *worker) replay(a *attempt, payload []byte) error {
	call, err := parseHostcall(payload)
	if err != nil || !a.tape.replay && a.req.Mode != rmp.ModeResume || !isFileOp(call.Op) {
		return errWire
	}
	switch {
	case a.tape.given():
	case a.door.resuming():
		a.leftForFile(call.Op, call.Args)
		return errGuestEnds
	default:
		return w.conn.sendCall(msgAnswer, &rmp.Hostcall{Op: call.Op, Err: &rmp.HostcallError{Code: codeTapeEnds}})
	}
	answer, ok := a.answerFile(call.Op, call.Args)
	if !ok {
		return errGuestEnds
	}
	return w.conn.sendCall(msgAnswer, &answer)
}

// input hands live input to the guest; an empty message is its end.
func (w *worker) input(live reader, payload []byte) error {
	if len(payload) != 4 || live == nil {
		return errWire
	}
	buf := make([]byte, min(binary.BigEndian.Uint32(payload), outputChunk))
	n, err := live.Read(buf)
	if err != nil && n == 0 && errors.Is(err, errGuestEnds) {
		return err
	}
	return w.conn.send(msgInput, buf[:n])
}

// endOf is how the guest ended, as its worker reports it. Only what a guest
// can bring about by itself is taken from there.
func (a *attempt) endOf(ctx context.Context, e *workerEnd) (ending, error) {
	if e.Grant != nil {
		return ending{}, a.refuseGrant(ctx, e.Grant)
	}
	a.clock.takeOver(e.Readings, e.ClockCut, e.ClockLeft)
	end := ending{exit: e.Exit, memory: min(e.Memory, uint64(a.limits.MemoryMB)<<20)}
	end.tripped = slices.DeleteFunc(e.Tripped, func(s string) bool { return !slices.Contains(quotaNames, s) })
	switch e.Code {
	case "", CodeExit:
		end.err = exitError(e.Exit)
	case CodeDiverged:
		if a.req.Mode != rmp.ModeResume {
			end.err = errorf(CodeWorkerDied, "its process ended it in a way that makes no sense")
			break
		}
		end.err = errorf(e.Code, "%.500s", e.Message)
	case CodeTrap, CodeStackOverflow,
		CodeLoadRefused + ":" + CodeMemoryLimit, CodeLoadRefused + ":" + CodeMemoryUnavailable:
		end.err = errorf(e.Code, "%.500s", e.Message)
	default:
		end.err = errorf(CodeWorkerDied, "its process ended it in a way that makes no sense")
	}
	return end, nil
}

// job is what a worker is told of an attempt.
func (a *attempt) job(c *code, stdin input) (*workerJob, error) {
	g := a.guest(context.Background(), c.seal.Life, stdin)
	job := &workerJob{
		Args: g.args, Env: g.env, Stdin: stdin.doc, Live: stdin.live != nil, Memory: g.memory, Seed: a.seed(),
		Clock: a.clock.job(), Guarded: a.guarded, At: a.places().at, FileLimits: a.fileLimits, Taped: !a.tape.off, Replay: a.tape.replay,
		Hostcalls: a.door != nil && a.door.open,
		Limits:    a.childLimits(c),
	}
	job.Clock.Off = a.stay != nil // it is away from where messages begin and end
	if a.tape.replay {
		paths, err := a.recordedMounts()
		job.Mounts = paths
		return job, err
	}
	for _, g := range a.caps.FS {
		job.Grants = append(job.Grants, fsGrant(g))
	}
	if a.req.Mode == rmp.ModeResume && len(a.caps.FS) > 0 {
		paths, err := a.recordedMounts()
		job.Resume, job.Mounts, job.Spent = true, paths, a.spentBefore()
		return job, err
	}
	return job, nil
}

// Memory of a worker beside what the guest may have, in bytes: its stack, which
// grows by doubling (see docs/sandbox.md), and the program itself.
const (
	guestStack    = 160 << 20
	workerProgram = 384 << 20
)

// childLimits are for the whole process of the worker.
func (a *attempt) childLimits(c *code) childLimits {
	memory := uint64(a.limits.MemoryMB) << 20
	return childLimits{
		Data:  2*memory + guestStack + workerProgram + 16*uint64(c.size),
		CPU:   a.cpuSeconds(),
		Files: uint64(a.fileLimits.OpenFiles) + 64,
		Size:  uint64(a.fileLimits.Written),
	}
}

// cpuSeconds is the processor time that the process may use. That of a resident
// is bounded for each message, by the wall's clock.
func (a *attempt) cpuSeconds() uint64 {
	if a.stay != nil {
		return unix.RLIM_INFINITY
	}
	return 2*uint64(a.wallTime()/time.Second) + 2
}
