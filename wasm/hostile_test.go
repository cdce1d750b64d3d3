package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// hostileCase is a guest of testdata/hostile and how it must end.
type hostileCase struct {
	args   string // of the guest, behind its name
	box    bool   // it gets the jail of a box, to write in, as /
	wallMS int    // 0: enough
	code   string // of the error; "" when the guest ends by itself
	exit   uint32
	says   string // part of what it prints, or of the error
	never  string // what it must not print
}

const (
	refused = CodeLoadRefused + ":"
	soon    = 300 // milliseconds for guests that would go on for ever
)

// hostileCases says for every guest what testdata/hostile/README.md calls the
// safe outcome.
var hostileCases = map[string]hostileCase{
	"abort_trap":           {code: CodeTrap, says: "unreachable"},
	"call_before_start":    {says: "", never: "hunter"},
	"clock_spin":           {wallMS: soon, code: CodeDeadline, says: "realtime=1000"},
	"create_many":          {box: true, says: "created 1000 errno"},
	"disk_fill":            {box: true, says: "wrote 64 MiB errno"},
	"env_args":             {args: "x y", never: "HOME="},
	"escape":               {box: true, says: "leaks=0", never: "LEAK"},
	"escape_write":         {box: true, says: "leaks=0", never: "LEAK"},
	"evil_exports":         {code: refused + CodeBadEntry},
	"exit_while_call":      {wallMS: soon, code: CodeDeadline},
	"fd_probe":             {box: true, says: "open=4"},
	"fifo_open":            {box: true, says: "fifo open -1"},
	"hc_alias":             {},
	"hc_exec_flood":        {wallMS: 20_000, says: "neg=10000 of 10000"},
	"hc_flood":             {wallMS: 1000, code: CodeDeadline},
	"hc_msgpack":           {says: "calls=679 negative=679"},
	"hc_oob":               {says: "positive=0"},
	"hc_prng":              {says: "pos=0"},
	"hc_time_denied":       {never: "LEAK"},
	"hc_vectors":           {args: "http http://127.0.0.1/ http://example.com/", says: "-"},
	"import_memory":        {code: refused + CodeUnknownImport, says: "memory"},
	"indirect_recursion":   {code: CodeStackOverflow},
	"log_forge":            {says: "AUDIT OK"},
	"mem_grow":             {code: CodeTrap, says: "out of bounds"},
	"mem_max_touch":        {code: refused + CodeLimit},
	"mem_min_4g":           {code: refused + CodeLimit},
	"membomb":              {says: "MiB"},
	"mutual_recursion":     {code: CodeStackOverflow},
	"neg_len":              {},
	"no_memory":            {code: refused + CodeNoMemory},
	"no_memory_wasi":       {code: refused + CodeNoMemory},
	"no_start":             {code: refused + CodeNoEntryPoint},
	"ok_hello":             {says: "hello"},
	"oob_access":           {code: CodeTrap, says: "out of bounds"},
	"open_many":            {box: true, says: "opened 255 then errno"},
	"path_weird":           {box: true, says: "badutf8"},
	"poll_overflow":        {},
	"proc_exit":            {exit: 4294967295},
	"proc_exit_0xefffffff": {exit: 4026531839},
	"proc_exit_2147483648": {exit: 2147483648},
	"proc_exit_255":        {exit: 255},
	"proc_exit_256":        {exit: 256},
	"proc_exit_300":        {exit: 300},
	"recurse":              {code: CodeTrap},
	"renumber_bomb":        {},
	"sched_yield_loop":     {wallMS: soon, code: CodeDeadline},
	"self_reenter":         {},
	"sleep_forever":        {wallMS: soon, code: CodeDeadline},
	"sleep_max":            {wallMS: soon, code: CodeDeadline},
	"spin":                 {wallMS: soon, code: CodeDeadline},
	"start_is_memory":      {code: refused + CodeNoEntryPoint},
	"start_loop":           {wallMS: soon, code: CodeDeadline},
	"start_wrong_sig":      {code: refused + CodeBadEntry},
	"stdin_block":          {says: "stdin read=0"},
	"stdout_escapes":       {},
	"stdout_flood":         {code: CodeOutputLimit},
	"stdout_nolf":          {code: CodeOutputLimit},
	"symlink_loop":         {box: true, says: "/loop -> -1"},
	"table_fill_300m":      {code: refused + CodeFeature},
	"table_grow":           {code: refused + CodeFeature},
	"table_grow_once":      {code: refused + CodeFeature},
	"table_min_1g":         {code: refused + CodeLimit},
	"tight_loop":           {wallMS: soon, code: CodeDeadline},
	"unknown_import":       {code: refused + CodeUnknownImport, says: "grant_everything"},
	"unknown_module":       {code: refused + CodeUnknownImport, says: "env"},
	"wrong_sig_import":     {code: refused + CodeImportSignature, says: "time_now"},
}

// hostileRun is how a guest of the corpus ended.
type hostileRun struct {
	WASIResult
	err    error
	output string // stdout and stderr
}

// lockedBuffer takes what both streams of a guest say.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// run runs the guest once.
func (c hostileCase) run(t testing.TB, where Isolation, guest string) hostileRun {
	t.Helper()
	var out lockedBuffer
	cfg := WASIConfig{
		Module: hostileGuest(t, guest), Args: append([]string{guest}, strings.Fields(c.args)...),
		Limits: Limits{WallMS: c.wallMS, StdoutKB: 4096}, Isolation: where, Stdout: &out, Stderr: &out,
	}
	var box *fsBox
	if c.box {
		box = newBox(t)
		jail := box.path("jail")
		cfg.Caps = &Caps{FS: []FSGrant{{Path: jail, Write: true}}}
		cfg.At = map[string]string{jail: "/"}
	}
	res, err := testRuntime().RunWASI(context.Background(), cfg)
	if box != nil {
		box.check()
	}
	return hostileRun{res, err, out.String()}
}

// check reports what is not as it must be.
func (c hostileCase) check(t testing.TB, got hostileRun) {
	t.Helper()
	code, text := "", ""
	var e *Error
	if errors.As(got.err, &e) {
		code, text = e.Code, e.Message
	}
	switch {
	case code != c.code || got.Exit != c.exit:
		t.Errorf("ended with code %q (%s), status %d; want %q, %d\n%.300s", code, text, got.Exit, c.code, c.exit, got.output)
	case !strings.Contains(text+got.output, c.says):
		t.Errorf("does not say %q: %q, %.300q", c.says, text, got.output)
	case c.never != "" && strings.Contains(got.output, c.never):
		t.Errorf("says %q: %.300q", c.never, got.output)
	case strings.Contains(got.output, "TOPSECRET"):
		t.Errorf("it saw something of the host: %.300q", got.output)
	case got.Resident > 512<<20:
		t.Errorf("its process took %d MiB", got.Resident>>20)
	}
}

// hostileGuests lists the corpus.
func hostileGuests(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/hostile/wasm/*.wasm")
	if err != nil || len(files) != len(hostileCases) {
		t.Fatalf("%d guests, %d expectations, %v", len(files), len(hostileCases), err)
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".wasm"))
	}
	return names
}

// TestHostileGuests runs every guest of the corpus in both places: each ends
// as it must, and the process is afterwards what it was before.
func TestHostileGuests(t *testing.T) {
	for _, where := range []Isolation{IsolationInline, IsolationWorker} {
		t.Run(string(where), func(t *testing.T) {
			before := openFDs(t)
			for _, guest := range hostileGuests(t) {
				c, ok := hostileCases[guest]
				if !ok {
					t.Errorf("nobody says how %s must end", guest)
				}
				t.Run(guest, func(t *testing.T) {
					c.check(t, c.run(t, where, guest))
				})
			}
			if after := openFDs(t); after > before+8 {
				t.Errorf("%d descriptors are open, %d were before", after, before)
			}
			if guests, bytes := testRuntime().memories.Live(); guests > 0 || bytes > 0 {
				t.Errorf("%d memories of %d bytes are left", guests, bytes)
			}
			noChildren(t)
		})
	}
}

func openFDs(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// noChildren fails when a child that has ended was not waited for. Children
// that run wait for work.
func noChildren(t testing.TB) {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lists {
		pids, _ := os.ReadFile(l)
		for pid := range strings.FieldsSeq(string(pids)) {
			stat, _ := os.ReadFile("/proc/" + pid + "/stat")
			if strings.Contains(string(stat), ") Z ") {
				t.Errorf("a zombie: %s", stat)
			}
		}
	}
}

// soak is how often to do something: few times by default, many in a soak.
func soak(few, many int) int {
	if os.Getenv("RUNLOOP_SOAK") != "" {
		return many
	}
	return few
}

// TestHostileGuestsAgain runs the corpus many times over: what a guest leaves
// behind would add up.
func TestHostileGuestsAgain(t *testing.T) {
	rounds := soak(1, 100)
	var memory []uint64
	for round := range rounds {
		for _, guest := range []string{
			"ok_hello", "mutual_recursion", "membomb", "mem_grow", "escape", "open_many", "stdout_flood",
			"poll_overflow", "renumber_bomb", "spin", "sleep_forever", "abort_trap",
		} {
			c := hostileCases[guest]
			c.check(t, c.run(t, IsolationInline, guest))
			c.check(t, c.run(t, IsolationWorker, guest))
		}
		if os.Getenv("RUNLOOP_SOAK") != "" && round%2 == 0 {
			runAllGuests(t)
		}
		memory = append(memory, residentKB(t))
	}
	t.Logf("KiB resident by round: %v", memory)
	if n := len(memory); n > 10 && memory[n-1] > memory[n/2]+memory[n/2]/5 {
		t.Errorf("resident memory grew from %d to %d KiB", memory[n/2], memory[n-1])
	}
}

func runAllGuests(t *testing.T) {
	for guest, c := range hostileCases {
		if guest != "disk_fill" && guest != "hc_exec_flood" { // minutes each
			c.check(t, c.run(t, IsolationWorker, guest))
		}
	}
}

// residentKB is the memory of this process.
func residentKB(t testing.TB) (kb uint64) {
	t.Helper()
	runtime.GC()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fmt.Sscan(rest, &kb)
	return kb
}

// TestHostileCrowd runs twenty guests at once, each as an agent, beside one
// that behaves and must not notice.
func TestHostileCrowd(t *testing.T) {
	modules := map[string][]byte{"probe": probeModule(t, LifeCommand)}
	crowd := []string{
		"spin", "tight_loop", "start_loop", "sleep_forever", "sched_yield_loop", "membomb", "mem_grow",
		"mutual_recursion", "indirect_recursion", "recurse", "stdout_flood", "stdout_nolf", "abort_trap",
		"poll_overflow", "renumber_bomb", "table_grow_once", "proc_exit", "oob_access", "clock_spin", "fd_probe",
	}
	for _, guest := range crowd {
		modules[guest] = hostileGuest(t, guest)
	}
	for _, where := range []Isolation{IsolationInline, IsolationWorker} {
		t.Run(string(where), func(t *testing.T) {
			r := newRigIn(t, where, "", Services{}, modules)
			var wg sync.WaitGroup
			for i, guest := range crowd {
				req := r.request(guest, `{}`, func(q *rmp.AgentRequest) {
					q.Budget.DeadlineMillis, q.Node = 2000, fmt.Sprintf("n%d", i)
				})
				wg.Go(func() {
					res := r.host.perform(context.Background(), req, func(rmp.AgentLog) {})
					if res.Status == rmp.StatusOK || res.Error == nil || res.Error.Code == CodeHost {
						t.Errorf("%s: %s %+v", guest, res.Status, res.Error)
					}
				})
			}
			for range 5 {
				out(t, r.send(r.request("probe", `{"Do":"echo"}`, func(q *rmp.AgentRequest) {
					q.Budget.DeadlineMillis = 30_000
				})))
			}
			wg.Wait()
			out(t, r.do("echo"))
		})
	}
}

// TestDeadlineIsKept has guests that never end, which must be gone soon after
// their deadline.
func TestDeadlineIsKept(t *testing.T) {
	for _, where := range []Isolation{IsolationInline, IsolationWorker} {
		for _, guest := range []string{"spin", "tight_loop", "start_loop", "sleep_forever", "clock_spin"} {
			c := hostileCases[guest]
			c.run(t, where, guest) // compiles it
			began := time.Now()
			c.check(t, c.run(t, where, guest))
			t.Logf("%s %s ended %v after its deadline", where, guest, time.Since(began)-soon*time.Millisecond)
		}
	}
}

// TestCancelStopsAGuest has a person press Ctrl-C.
func TestCancelStopsAGuest(t *testing.T) {
	stdin, typing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	defer typing.Close()
	for _, where := range []Isolation{IsolationInline, IsolationWorker} {
		for _, guest := range []string{"spin", "stdin_block"} {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(200*time.Millisecond, cancel)
			_, err := testRuntime().RunWASI(ctx, WASIConfig{
				Module: hostileGuest(t, guest), Args: []string{guest}, Isolation: where, Stdin: stdin,
			})
			if !errors.Is(err, &Error{Code: CodeCancelled}) {
				t.Errorf("%s %s: %v", where, guest, err)
			}
		}
	}
}
