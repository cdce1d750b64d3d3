package runloop

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/rmp"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain é 日本":             "plain é 日本",
		"\x1b[31mred\x1b[0m":     `\x1b[31mred\x1b[0m`,
		"a\nb\tc\r":              `a\nb\tc\r`,
		"\u202etxt.exe":          `\u202etxt.exe`,
		"zero\u200bwidth":        `zero\u200bwidth`,
		"\x9b31m \u009b31m":      `\x9b31m \u009b31m`,
		"\xff":                   `\xff`,
		"del\x7f nul\x00 \u2028": `del\x7f nul\x00 \u2028`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := printableText("a\n\tb\x07"); got != "a\n\tb\\a" {
		t.Errorf("%q", got)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b]0;x\x07\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range printable(s) {
			if !unicode.IsPrint(r) {
				t.Errorf("%q lets %U through", s, r)
			}
		}
		doc, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back, plain string
		if err := errors.Join(json.Unmarshal(safeJSON(doc), &back), json.Unmarshal(doc, &plain)); err != nil || back != plain {
			t.Errorf("safeJSON changed %q to %q: %v", plain, back, err)
		}
		for _, r := range string(safeJSON(doc)) {
			if r != ' ' && !unicode.IsPrint(r) {
				t.Errorf("safeJSON lets %U through", r)
			}
		}
	})
}

func TestParams(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "p.json")
	if err := os.WriteFile(file, []byte(`{"a":{"x":1},"b":"file"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := "what now?"
	o := &opening.Opening{Name: "x", Params: json.RawMessage(`{"text":"","n":0,"a":{"s":""},"prompt":""}`)}
	for _, tt := range []struct {
		name  string
		flags paramFlags
		stdin string
		want  string // or an error, behind "!"
	}{
		{"nothing", paramFlags{}, "", `{}`},
		{"json", paramFlags{json: `{"a":1}`}, "", `{"a":1}`},
		{"json from a file", paramFlags{json: "@" + file}, "", `{"a":{"x":1},"b":"file"}`},
		{"pairs go over", paramFlags{json: `{"a":{"x":1,"y":2}}`, pairs: []string{"a.x=3", "b=true"}}, "", `{"a":{"x":3,"y":2},"b":true}`},
		{"text where the default is text", paramFlags{pairs: []string{"text=12", "a.s=true", "n=12"}}, "", `{"a":{"s":"true"},"n":12,"text":"12"}`},
		{"words stay words", paramFlags{pairs: []string{"x=two words, and a comma", "y={\"a\":1}"}}, "", `{"x":"two words, and a comma","y":"{\"a\":1}"}`},
		{"big numbers stay", paramFlags{pairs: []string{"x=12345678901234567890"}}, "", `{"x":12345678901234567890}`},
		{"a file as text", paramFlags{pairs: []string{"x=@" + file}}, "", `{"x":"{\"a\":{\"x\":1},\"b\":\"file\"}"}`},
		{"an at sign", paramFlags{pairs: []string{`x=\@home`}}, "", `{"x":"@home"}`},
		{"empty value", paramFlags{pairs: []string{"x="}}, "", `{"x":""}`},
		{"stdin", paramFlags{file: "-"}, `{"q":[1]}`, `{"q":[1]}`},
		{"a prompt", paramFlags{prompt: &ask}, "", `{"prompt":"what now?"}`},
		{"no key", paramFlags{pairs: []string{"=x"}}, "", "!want key=value"},
		{"no value", paramFlags{pairs: []string{"x"}}, "", "!want key=value"},
		{"empty part", paramFlags{pairs: []string{"a..b=x"}}, "", "!empty part"},
		{"two documents", paramFlags{json: `{} {}`}, "", "!more than one"},
		{"no object", paramFlags{json: `[1]`}, "", "!must be a JSON object"},
		{"no file", paramFlags{json: "@" + dir + "/none"}, "", "!no file"},
		{"a folder", paramFlags{file: dir}, "", "!is a folder"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			io := &IO{Stdin: strings.NewReader(tt.stdin)}
			got, err := tt.flags.read(io, o)
			if text, fails := strings.CutPrefix(tt.want, "!"); fails {
				if err == nil || !strings.Contains(err.Error(), text) || exitCode(err) == exitFailed {
					t.Errorf("got %s, %v", got, err)
				}
				return
			}
			if err != nil || string(got) != tt.want {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}

func TestCommandLine(t *testing.T) {
	for in, want := range map[string]string{
		"run x --local":                        "run --local -- x",
		"run x -p a=b --yes":                   "run -p a=b --yes -- x",
		"run --params {} x":                    "run --params {} -- x",
		"run x --params={} y":                  "run --params={} -- x y",
		"run -- --odd":                         "run -- --odd",
		"run x -":                              "run -- x -",
		"kb search --limit 3 a b":              "kb search --limit 3 -- a b",
		"kb search a --json -k 3 b":            "kb search --json -k 3 -- a b",
		"config path --all":                    "config path --all",
		"--color never kb search a":            "kb search -- a",
		"kb --no-input search a --color=never": "kb search -- a",
		"run x -p --verbose":                   "run -p --verbose -- x",
		"run x -- --verbose":                   "run -- x --verbose",
		"why is --verbose long":                "why is --verbose long",
		"kb help search":                       "kb search",
		"nothing x --flag":                     "nothing x --flag",
		"route --first-kind none x":            "route --first-kind none x",
		"why --json -- --x y":                  "why --json -- --x y",
		"":                                     "",
	} {
		io := &IO{}
		l, err := io.readLine(newCLI(io), strings.Fields(in))
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got := strings.Join(l.args(), " "); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"run", "replay", "trace", "route"}
	for word, want := range map[string]string{
		"rnu": " (did you mean run?)", "trase": " (did you mean trace?)", "Route": " (did you mean route?)",
		"zzz": "", "": "",
	} {
		if got := didYouMean(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestArtifactNames(t *testing.T) {
	for in, want := range map[string]string{
		"email-q4.md": "email-q4.md", "../../etc/passwd": "passwd", "a b\x1b[31m": "a_b__31m", ".bashrc": "bashrc",
		"": "artifact", "...": "artifact", "/": "_", strings.Repeat("x", 300): strings.Repeat("x", 100), "é": "_",
	} {
		if got := artifactName(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestDescribeActionShowsAllAndNothingRaw(t *testing.T) {
	details := json.RawMessage(`{"body":"Hi,\n\u001b[2Jgone\u202e","to":["a@example.com","b@example.com"],
		"subject":"x\ny","amount":3,"nested":{"k":["v"]}}`)
	got := describeAction(&rmp.ActionRequest{
		Agent: "mailer\x1b[0m", Node: "send", Kind: "send", Summary: "Send it\nto all", Digest: strings.Repeat("ab", 32),
	}, details)
	for _, want := range []string{
		`The agent mailer\x1b[0m (node send) asks to send:`, `  Send it\nto all`,
		"  to: a@example.com, b@example.com\n", "  subject:\n    | x\n    | y\n", "  amount: 3\n",
		`    | \x1b[2Jgone\u202e`, `  nested: {"k":["v"]}`, "content abababababababab\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.ContainsAny(got, "\x1b\u202e") {
		t.Error("something got through raw")
	}
	if strings.Index(got, "to:") > strings.Index(got, "body:") {
		t.Error("the recipient does not come first")
	}
}

func TestTable(t *testing.T) {
	tb := &table{head: []string{"A", "LONG"}}
	tb.add("one\tword", "x")
	tb.add("é", "y\x1b")
	tb.add("", "as long as a line that does not fit")
	if got, want := tb.tabbed(), "one\\tword\tx\né\ty\\x1b\n\tas long as a line that does not fit\n"; got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	const head = "A          LONG\none\\tword  x\né          y\\x1b\n           "
	for columns, last := range map[int]string{
		0: "as long as a line that does not fit", 31: "as long as a line t…", 80: "as long as a line that does not fit",
		20: "as long as a line that does not fit", // too narrow to say anything: the terminal breaks it
	} {
		if got := tb.aligned(columns); got != head+last+"\n" {
			t.Errorf("%d columns: %q", columns, got)
		}
	}
}

func TestPolicyOfTheSystemBinds(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	system := write("etc.yaml", "version: 1\npolicy: { confirm_external_actions: true, default_tokens: 5000, hard_cap_usd: 0.2 }\n"+
		"models: { broker: { budgets: { default_tokens: 4000, hard_cap_usd: 0.1 } } }\n")
	for _, tt := range []struct{ user, want string }{
		{"ui: { theme: light }", ""},
		{"models: { broker: { budgets: { default_tokens: 100 } } }", ""},
		{"models: { broker: { budgets: { default_tokens: 6000 } } }", "goes past policy.default_tokens in " + system},
		{"models: { broker: { budgets: { default_tokens: 0 } } }", "goes past policy.default_tokens"},
		{"models: { broker: { budgets: { hard_cap_usd: 0.3 } } }", "goes past policy.hard_cap_usd"},
		{"security: { confirm_external_actions: false }", "goes past policy.confirm_external_actions"},
		{"policy: { confirm_external_actions: false }\nsecurity: { confirm_external_actions: false }", "goes past policy"},
	} {
		write(".runloop/config.yaml", tt.user)
		_, err := configSource{home: dir, system: system}.load()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || exitCode(err) != exitUsage) {
			t.Errorf("%s: %v", tt.user, err)
		}
		// Nor does another file in its place undo the policy.
		other := write("other.yaml", tt.user)
		_, err = configSource{home: dir, system: system, environ: []string{"RUNLOOP_CONFIG=" + other}}.load()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("RUNLOOP_CONFIG, %s: %v", tt.user, err)
		}
	}
}

func TestPolicyTightensDefaults(t *testing.T) {
	system := filepath.Join(t.TempDir(), "etc.yaml")
	text := "version: 1\npolicy: { default_tokens: 50, hard_cap_usd: 0.01, allow_unsigned_agents: false }\n"
	if err := os.WriteFile(system, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := configSource{home: t.TempDir(), system: system}.load()
	if err != nil {
		t.Fatal(err)
	}
	if b := l.Models.Broker.Budgets; b.DefaultTokens != 50 || b.HardCapUSD != 0.01 || l.Security.AllowUnsignedAgents {
		t.Errorf("%+v, unsigned %v", b, l.Security.AllowUnsignedAgents)
	}
}

func TestKeysWithoutEffectAreNamed(t *testing.T) {
	l, err := configSource{home: t.TempDir(), system: "/none", environ: []string{
		"RUNLOOP__OBSERVABILITY__TRACES__ENABLED=true", "RUNLOOP__RUNTIME__MAX_PARALLEL=2", "RUNLOOP__UI__THEME=mono",
	}}.load()
	if err != nil || len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "observability.traces.enabled") {
		t.Errorf("%q, %v", l.Warnings, err)
	}
	if l, err = (configSource{home: t.TempDir(), system: "/none"}).load(); err != nil || len(l.Warnings) != 0 {
		t.Errorf("nothing is set: %q, %v", l.Warnings, err)
	}
}
