package wasm

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeperName is argv[0] of the process between the host and a program.
const keeperName = "runloop-keeper"

// keeperGrace is how long a keeper has to end all that it started, beyond the
// program's own time.
const keeperGrace = 5 * time.Second

// keeperOrder is what a keeper is told, as JSON on its order descriptor.
type keeperOrder struct {
	Path       string   `json:"path"` // "" means the open program
	Argv       []string `json:"argv"`
	Env        []string `json:"env"`
	Dir        string   `json:"dir"`
	CPUSeconds uint64   `json:"cpu_seconds"`
}

// keeperReport is what a keeper says at the end. Started is false when the
// program did not come to run.
type keeperReport struct {
	Started bool   `json:"started"`
	Error   string `json:"error,omitempty"`
	Exit    int    `json:"exit"`
	Signal  int    `json:"signal,omitempty"`
}

// Descriptors of a keeper beside the program's own three.
const (
	keeperProgramFD = 3 + iota
	keeperOrderFD   // what to do; its end means to stop
	keeperReportFD
)

// run starts a program in an empty folder of its own, waits for it, and leaves
// no process of it behind.
func (p *program) run(ctx context.Context) (any, error) {
	dir, err := os.MkdirTemp("", "runloop-exec-")
	if err != nil {
		return nil, &untouched{err}
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithTimeout(ctx, p.timeout)
	defer stop()
	k, err := startKeeper(p, p.order(dir))
	if err != nil {
		return nil, &untouched{err}
	}
	report := k.wait(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, errorf(CodeTimeout, "%s: %s was stopped after %s", p.op, p.argv[0], p.timeout)
	case !report.Started:
		return nil, &untouched{errorf(CodeSpawn, "%s: %s: %s", p.op, p.argv[0], report.Error)}
	}
	return k.result(report), nil
}

// order is what the keeper is to do. The program gets nothing of the host's
// environment.
func (p *program) order(dir string) *keeperOrder {
	o := &keeperOrder{Argv: p.argv, Dir: dir}
	if p.file.script {
		o.Path = p.file.path
	}
	o.Env = append([]string{
		"PATH=" + programPath, "LANG=C.UTF-8", "HOME=" + dir, "TMPDIR=" + dir,
	}, p.env...)
	o.CPUSeconds = (uint64(p.timeout/time.Second) + 1) * uint64(runtime.NumCPU())
	return o
}

// keeper is a running one.
type keeper struct {
	cmd            *exec.Cmd
	orders         *os.File
	reports        *os.File
	stdout, stderr capped
}

func startKeeper(p *program, o *keeperOrder) (*keeper, error) {
	ordersOut, ordersIn, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ordersOut.Close()
	reportsOut, reportsIn, err := os.Pipe()
	if err != nil {
		ordersIn.Close()
		return nil, err
	}
	defer reportsIn.Close()
	k := &keeper{orders: ordersIn, reports: reportsOut}
	k.cmd = &exec.Cmd{
		Path: selfExe, Args: []string{keeperName}, Env: []string{"GOMAXPROCS=2"}, Dir: "/",
		Stdin: bytes.NewReader(p.stdin), Stdout: &k.stdout, Stderr: &k.stderr,
		ExtraFiles:  []*os.File{p.file.File, ordersOut, reportsIn},
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
		WaitDelay:   time.Second,
	}
	err = k.cmd.Start()
	if err == nil {
		err = json.NewEncoder(ordersIn).Encode(o)
	}
	if err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

// wait returns the keeper's report when it has ended. When ctx ends before, it
// is told to stop everything; a keeper that does not is killed.
func (k *keeper) wait(ctx context.Context) keeperReport {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = k.cmd.Wait() // what it has to say is in its report
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		k.orders.Close()
		select {
		case <-ended:
		case <-time.After(keeperGrace):
			_ = k.cmd.Process.Kill() // it may have ended just now
			<-ended
		}
	}
	report := keeperReport{Error: "its keeper died"}
	_ = json.NewDecoder(io.LimitReader(k.reports, 64<<10)).Decode(&report) // or it stays at that
	k.close()
	return report
}

func (k *keeper) close() {
	k.orders.Close()
	k.reports.Close()
	if k.cmd.Process != nil && k.cmd.ProcessState == nil {
		_ = k.cmd.Process.Kill()
		_ = k.cmd.Wait()
	}
}

func (k *keeper) result(r keeperReport) *ExecResult {
	res := &ExecResult{ExitCode: r.Exit, Cut: k.stdout.cut || k.stderr.cut}
	if r.Signal != 0 {
		res.ExitCode, res.Signal = -1, unix.SignalName(syscall.Signal(r.Signal))
	}
	res.Stdout, res.StdoutEncoding = encodeText(k.stdout.kept)
	res.Stderr, res.StderrEncoding = encodeText(k.stderr.kept)
	return res
}

// capped keeps the beginning of what is written to it and takes in the rest,
// so that the writer is not held up.
type capped struct {
	kept []byte
	cut  bool
}

// Write implements io.Writer.
func (c *capped) Write(p []byte) (int, error) {
	room := execOutputMax - len(c.kept)
	if len(p) > room {
		c.cut = true
		c.kept = append(c.kept, p[:room]...)
		return len(p), nil
	}
	c.kept = append(c.kept, p...)
	return len(p), nil
}
