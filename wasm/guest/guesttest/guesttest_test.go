package guesttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/wasm/guest"
)

// search looks things up, and goes on without where that is denied.
func search(c *guest.Call) error {
	with, err := guest.With[struct{ Topic string }](c)
	if err != nil {
		return err
	}
	names, err := guest.All[string](c, "who")
	if err != nil {
		return err
	}
	hits, err := c.Search(guest.Search{Text: with.Topic})
	if err != nil && !guest.Denied(err) {
		return err
	}
	c.Logf("info", "%d hits", len(hits))
	return errors.Join(c.Out("out", len(hits)), c.Out("names", names))
}

func TestRun(t *testing.T) {
	host := New(t).Answer("kb.search", map[string]any{"hits": []guest.Hit{{Entity: "a"}, {Entity: "b"}}})
	got := host.Run(search, Input{
		With: map[string]any{"topic": "x"}, Inputs: map[string]any{"who": "Ada"}, Many: map[string][]any{"who": {"Bo"}},
	}).OK()
	got.WantOut("out", 2)
	got.WantOut("names", []string{"Ada", "Bo"})
	got.WantAsked("kb.search")
	got.WantArgs(0, map[string]any{"text": "x"})
	if len(got.Logs) != 1 || got.Logs[0] != "2 hits" {
		t.Errorf("logs %q", got.Logs)
	}
	New(t).Run(search, Input{}).OK().WantOut("out", 0) // denied, and gone on
	New(t).Refuse("kb.search", guest.Error{Code: "busy", Message: "later", Retryable: true}).
		Run(search, Input{}).WantFailure(true, "busy: later")
	New(t).Run(search, Input{Inputs: map[string]any{"who": 1}}).WantFailure(false, "input who, value 1")
}

func TestAnswersComeInTheirOrder(t *testing.T) {
	host := New(t).Answer("time.now", 1).AnswerFunc("time.now", func(args json.RawMessage) (any, error) {
		return 2, nil
	})
	agent := func(c *guest.Call) error {
		var times []int64
		for range 3 {
			now, err := c.Now()
			if err != nil {
				return err
			}
			times = append(times, now.UnixMicro())
		}
		return c.Out("out", times)
	}
	host.Run(agent, Input{}).OK().WantOut("out", []int{1, 2, 2})
	host.Run(agent, Input{}).OK().WantOut("out", []int{1, 2, 2}) // a run starts the script anew
}

// spy is a test that notes its failures. Fatalf ends it by a panic.
type spy struct {
	testing.TB
	said []string
}

func (s *spy) Helper() {}
func (s *spy) Errorf(format string, args ...any) {
	s.said = append(s.said, fmt.Sprintf(format, args...))
}
func (s *spy) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	panic(s)
}

func TestFailuresAreTold(t *testing.T) {
	ok := func(c *guest.Call) error { return c.Out("out", 1) }
	bad := func(*guest.Call) error { return errors.New("no") }
	for _, tt := range []struct {
		name  string
		agent guest.Handler
		check func(*Result)
		want  string
	}{
		{"not OK", bad, func(r *Result) { r.OK() }, "failed with status 1"},
		{"no failure", ok, func(r *Result) { r.WantFailure(false, "") }, "did not fail"},
		{"not retryable", bad, func(r *Result) { r.WantFailure(true, "") }, "want retryable true"},
		{"another text", bad, func(r *Result) { r.WantFailure(false, "yes") }, `want "yes" in it`},
		{"no such port", ok, func(r *Result) { r.WantOut("other", 1) }, "nothing came out on other"},
		{"another value", ok, func(r *Result) { r.WantOut("out", 2) }, "gave 1; want 2"},
		{"other calls", ok, func(r *Result) { r.WantAsked("log") }, "want [log]"},
		{"no such call", ok, func(r *Result) { r.WantArgs(0, nil) }, "there were 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &spy{TB: t}
			func() {
				defer func() {
					if e := recover(); e != nil && e != any(s) {
						panic(e)
					}
				}()
				tt.check(New(s).Run(tt.agent, Input{}))
			}()
			if text := strings.Join(s.said, "\n"); !strings.Contains(text, tt.want) {
				t.Errorf("it said %q, want %q", text, tt.want)
			}
		})
	}
}
