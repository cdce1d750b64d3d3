package runloop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// answerTime is how long the daemon may take to answer a request.
const answerTime = 2 * time.Second

// daemonConn is a connection to the daemon that can make control requests.
type daemonConn struct {
	*bus.Conn
	path    string
	kind    bus.Kind
	asking  sync.Mutex // one request at a time waits on replies
	replyTo string
	replies *bus.Subscription
}

// dialDaemon connects as a client of a kind. That there is no daemon is an
// error that says what to do.
func dialDaemon(ctx context.Context, cfg *Loaded, kind bus.Kind) (*daemonConn, error) {
	path := daemonSocket(cfg)
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	conn, err := bus.Dial(ctx, path, bus.DialOptions{Name: "rlp", Kind: kind})
	if err != nil {
		var refused *bus.WireError
		if errors.As(err, &refused) {
			return nil, exitErrorf(exitNoDaemon, "the daemon at %s refused: %s: %s", path, refused.Code, refused.Message)
		}
		return nil, noDaemon(path, err)
	}
	d := &daemonConn{Conn: conn, path: path, kind: kind, replyTo: "rlp/ctrl/replies/" + uuid.NewString()}
	if d.replies, err = conn.Subscribe(ctx, d.replyTo, bus.SubOptions{}); err != nil {
		conn.Close()
		return nil, fmt.Errorf("listening for the daemon's answers: %w", err)
	}
	return d, nil
}

// noDaemon is what a command says that needs the daemon.
func noDaemon(path string, why error) error {
	switch {
	case errors.Is(why, fs.ErrPermission):
		return exitErrorf(exitNoDaemon, "the daemon at %s is somebody else's: its socket is not open to this user; "+
			"set bus.auth.group there, or start your own with another runtime.socket_path", path)
	case errors.Is(why, context.DeadlineExceeded):
		return exitErrorf(exitNoDaemon, "the daemon at %s did not answer within %s; see its log", path, answerTime)
	}
	return exitErrorf(exitNoDaemon, "%w at %s; start one with `runloopd`", errNoDaemon, path)
}

// orLocal adds to the error of a command that can do without the daemon how.
func orLocal(err error) error {
	if exitCode(err) != exitNoDaemon {
		return err
	}
	return exitErrorf(exitNoDaemon, "%w, or add --local to run here", err)
}

// errNoDaemon is for a socket that is not there or that nobody serves.
var errNoDaemon = errors.New("no daemon answers")

// request makes one control request under a trace id and waits for its answer.
// An answer that is a refusal comes back as an error.
func (d *daemonConn) request(ctx context.Context, id uuid.UUID, req *ctrlRequest) (*ctrlAnswer, error) {
	d.asking.Lock()
	defer d.asking.Unlock()
	req.ReplyTo = d.replyTo
	raw, err := packJSON(req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if err := d.Send(ctx, &rmp.Message{
		SchemaID: rmp.CTCtrlReq, TraceID: rmp.TraceID(id), TTLMS: uint64(ctrlTTL.Milliseconds()),
		Meta: rmp.Meta{Topic: topicCtrl, From: "rlp"}, Raw: raw,
	}); err != nil {
		return nil, fmt.Errorf("asking the daemon: %w", err)
	}
	for {
		msg, err := d.replies.Recv(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, exitErrorf(exitNoDaemon, "the daemon at %s took the request but did not answer within %s; "+
				"see its log", d.path, answerTime)
		}
		if err != nil {
			return nil, fmt.Errorf("waiting for the daemon: %w", err)
		}
		if msg.SchemaID == rmp.CTCtrlResp && msg.TraceID == rmp.TraceID(id) {
			return readAnswer(msg)
		}
	}
}

func readAnswer(msg *bus.Msg) (*ctrlAnswer, error) {
	js, err := rmp.AppendJSON(nil, msg.Payload)
	if err != nil {
		return nil, fmt.Errorf("the daemon's answer: %w", err)
	}
	a := &ctrlAnswer{}
	if err := json.Unmarshal(js, a); err != nil {
		return nil, fmt.Errorf("the daemon's answer: %w", err)
	}
	switch {
	case a.Op != "error" && a.Op != "run.rejected":
		return a, nil
	case len(a.Problems) > 0:
		return nil, a.Problems
	case a.Code == "not_found":
		return nil, exitErrorf(exitNotFound, "%s", a.Reason)
	case slices.Contains(agentDenials, a.Code):
		return nil, exitErrorf(exitDeclined, "%s: %s", a.Code, a.Reason)
	case a.Code == "invalid", a.Code == "invalid_opening", a.Code == "digest_mismatch":
		return nil, usageErrorf("%s", a.Reason)
	}
	return nil, exitErrorf(exitFailed, "%s: %s", a.Code, a.Reason)
}

// ask is request under an id of its own.
func (d *daemonConn) ask(ctx context.Context, req *ctrlRequest) (*ctrlAnswer, error) {
	return d.request(ctx, uuid.New(), req)
}

// agentDenials are refusals that a person can lift.
var agentDenials = []string{wasm.CodeNotGranted, wasm.CodeUntrusted, wasm.CodeDenied, wasm.CodeQuarantined}
