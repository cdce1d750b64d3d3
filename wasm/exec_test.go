package wasm

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runloop-os/runloop/rmp"
)

// runExec runs argv and returns its result, or fails.
func runExec(t testing.TB, d *door, args map[string]any) ExecResult {
	t.Helper()
	got := ask(t, d, "exec.run", args)
	var res ExecResult
	if err := json.Unmarshal([]byte(got), &res); err != nil {
		t.Fatal(got)
	}
	return res
}

func argv(a ...string) map[string]any { return map[string]any{"argv": a} }

func TestExecRun(t *testing.T) {
	d := testDoor(t, "exec = [\"cat\", \"/bin/sh\", \"printf\", \"sleep\"]", Services{})
	res := runExec(t, d, map[string]any{"argv": []string{"cat", "-"}, "stdin": "hello \x00 you"})
	if res.Stdout != "hello \x00 you" || res.ExitCode != 0 || res.Stderr != "" {
		t.Errorf("%+v", res)
	}
	res = runExec(t, d, argv("/bin/sh", "-c", "echo out; echo err >&2; printf '\\377'; exit 300"))
	if res.ExitCode != 300%256 || res.StdoutEncoding != "base64" || res.Stderr != "err\n" {
		t.Errorf("%+v", res)
	}
	res = runExec(t, d, argv("sh", "-c", "kill -9 $$"))
	if res.ExitCode != -1 || res.Signal != "SIGKILL" {
		t.Errorf("%+v", res)
	}
	slow := argv("sleep", "1000")
	slow["timeout_ms"] = 100
	if got := ask(t, d, "exec.run", slow); !strings.HasPrefix(got, "timeout: ") {
		t.Error(got)
	}
	res = runExec(t, d, argv("sh", "-c", "head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2"))
	if !res.Cut || len(res.Stdout) != execOutputMax || len(res.Stderr) != execOutputMax {
		t.Errorf("cut %v, %d and %d bytes", res.Cut, len(res.Stdout), len(res.Stderr))
	}
}

// TestExecSeesNothingOfTheHost looks at what a program finds around it.
func TestExecSeesNothingOfTheHost(t *testing.T) {
	t.Setenv("LEAK_ME", "secret")
	t.Setenv("NOTIFY_SOCKET", "/x")
	open, err := unix.Open("/dev/null", 0, 0) // not close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(open)
	d := testDoor(t, `exec = ["sh"]`, Services{})
	res := runExec(t, d, argv("sh", "-c", "env | sort; ls -m /proc/$$/fd; umask; pwd; ls -A | wc -l; "+
		"grep NoNewPrivs /proc/$$/status; ulimit -c; ulimit -n; ps -o sid= -p $$ | tr -d ' '; echo $$"))
	lines := strings.Split(res.Stdout, "\n")
	var names []string
	for _, l := range lines {
		if name, _, ok := strings.Cut(l, "="); ok && !strings.Contains(name, " ") {
			names = append(names, name)
		}
	}
	// PWD is the shell's own.
	if got := strings.Join(names, " "); got != "HOME LANG PATH PWD RUNLOOP_IDEMPOTENCY_KEY TMPDIR" {
		t.Errorf("environment %q", got)
	}
	// No pipe for the descriptors: the shell would hold an end of it meanwhile.
	rest := lines[len(names):]
	if len(rest) < 7 || rest[0] != "0, 1, 2" && rest[0] != "0, 1, 2, 10" || rest[1] != "0077" {
		t.Fatalf("descriptors and umask: %q", rest)
	}
	rest = rest[1:]
	if !strings.Contains(rest[1], "/runloop-exec-") || rest[2] != "0" || !strings.HasSuffix(rest[3], "1") ||
		rest[4] != "0" || rest[5] != "256" {
		t.Errorf("%q", rest)
	}
	if _, err := os.Stat(rest[1]); err == nil {
		t.Errorf("%s is still there", rest[1])
	}
}

func TestExecGrants(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	writable := filepath.Join(dir, "out", "tool")
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, "/bin/true", writable, 0o755)
	copyFile(t, "/bin/true", filepath.Join(dir, "setuid"), 0o755)
	copyFile(t, "/bin/true", filepath.Join(dir, "anybody"), 0o755)
	for name, mode := range map[string]os.FileMode{"setuid": 0o755 | os.ModeSetuid, "anybody": 0o777} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$0 $1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/echo", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	s := Services{}
	audits := auditsOf(&s)
	in := func(name string) string { return filepath.Join(dir, name) }
	caps := fmt.Sprintf("exec = [\"printf\", %q, %q, %q, %q, %q, %q, \"/proc/self/exe\", \"/dev/null\"]\nfs = [{path=%q, write=true}]",
		script, in("setuid"), in("anybody"), writable, in("link"), in("none"), in("out"))
	t.Setenv("PATH", dir)
	for _, tt := range []struct{ name, want string }{
		{"printf", `"exit_code":0`},
		{script, script + ` $(x)`},
		{"script", script + ` $(x)`},
		{in("link"), `"stdout":"$(x)`},
		{"./printf", "denied:exec:./printf is not granted"},
		{"/usr/bin/printf", "denied:exec:/usr/bin/printf is not granted"},
		{"../../bin/sh", "denied:exec:"},
		{dir + "//script", "denied:exec:"},
		{dir + "/../" + filepath.Base(dir) + "/script", "denied:exec:"},
		{"sh", "denied:exec:sh is not granted"},
		{"PRINTF", "denied:exec:"},
		{"printf ", "denied:exec:"},
		{"..", "denied:exec:"},
		{"/proc/self/exe", "spawn_failed"},
		{"/dev/null", "spawn_failed"},
		{in("none"), "spawn_failed"},
		{in("setuid"), "rights of another user"},
		{in("anybody"), "anybody may change it"},
		{writable, "the agent may change it"},
		{"", "invalid: exec.run: argv"},
		{"printf\x00sh", "invalid: exec.run: an argument"},
	} {
		*audits = nil
		got := ask(t, testDoor(t, caps, s), "exec.run", argv(tt.name, "$(x)"))
		if !strings.Contains(got, tt.want) {
			t.Errorf("%q: %s", tt.name, got)
		}
		if strings.HasPrefix(got, "denied:") != (len(*audits) == 1 && strings.HasPrefix((*audits)[0], "deny exec ")) {
			t.Errorf("%q: %s, audits %v", tt.name, got, *audits)
		}
	}
}

func copyFile(t testing.TB, from, to string, mode os.FileMode) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestExecInjection sends each line of the vectors as it would reach a tool
// that splits at blanks: argv arrives as it stands, or is denied.
func TestExecInjection(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "hostile", "vectors", "exec_injection.txt"))
	if err != nil {
		t.Fatal(err)
	}
	canary := "/tmp/rl_pwned"
	d := testDoor(t, `exec = ["/usr/bin/printf"]`, Services{})
	ran, denied := 0, 0
	for line := range strings.Lines(string(text)) {
		line = strings.ReplaceAll(strings.TrimSuffix(line, "\n"), `\x00`, "\x00")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Split(line, " ")
		got := ask(t, d, "exec.run", map[string]any{"argv": words})
		if strings.Contains(got, `"exit_code"`) {
			ran++
			if words[0] != "printf" {
				t.Errorf("%q ran: %s", line, got)
			}
			continue
		}
		denied++
		if !strings.HasPrefix(got, "denied: denied:exec:") && !strings.HasPrefix(got, "invalid: ") {
			t.Errorf("%q: %s", line, got)
		}
	}
	if ran < 10 || denied < 25 || ran+denied < 40 {
		t.Errorf("%d ran, %d were denied", ran, denied)
	}
	if _, err := os.Lstat(canary); err == nil {
		t.Errorf("%s is there", canary)
	}
}

// processesWith are those whose command line holds a text.
func processesWith(text string) (found []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		b, err := os.ReadFile(dir + "/cmdline")
		if err == nil && strings.Contains(string(b), text) {
			found = append(found, dir+" "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}

// TestExecLeavesNoProcess: whatever a program starts ends with it, also what
// ignores signals, leaves the session, or loses its parent.
func TestExecLeavesNoProcess(t *testing.T) {
	d := testDoor(t, `exec = ["sh"]`, Services{})
	for i, script := range []string{
		"sleep $N & exit 0",
		"setsid sh -c 'sleep $N & sleep $N' & exit 0",
		"(setsid sh -c 'trap \"\" TERM HUP INT; (sleep $N &) ; sleep $N' &) ; exit 3",
		"trap '' TERM; sleep $N",
		"for i in 1 2 3 4 5 6 7 8; do (setsid sleep $N >/dev/null 2>&1 &) ; done; exit 0",
		"f() { f & f & sleep 0.01; }; N=$N f", // forks, as far as it is let
	} {
		if i == 5 && os.Geteuid() == 0 {
			continue // no limit holds root's number of processes
		}
		mark := fmt.Sprintf("%d.%d", 90000+os.Getpid(), i)
		script = strings.ReplaceAll(script, "$N", mark)
		args := argv("sh", "-c", script)
		args["timeout_ms"] = 700
		got := ask(t, d, "exec.run", args)
		if left := processesWith("sleep\x00" + mark); len(left) > 0 {
			t.Errorf("%s: %s, left %q", script, got, left)
		}
	}
}

// TestExecEndsWithTheAttempt: the run is cancelled while a program runs.
func TestExecEndsWithTheAttempt(t *testing.T) {
	mark := fmt.Sprintf("%d.7", 91000+os.Getpid())
	r := probeRig(t, LifeReactor, `exec = ["sh"]`, Services{})
	req := callRequest(r, `[{"Op":"exec.run","Args":{"argv":["sh","-c","setsid sleep `+mark+` & sleep `+mark+`"]}}]`)
	req.Budget.DeadlineMillis = 500
	if res := r.send(req); res.Status != rmp.StatusTimeout {
		t.Errorf("%s %+v", res.Status, res.Error)
	}
	if left := processesWith("sleep\x00" + mark); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// TestKeeperEndsWithTheHost: the host's end of the orders closes, as it does
// when the host is killed.
func TestKeeperEndsWithTheHost(t *testing.T) {
	mark := fmt.Sprintf("%d.8", 92000+os.Getpid())
	file, err := openExecutable("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := &program{op: "x", argv: []string{"sh", "-c", "(setsid sleep " + mark + " &) ; sleep " + mark}, timeout: time.Minute, file: file}
	k, err := startKeeper(p, p.order(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if len(processesWith("sleep\x00"+mark)) == 2 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	k.orders.Close()
	r := k.wait(context.Background())
	if r.Signal != 9 || len(processesWith("sleep\x00"+mark)) > 0 {
		t.Errorf("%+v, left %q", r, processesWith("sleep\x00"+mark))
	}
}

// TestExecRunsWhatWasChecked swaps the program for another all the time.
func TestExecRunsWhatWasChecked(t *testing.T) {
	dir := t.TempDir()
	good, bad, name := filepath.Join(dir, "good"), filepath.Join(dir, "bad"), filepath.Join(dir, "tool")
	copyFile(t, "/bin/true", good, 0o755)
	copyFile(t, "/bin/false", bad, 0o777)
	if err := os.Chmod(bad, 0o777); err != nil { // refused when it is the one that is opened
		t.Fatal(err)
	}
	stop, swapped := make(chan struct{}), make(chan struct{})
	swap := func(to string) {
		_ = os.Symlink(to, name+".new")
		_ = os.Rename(name+".new", name)
	}
	swap(good)
	go func() {
		defer close(swapped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				swap([]string{good, bad}[i%2])
				time.Sleep(100 * time.Microsecond)
			}
		}
	}()
	d := testDoor(t, fmt.Sprintf("exec = [%q]", name), Services{})
	counts := map[string]int{}
	for range soakSize(60, 1000) {
		got := ask(t, d, "exec.run", argv(name))
		switch {
		case strings.Contains(got, `"exit_code":0`):
			counts["good"]++
		case strings.Contains(got, "anybody may change it"):
			counts["refused"]++
		default:
			t.Fatal(got)
		}
	}
	close(stop)
	<-swapped
	if counts["good"] == 0 || counts["refused"] == 0 {
		t.Errorf("no race: %v", counts)
	}
}

// soakSize is n, or the full size of a soak.
func soakSize(n, full int) int {
	if os.Getenv("RUNLOOP_SOAK") != "" {
		return full
	}
	return n
}

func TestExecLeavesNoDescriptors(t *testing.T) {
	d := testDoor(t, `exec = ["true"]`, Services{})
	runExec(t, d, argv("true"))
	before, _ := os.ReadDir("/proc/self/fd")
	for range 20 {
		runExec(t, d, argv("true"))
	}
	after, _ := os.ReadDir("/proc/self/fd")
	if len(after) > len(before)+2 {
		t.Errorf("%d descriptors, %d before", len(after), len(before))
	}
}
