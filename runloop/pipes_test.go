package runloop

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestReaderIsGone: a command whose reader has gone away ends without a word.
func TestReaderIsGone(t *testing.T) {
	h := newHome(t)
	h.recordRun("0684fb4c-07ec-4457-b35d-6d643e2e8f3e")
	if out, err := h.command("rlp", "kb", "add", "note", "Q4", "--body", "plan").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range []string{
		"help", "kb --help", "help exit-codes", "version", "version --json", "kb search plan", "kb search plan --json",
		"kb query SELECT+1", "kb stats", "kb stats --json", "kb verify", "kb why trace:0684", "runs list", "runs list --json",
		"agent list", "agent show writer", "agent verify", "caps explain writer", "trust list --json",
		"opening list", "opening ir compose_email", "opening graph compose_email", "opening convert compose_email",
		"opening lint compose_email", "config path --all", "config show", "config init -", "completion bash", "why ls",
		"shell init zsh", "run compose_email --local --json",
	} {
		args := strings.Fields(line)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "+", " ")
		}
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		reader.Close()
		var said bytes.Buffer
		cmd := h.command("rlp", args...)
		cmd.Stdout, cmd.Stderr = writer, &said
		err = cmd.Run()
		writer.Close()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGPIPE || said.Len() > 0 {
			t.Errorf("rlp %s: %v, said %q", line, err, said.String())
		}
	}
}
