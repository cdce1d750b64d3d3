package wasm

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"
)

// childEnv makes the test binary a compile child, see TestCompileChild.
const childEnv = "RUNLOOP_TEST_COMPILE_CHILD"

// compileChild is a process with little address space that compiles modules
// with plain wazero. A module that kills it costs a test nothing but a count.
type compileChild struct {
	t      testing.TB
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	limit  time.Duration // for one module
	deaths int
	hangs  int
	slow   time.Duration // the longest answer
	rss    int64         // peak memory of the child that ended last
	cpu    time.Duration // processor time of the child that ended last
}

func newCompileChild(t testing.TB) *compileChild {
	c := &compileChild{t: t, limit: 20 * time.Second}
	t.Cleanup(c.close)
	return c
}

// start runs the child, if there is none.
func (c *compileChild) start() {
	if c.cmd != nil {
		return
	}
	c.cmd = exec.Command(os.Args[0], "-test.run=^TestCompileChild$")
	c.cmd.Env = append(os.Environ(), childEnv+"=1")
	in, err := c.cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// close ends the child.
func (c *compileChild) close() {
	if c.cmd == nil {
		return
	}
	seen := peakMemory(c.cmd.Process.Pid)
	_ = c.in.Close()
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	c.rss = peakOf(c.cmd.ProcessState, seen)
	c.cpu = c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime()
	c.cmd = nil
}

// outcome compiles one module: wantOK, wantCompiler, "death" or "hang".
func (c *compileChild) outcome(module []byte) string {
	c.start()
	began := time.Now()
	timer := time.AfterFunc(c.limit, func() { _ = c.cmd.Process.Kill() })
	answer, err := c.ask(module)
	inTime := timer.Stop()
	c.slow = max(c.slow, time.Since(began))
	switch {
	case err == nil && answer == "ok":
		return wantOK
	case err == nil:
		return wantCompiler
	case inTime:
		c.deaths++
		c.close()
		return "death"
	}
	c.hangs++
	c.close()
	return "hang"
}

// ask sends a module behind its length and reads a line.
func (c *compileChild) ask(module []byte) (string, error) {
	if _, err := c.in.Write(binary.BigEndian.AppendUint32(nil, uint32(len(module)))); err != nil {
		return "", err
	}
	if _, err := c.in.Write(module); err != nil {
		return "", err
	}
	line, err := c.out.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// TestCompileChild is no test but the child's main function.
func TestCompileChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		t.Skip("runs as a child of other tests")
	}
	const space = 8 << 30
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: space, Max: space}); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(os.Stdin)
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); errors.Is(err, io.EOF) {
			return
		}
		module := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(in, module); err != nil {
			t.Fatal(err)
		}
		answer := "ok"
		if err := compilePlain(module); err != nil {
			answer = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		if _, err := os.Stdout.WriteString(answer + "\n"); err != nil {
			t.Fatal(err)
		}
	}
}

// compilePlain compiles a module as the host does, in a runtime of its own.
func compilePlain(module []byte) (err error) {
	ctx := context.Background()
	config := wazero.NewRuntimeConfigCompiler().
		WithDebugInfoEnabled(false).WithCloseOnContextDone(true).WithMemoryLimitPages(1024)
	rt := wazero.NewRuntimeWithConfig(ctx, config)
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	compiled, err := rt.CompileModule(ctx, module)
	if err != nil {
		return err
	}
	return compiled.Close(ctx)
}
