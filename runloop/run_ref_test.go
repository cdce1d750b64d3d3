package runloop

import (
	"strings"
	"testing"
)

func TestRunRef(t *testing.T) {
	h := newHome(t)
	for _, id := range []string{
		"0684aaaa-0000-4000-8000-000000000000", "0684bbbb-0000-4000-8000-000000000000", "17000000-0000-4000-8000-000000000000",
	} {
		h.recordRun(id)
	}
	io := &IO{Environ: h.env}
	cfg, err := io.config()
	h.Check(err)
	for ref, want := range map[string]string{
		"17":                               "17000000-",
		"trace:17":                         "17000000-",
		"run:17":                           "17000000-",
		"0684A":                            "0684aaaa-",
		"0684bbbb-0000":                    "0684bbbb-",
		"0684bbbb000040008000000000000000": "0684bbbb-",
		// One that is written in full need not be known here.
		"trace:99999999-0000-4000-8000-000000000000": "99999999-",
		"06":         `!2 "06" could be trace:0684bbbb-0000-4000-8000-000000000000 (x, `,
		"trace:0684": `!2 "trace:0684" could be `,
		"99":         `!5 no run begins with "99" (see rlp runs list)`,
		"":           `!2 "" is no trace id`,
		"x":          `!2 "x" is no trace id, nor the beginning of one`,
		"06%":        `!2 "06%" is no trace id`,
		"17'--":      `!2 "17'--" is no trace id`,
	} {
		id, err := io.runRef(t.Context(), cfg, ref)
		got := id.String()
		if err != nil {
			got = "!" + string(rune('0'+exitCode(err))) + " " + err.Error()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s, want %s", ref, got, want)
		}
	}
}
