package wasm

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/runloop-os/runloop/rmp"
)

// workerLoad is the first thing a worker is told: where its module is. It
// answers with workerReady.
type workerLoad struct {
	Dir  string `json:"dir"` // of the cache
	Seal *seal  `json:"seal"`
}

type workerReady struct {
	Code  string `json:"code,omitempty"`
	Error string `json:"error,omitempty"`
}

// workerJob is the one attempt that a worker runs.
type workerJob struct {
	Args      []string          `json:"args"`
	Env       map[string]string `json:"env,omitempty"`
	Stdin     []byte            `json:"stdin,omitempty"`
	Live      bool              `json:"live,omitempty"` // input is asked for as it is wanted
	Memory    uint64            `json:"memory"`         // bytes that the guest may have
	Seed      [32]byte          `json:"seed"`
	Clock     clockJob          `json:"clock"`
	Grants    []fsGrant         `json:"grants,omitempty"`
	Guarded   []string          `json:"guarded,omitempty"`
	At        map[string]string `json:"at,omitempty"`     // where the guest sees a grant
	Mounts    []string          `json:"mounts,omitempty"` // of the recording, in a replay or when resumed
	Taped     bool              `json:"taped,omitempty"`
	Replay    bool              `json:"replay,omitempty"`
	Resume    bool              `json:"resume,omitempty"` // where it was parked, with these grants
	Spent     fsSpent           `json:"spent,omitzero"`
	Hostcalls bool              `json:"hostcalls,omitempty"`
	Limits    childLimits       `json:"limits"` // of the process

	FileLimits FileLimits `json:"file_limits"`
}

// workerEnd is the last that is heard of a worker.
type workerEnd struct {
	Exit      uint32      `json:"exit"`
	Memory    uint64      `json:"memory"`
	Code      string      `json:"code,omitempty"`
	Message   string      `json:"message,omitempty"`
	Grant     *GrantError `json:"grant,omitempty"` // that cannot be given
	Readings  []int64     `json:"readings,omitempty"`
	ClockCut  bool        `json:"clock_cut,omitempty"`
	ClockLeft bool        `json:"clock_left,omitempty"` // a replay read less or more
	Tripped   []string    `json:"tripped,omitempty"`
}

// workerSide is a worker as seen from inside.
type workerSide struct {
	conn   *conn
	module *Module
}

// workerMain is a worker from its start to its end.
func workerMain() int {
	w := &workerSide{conn: childConn()}
	var load workerLoad
	if err := w.conn.expect(msgJob, &load); err != nil {
		return 1
	}
	var ready workerReady
	if err := w.load(&load); err != nil {
		e := asError(err)
		ready = workerReady{e.Code, e.Message}
	}
	if err := w.conn.sendJSON(msgReady, ready); err != nil || ready.Error != "" {
		return 1
	}
	var job workerJob
	if err := w.conn.expect(msgJob, &job); err != nil {
		return 1
	}
	if err := confine(job.Limits); err != nil {
		return 1
	}
	if err := w.conn.sendJSON(msgEnd, w.run(&job)); err != nil {
		return 1
	}
	_, _, _ = w.conn.recv() // the parent looks at what this process took, and ends it
	return 0
}

// load gets the module out of the cache while its files are held against the
// seal. Nothing of it runs before both are done.
func (w *workerSide) load(l *workerLoad) error {
	sound := make(chan bool, 1)
	go func() { sound <- l.Seal.matches(l.Dir) }()
	binary, err := os.ReadFile(filepath.Join(l.Dir, moduleFile))
	if err != nil {
		<-sound
		return err
	}
	r := NewRuntime(RuntimeConfig{})
	r.unchecked = true
	w.module, err = r.build(context.Background(), &buildInput{module: inHand(binary), info: l.Seal.Info, dir: l.Dir, seal: l.Seal})
	if !<-sound {
		return errors.New("its compiled form is not what was sealed")
	}
	return err
}

// run runs the guest to its end.
func (w *workerSide) run(job *workerJob) *workerEnd {
	files, err := w.files(job)
	var grant *GrantError
	switch {
	case errors.As(err, &grant):
		return &workerEnd{Grant: grant}
	case err != nil:
		e := asError(err)
		return &workerEnd{Code: e.Code, Message: e.Message}
	}
	defer files.close()
	g := &guest{
		args: job.Args, env: job.Env,
		stdin:  input{doc: job.Stdin}.reader(context.Background()),
		stdout: w.stream(msgStdout), stderr: w.stream(msgStderr),
		clock: newJobClock(job.Clock), random: newRandom(job.Seed), door: closedDoor(),
		memory: job.Memory, fs: files.config(),
	}
	if job.Live {
		g.stdin = readFunc(w.read)
	}
	if job.Hostcalls {
		g.door = &door{open: true, parent: w}
	}
	end := w.module.run(context.Background(), g, len(job.Stdin))
	out := &workerEnd{
		Exit: end.exit, Memory: end.memory, Readings: g.clock.readings, ClockCut: g.clock.cut,
		ClockLeft: g.clock.leftTape(), Tripped: files.tripped(),
	}
	if g.clock.replay {
		out.Readings = nil
	}
	if end.err != nil {
		e := asError(end.err)
		out.Code, out.Message = e.Code, e.Message
	}
	return out
}

// files opens what is granted, or stands in for it in a replay.
func (w *workerSide) files(job *workerJob) (*files, error) {
	places := &places{job.Guarded, job.FileLimits, job.At}
	switch {
	case job.Replay:
		return replayedFiles(job.Mounts, w.replayFile), nil
	case len(job.Grants) == 0:
		return nil, nil
	case !job.Taped:
		return openGrants(job.Grants, places, fileTape{})
	}
	t := fileTape{record: w.noteFile, closed: w.noteClosed}
	if job.Resume {
		t.next, t.mounted, t.spent = w.replayFile, job.sameMounts, job.Spent
	}
	return openGrants(job.Grants, places, t)
}

// sameMounts is an error unless the grants are the roots that there were before the
// attempt was parked.
func (job *workerJob) sameMounts(now []string) error {
	if slices.Equal(job.Mounts, now) {
		return nil
	}
	return otherRoots(job.Mounts, now)
}

// noteClosed tells the parent that the guest has closed a file.
func (w *workerSide) noteClosed(file int) {
	w.gone(w.conn.send(msgClose, binary.BigEndian.AppendUint32(nil, uint32(file))))
}

// gone ends the process when its parent has: nobody is there to tell.
func (w *workerSide) gone(err error) {
	if err != nil {
		os.Exit(1)
	}
}

// ask has the parent answer a hostcall.
func (w *workerSide) ask(op string, args []byte) rmp.Hostcall {
	w.gone(w.conn.sendCall(msgCall, &rmp.Hostcall{Op: op, Args: args}))
	return w.answer()
}

func (w *workerSide) answer() (call rmp.Hostcall) {
	kind, payload, err := w.conn.recv()
	if err == nil && kind != msgAnswer {
		err = errWire
	}
	if err == nil {
		_, err = call.UnmarshalMsg(payload)
	}
	w.gone(err)
	return call
}

// noteFile has the parent put a file operation on the tape.
func (w *workerSide) noteFile(op string, args, result any) {
	call, err := fileCall(op, args, result)
	if err == nil {
		err = w.conn.sendCall(msgNote, &call)
	}
	w.gone(err)
}

// replayFile has the parent answer a file operation from the tape.
func (w *workerSide) replayFile(op string, args, result any) error {
	call, err := fileCall(op, args, nil)
	if err != nil {
		return err
	}
	w.gone(w.conn.sendCall(msgReplay, &call))
	answer := w.answer()
	if answer.Err != nil && answer.Err.Code == codeTapeEnds {
		return errTapeEnds
	}
	return unmarshalMsgpack(answer.OK, result)
}

// codeTapeEnds is what a worker is told of a file operation that is for real.
const codeTapeEnds = "tape_ends"

// read asks for live input.
func (w *workerSide) read(p []byte) (int, error) {
	w.gone(w.conn.send(msgRead, binary.BigEndian.AppendUint32(nil, uint32(len(p)))))
	kind, payload, err := w.conn.recv()
	if err == nil && (kind != msgInput || len(payload) > len(p)) {
		err = errWire
	}
	w.gone(err)
	if len(payload) == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return copy(p, payload), nil
}

// stream hands on what the guest writes.
func (w *workerSide) stream(kind msgKind) writeFunc {
	return func(p []byte) (int, error) {
		for at := 0; at < len(p); at += outputChunk {
			w.gone(w.conn.send(kind, p[at:min(at+outputChunk, len(p))]))
		}
		return len(p), nil
	}
}
