package wasm

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Bounds of exec.run.
const (
	execArgsMax   = 1024
	execOutputMax = 1 << 20 // bytes kept of each stream
)

// envIdempotencyKey holds the key under which a program's work is done once.
const envIdempotencyKey = "RUNLOOP_IDEMPOTENCY_KEY"

// ExecRequest are the arguments of exec.run. Argv goes to the program as it
// stands; no shell ever sees it. Idempotent says that the program may be run
// again under the same RUNLOOP_IDEMPOTENCY_KEY.
type ExecRequest struct {
	Argv       []string `json:"argv"`
	Stdin      string   `json:"stdin"`
	Encoding   string   `json:"encoding"` // of Stdin: base64, or none
	TimeoutMS  int64    `json:"timeout_ms"`
	Idempotent bool     `json:"idempotent"`
}

// ExecResult is the answer to exec.run. A program that a signal ended has
// Signal and the exit code -1. Streams are text, or base64 where the encoding
// says so; Cut says that a stream was longer than what was kept.
type ExecResult struct {
	ExitCode       int    `json:"exit_code"`
	Signal         string `json:"signal,omitempty"`
	Stdout         string `json:"stdout"`
	StdoutEncoding string `json:"stdout_encoding,omitempty"`
	Stderr         string `json:"stderr"`
	StderrEncoding string `json:"stderr_encoding,omitempty"`
	Cut            bool   `json:"cut,omitempty"`
}

// program is one run that was checked and may start.
type program struct {
	op      string
	argv    []string
	stdin   []byte
	env     []string // beside the fixed ones
	timeout time.Duration
	file    *executable
}

func doExecRun(ctx context.Context, d *door, args []byte) (any, error) {
	const op = "exec.run"
	var req ExecRequest
	if err := unmarshalArgs(op, args, &req); err != nil {
		return nil, err
	}
	p := &program{op: op, argv: req.Argv}
	var err error
	if p.stdin, err = decodeText(op, "stdin", req.Stdin, req.Encoding); err != nil {
		return nil, err
	}
	if p.timeout, err = opTimeout(op, req.TimeoutMS); err != nil {
		return nil, err
	}
	return d.execEffect(ctx, p, req.Idempotent, args)
}

// execEffect checks that a program is granted, and runs it once.
func (d *door) execEffect(ctx context.Context, p *program, idempotent bool, args []byte) (any, error) {
	if err := checkArgv(p.op, p.argv); err != nil {
		return nil, err
	}
	if err := d.openProgram(ctx, p, args); err != nil {
		return nil, err
	}
	defer p.file.Close()
	d.allow(ctx, capExec, p.op, p.argv[0], args)
	e := Effect{Op: p.op, Target: p.argv[0], Idempotent: idempotent}
	return d.effect(ctx, e, args, func(ctx context.Context, key string) (any, error) {
		p.env = append(p.env, envIdempotencyKey+"="+key)
		return p.run(ctx)
	})
}

func checkArgv(op string, argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return errorf(CodeInvalid, "%s: argv names no program", op)
	}
	if len(argv) > execArgsMax {
		return errorf(CodeInvalid, "%s: more than %d arguments", op, execArgsMax)
	}
	if slices.ContainsFunc(argv, func(a string) bool { return strings.ContainsRune(a, 0) }) {
		return errorf(CodeInvalid, "%s: an argument holds a NUL byte", op)
	}
	return nil
}

// bytes are the program's streams as it wrote them.
func (r *ExecResult) bytes() (stdout, stderr []byte) {
	return streamBytes(r.Stdout, r.StdoutEncoding), streamBytes(r.Stderr, r.StderrEncoding)
}

func streamBytes(text, encoding string) []byte {
	b, err := decodeText("exec.run", "stream", text, encoding)
	if err != nil {
		return []byte(text) // it was masked, and is no base64 any more
	}
	return b
}
