package tui

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

// story is the events of a run, a line each: kind, milliseconds, meta.
const story = `run.started 0 {"opening_name":"letter","nodes":["who","draft","post","log"]}
node.started 5 {"node":"who","attempt":1}
node.stderr 8 {"node":"who","attempt":1,"chunk":"looking \u001b[31mfor Ada\n"}
node.finished 20 {"node":"who","attempt":1,"status":"ok","duration_ms":15}
node.started 21 {"node":"draft","attempt":1}
node.retry 90 {"node":"draft","attempt":1}
node.started 100 {"node":"draft","attempt":2}
node.finished 1400 {"node":"draft","attempt":2,"status":"ok","duration_ms":1300,"usage":{"tokens_in":40,"tokens_out":12}}
node.started 1401 {"node":"post","attempt":1}
action.requested 1500 {"node":"post","summary":"Send to Ada?"}
action.decided 1900 {"node":"post","approved":true}
node.finished 2000 {"node":"post","attempt":1,"status":"error","duration_ms":99}
node.finished 2001 {"node":"log","attempt":0,"status":"skipped","duration_ms":0}
run.finished 2010 {"status":"error","duration_ms":2010,"nodes":{"ok":2,"error":1,"skipped":1}}`

func eventsOf(t *testing.T, text string) []*Event {
	t.Helper()
	var out []*Event
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.SplitN(line, " ", 3)
		ms, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &Event{
			Kind: f[0], TSMillis: ms, Meta: []byte(f[2]), TraceID: "trace:x", Message: "because " + f[0],
		})
	}
	return out
}

func visible(s string) string { return strings.Trim(strconv.Quote(s), `"`) }

// TestRender holds the view after every event of a run against a golden file.
func TestRender(t *testing.T) {
	for name, style := range map[string]Style{
		"wide":   {Width: 100, Sanitize: visible},
		"narrow": {Width: 30, Sanitize: visible},
		"colour": {Width: 100, Colour: true, Sanitize: visible},
	} {
		var run Run
		var b strings.Builder
		for _, e := range eventsOf(t, story) {
			if err := run.Apply(e); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "-- %s --\n", e.Kind)
			for _, line := range Render(&run, time.UnixMilli(e.TSMillis+100), style) {
				b.WriteString(line + "\n")
			}
		}
		golden(t, name+".txt", b.String())
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test ./tui -update writes it anew):\n%s", name, got)
	}
}

func TestRenderKeepsToItsWidth(t *testing.T) {
	var run Run
	for _, e := range eventsOf(t, story) {
		if err := run.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	for width := 1; width < 80; width++ {
		for _, line := range Render(&run, time.UnixMilli(3000), Style{Width: width, Sanitize: visible}) {
			if n := len([]rune(line)); n > width {
				t.Errorf("a line of %d columns at width %d: %q", n, width, line)
			}
		}
	}
}

func TestEventsThatMakeNoSense(t *testing.T) {
	var run Run
	if err := run.Apply(&Event{Kind: "node.started", Meta: []byte(`{"node":1}`)}); err == nil {
		t.Error("a node that is a number was taken")
	}
	for _, e := range []*Event{{Kind: "node.started"}, {Kind: "run.paused", Meta: []byte(`{}`)}, {}} {
		if err := run.Apply(e); err != nil {
			t.Errorf("%+v: %v", e, err)
		}
	}
	if len(run.Nodes) != 0 || run.Ended(&Event{Kind: "node.finished", Meta: []byte(`{"node":"x"}`)}) != nil {
		t.Error("an event without a node made one")
	}
}

// screen is a terminal that knows what the inline view uses.
type screen struct {
	mu    sync.Mutex
	lines []string
	row   int
	rows  int // 0: any number; what is further up cannot be reached
	err   string
}

var control = regexp.MustCompile(`^\x1b\[(\d*)([A-Za-z])`)

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text := string(p); text != ""; {
		if m := control.FindStringSubmatch(text); m != nil {
			s.control(m[1], m[2])
			text = text[len(m[0]):]
			continue
		}
		for s.row >= len(s.lines) {
			s.lines = append(s.lines, "")
		}
		switch text[0] {
		case '\r':
			s.lines[s.row] = strings.TrimSuffix(s.lines[s.row], "\r")
		case '\n':
			s.row++
		default:
			s.lines[s.row] += text[:1]
		}
		text = text[1:]
	}
	return len(p), nil
}

func (s *screen) control(n, what string) {
	switch what {
	case "A":
		up, _ := strconv.Atoi(n)
		if s.row -= up; s.row < 0 || s.rows > 0 && up >= s.rows {
			s.err = "the cursor left the top"
		}
	case "K":
		if s.row < len(s.lines) {
			s.lines[s.row] = ""
		}
	case "J":
		s.lines = s.lines[:min(s.row, len(s.lines))]
	}
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

func TestInline(t *testing.T) {
	s := &screen{}
	v := NewInline(s, func() Style { return Style{Width: 60, Sanitize: visible} })
	events := eventsOf(t, story)
	for i, e := range events {
		if err := v.Apply(e); err != nil {
			t.Fatal(err)
		}
		if i == len(events)/2 {
			time.Sleep(2 * redrawEvery)
			v.Pause(func() {
				if s.String() != "" {
					t.Errorf("the view stays while it is paused:\n%s", s)
				}
				s.Write([]byte("asked\n"))
			})
		}
	}
	run := v.Close()
	want := "asked\n" + strings.Join(Render(run, time.Now(), Style{Width: 60, Sanitize: visible}), "\n")
	if got := s.String(); got != want || s.err != "" {
		t.Errorf("%s\ngot\n%s\nwant\n%s", s.err, got, want)
	}
}

// TestInlineTallerThanTheScreen: a run of more nodes than the terminal has rows
// stays within them while it goes on, shows what runs, and is shown whole at its
// end.
func TestInlineTallerThanTheScreen(t *testing.T) {
	const nodes, rows = 40, 8
	s := &screen{rows: rows}
	style := Style{Width: 60, Height: rows, Sanitize: visible}
	v := NewInline(s, func() Style { return style })
	apply := func(kind, meta string) {
		t.Helper()
		if err := v.Apply(&Event{Kind: kind, Meta: []byte(meta)}); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for i := range nodes {
		names = append(names, fmt.Sprintf("%q", fmt.Sprintf("n%02d", i)))
	}
	apply("run.started", `{"opening_name":"tall","nodes":[`+strings.Join(names, ",")+`]}`)
	for i, name := range names {
		apply("node.started", `{"node":`+name+`}`)
		v.Pause(func() {}) // draws
		if got := s.String(); strings.Count(got, "\n") >= rows || !strings.Contains(got, "running   n"+fmt.Sprintf("%02d", i)) ||
			!strings.Contains(got, fmt.Sprintf("of 40 nodes, %d ended", i)) {
			t.Fatalf("with node %d running:\n%s", i, got)
		}
		apply("node.finished", `{"node":`+name+`,"status":"ok"}`)
	}
	v.Close()
	if got := s.String(); strings.Count(got, "\n") != nodes || s.err != "" {
		t.Errorf("%s\n%s", s.err, got)
	}
}

func TestPausedIsShown(t *testing.T) {
	var run Run
	for kind, want := range map[string]string{"run.paused": "tall  paused", "run.resumed": "tall  running"} {
		for _, k := range []string{"run.started", kind} {
			if err := run.Apply(&Event{Kind: k, Meta: []byte(`{"opening_name":"tall"}`)}); err != nil {
				t.Fatal(err)
			}
		}
		if got := Render(&run, time.Now(), Style{Sanitize: visible})[0]; !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", kind, got)
		}
	}
}

func TestInlineWithoutARun(t *testing.T) {
	var b bytes.Buffer
	NewInline(&b, func() Style { return Style{Sanitize: visible} }).Close()
	if b.Len() > 0 {
		t.Errorf("it drew %q", b.String())
	}
}

// TestNamesAreShownSafely: the events of a file come from anybody, names of nodes
// and states too.
func TestNamesAreShownSafely(t *testing.T) {
	run := &Run{}
	for _, e := range []string{
		`{"kind":"run.started","meta":{"opening_name":"\u001b[2J","nodes":["\u001b]0;x\u0007"]}}`,
		`{"kind":"node.finished","meta":{"node":"\u001b]0;x\u0007","status":"\u001b[31m"}}`,
		`{"kind":"run.finished","meta":{"status":"\u001b[2J"}}`,
	} {
		var ev Event
		if err := json.Unmarshal([]byte(e), &ev); err != nil {
			t.Fatal(err)
		}
		if err := run.Apply(&ev); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range Render(run, time.Now(), Style{Width: 200, Sanitize: visible}) {
		if strings.ContainsAny(line, "\x1b\x07") {
			t.Errorf("%q", line)
		}
	}
}

// TestSkippedRowIsBrief: what the row of another node says is not said again.
func TestSkippedRowIsBrief(t *testing.T) {
	for meta, want := range map[string]string{
		`{"node":"send","status":"skipped","reason":"who failed: exit: status 1","cause":"who"}`: "who failed",
		`{"node":"send","status":"skipped","reason":"check.ok == true does not hold"}`:           "check.ok == true does not hold",
		`{"node":"send","status":"error"}`:                                                       "the message",
	} {
		var run Run
		if err := run.Apply(&Event{Kind: "node.finished", Message: "the message", Meta: []byte(meta)}); err != nil {
			t.Fatal(err)
		}
		if got := run.Nodes[0].Detail; got != want {
			t.Errorf("%s is shown as %q", meta, got)
		}
	}
}
