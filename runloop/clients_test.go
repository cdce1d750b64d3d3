package runloop

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// clientLimits make every limit easy to reach.
const clientLimits = `version: 1
bus: { limits: { connections: 40, subscriptions: 8, queue_bytes: 65536, idle_ms: 4000 } }
`

// clientErrors are the codes that a client can be told, apart from a server's
// own failures.
const clientErrors = 24

// TestClientPython: the client of examples/clients, with a plain interpreter.
func TestClientPython(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed; examples/clients/rmp_client.py was not run")
	}
	dir, err := filepath.Abs(filepath.Join(root, "examples", "clients"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "rmp_client.py"))
	if n := strings.Count(string(text), "\n"); err != nil || n >= 100 {
		t.Errorf("the client has %d lines, %v; docs/protocol.md promises less than 100", n, err)
	}
	errorsScript, err := filepath.Abs(filepath.Join("testdata", "clients", "errors.py"))
	if err != nil {
		t.Fatal(err)
	}
	h := newHome(t, "CLIENTS="+dir, "PYTHONDONTWRITEBYTECODE=1")
	h.config(clientLimits)
	d := h.daemon()
	clientTalks(t, h, python, filepath.Join(dir, "rmp_client.py"))
	clientFails(t, d, python, errorsScript)
}

// TestClientNode: the same on @msgpack/msgpack, which is installed for it.
func TestClientNode(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	node := installNodeClient(t, h)
	h.config(clientLimits)
	d := h.daemon()
	clientTalks(t, h, node, filepath.Join(h.dir, "rmp_client.mjs"))
	clientFails(t, d, node, filepath.Join(h.dir, "errors.mjs"))
}

// installNodeClient puts the Node client and what it needs into the home.
func installNodeClient(t *testing.T, h *home) (node string) {
	t.Helper()
	node, err := exec.LookPath("node")
	npm, err2 := exec.LookPath("npm")
	if err := errors.Join(err, err2); err != nil {
		t.Skip("node and npm are not installed; examples/clients/rmp_client.mjs was not run:", err)
	}
	for _, name := range []string{filepath.Join(root, "examples", "clients", "rmp_client.mjs"),
		filepath.Join("testdata", "clients", "errors.mjs")} {
		text, err := os.ReadFile(name)
		h.Check(err)
		h.Check(os.WriteFile(filepath.Join(h.dir, filepath.Base(name)), text, 0o600))
	}
	install := exec.Command(npm, "install", "--no-audit", "--no-fund", "--no-save", "--prefix", h.dir, "@msgpack/msgpack@3")
	install.Dir = h.dir // the caller's own npm configuration says where packages come from
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("@msgpack/msgpack cannot be installed; examples/clients/rmp_client.mjs was not run: %v\n%s", err, out)
	}
	return node
}

// clientTalks runs a client that says hello, subscribes, publishes, receives
// and pings.
func clientTalks(t *testing.T, h *home, program, script string) {
	t.Helper()
	out, errs, code := h.run(program, script, h.socket())
	for _, want := range []string{"hello from runloopd", "delivered to 1", "received", "good morning", "pong"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if code != 0 || t.Failed() {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
}

// clientFails runs a script that provokes every error and prints what it
// expects and what it got.
func clientFails(t *testing.T, d *process, program, script string) {
	t.Helper()
	cmd := d.command(program, script, d.socket())
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	h := make(chan error, 1)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { h <- cmd.Wait() }()
	var err error
	eventually(t, "the client has provoked all but the last", func() bool {
		select {
		case err = <-h:
			return true
		default:
			return strings.Contains(out.String(), "ready\n")
		}
	})
	if err == nil && strings.Contains(out.String(), "ready\n") {
		d.signal(syscall.SIGTERM)
		err = <-h
	}
	codes := 0
	for line := range strings.Lines(out.String()) {
		words := strings.Fields(line)
		for i := range len(words) / 2 {
			codes++
			if want, got := words[i], words[i+len(words)/2]; want != got {
				t.Errorf("want %s, got %s", want, got)
			}
		}
	}
	if err != nil || codes != clientErrors {
		t.Errorf("%d codes, %v\n%s", codes, err, out.String())
	}
}
