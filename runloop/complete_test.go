package runloop

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/runloop-os/runloop/pog"
)

// offeredFor completes the end of a line as zsh and fish ask, and returns which
// files fit and the words.
func offeredFor(t *testing.T, home, line string) string {
	t.Helper()
	io := &IO{Environ: []string{"HOME=" + home}, Warn: func(string) {}}
	c := io.complete(strings.Split(line, " "))
	out := []string{string(c.files)}
	for _, i := range c.items {
		out = append(out, i.value)
	}
	return strings.Join(out, " ")
}

func TestComplete(t *testing.T) {
	home := t.TempDir()
	t.Chdir(t.TempDir())
	for line, want := range map[string]string{
		"rlp run":                              "none run runs", // a command and those that begin like it
		"rlp kb se":                            "none search",
		"rlp kb add ":                          "none contact note",
		"rlp kb add nothing ":                  "none",
		"rlp kb search --dom":                  "none --domain",
		"rlp kb search --domain ":              "none contacts notes artifacts email",
		"rlp kb search --domain=n":             "none --domain=notes",
		"rlp kb search --domain notes --d":     "none --domain", // it may be given again
		"rlp kb search --limit 3 --lim":        "none",
		"rlp kb search -k 3 --lim":             "none",
		"rlp kb search --color a":              "none auto always",
		"rlp --color never kb se":              "none search",
		"rlp kb search -- --dom":               "none",
		"rlp run comp":                         "none compose_email",
		"rlp run ./":                           "files",
		"rlp run compose_email -p rec":         "none recipient=",
		"rlp run --local compose_email -p rec": "none recipient=",
		"rlp agent show wr":                    "none writer",
		"rlp agent verify writer cri":          "none critic",
		"rlp agent build ":                     "dirs",
		"rlp run --trace-out ":                 "files",
		"rlp opening graph --format d":         "none dot",
		"rlp runs list --state r":              "none running",
		"rlp completion f":                     "none fish",
		"rlp completion fish ":                 "none",
		"rlp shell init z":                     "none zsh",
		"rlp help exit":                        "none exit-codes",
		"rlp help kb se":                       "none search",
		"rlp nothing ":                         "none",
		"/usr/bin/rlp kb se":                   "none search",
		"runloopd --soc":                       "none --socket",
		"runloopd --config ":                   "files",
		"agtop --in":                           "none --input",
		"runloop runloop":                      "none runloopd",
		"runloop wasi --isol":                  "none --isolation",
		"runloop kb se":                        "none search",
		"other kb se":                          "none",
		"rlp":                                  "none",
	} {
		if got := offeredFor(t, home, line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(home, ".*")); len(left) > 0 {
		t.Errorf("it wrote %q", left)
	}
}

// TestCompleteRuns: ids as they were begun, the latest first, and the nodes of a
// run; the ledger stays as it is.
func TestCompleteRuns(t *testing.T) {
	h := newHome(t)
	home := h.dir
	h.recordRun("0684aaaa-0000-4000-8000-000000000000")
	h.recordRun("17000000-0000-4000-8000-000000000000")
	before := fileTimes(t, home)
	for line, want := range map[string]string{
		"rlp runs show ":       "none trace:17000000-0000-4000-8000-000000000000 trace:0684aaaa-0000-4000-8000-000000000000",
		"rlp trace 06":         "none 0684aaaa-0000-4000-8000-000000000000",
		"rlp replay trace:1":   "none trace:17000000-0000-4000-8000-000000000000",
		"rlp runs cancel 9":    "files",
		"rlp kb why trace:06":  "none trace:0684aaaa-0000-4000-8000-000000000000",
		"rlp runs fork run.rl": "files",
	} {
		if got := offeredFor(t, home, line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	if after := fileTimes(t, home); after != before {
		t.Errorf("it changed\n%s\nto\n%s", before, after)
	}
	runs, err := filepath.Abs(filepath.Join(root, "testdata", "runs"))
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(runs, "*"))
	if len(files) == 0 {
		t.Fatal("no recorded runs")
	}
	if got := offeredFor(t, home, "rlp replay "+files[0]+" --node "); got == "none" {
		t.Errorf("no nodes of %s", files[0])
	}
}

// recordRun puts the beginning of a run into the ledger.
func (h *home) recordRun(id string) {
	h.t.Helper()
	io := &IO{Environ: h.env, Warn: func(text string) { h.t.Log(text) }}
	cfg, err := io.config()
	h.Check(err)
	store, err := io.openStore(h.t.Context(), cfg)
	h.Check(err)
	d, err := pog.NewDelta("run.started", map[string]any{
		"trace_id": "trace:" + id, "opening_id": "opening:x", "opening_name": "x",
	})
	h.Check(err)
	_, err = store.Propose(h.t.Context(), pog.System(), d)
	h.Check(errors.Join(err, store.Close()))
}

// fileTimes lists all files below a folder with the time of their last change.
func fileTimes(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			b.WriteString(path + " " + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestHousePlaceholders: a name in capitals is known to completion, or is
// something that only a person can know.
func TestHousePlaceholders(t *testing.T) {
	free := strings.Fields(`ACTOR ADDRESS ARGUMENT DATE DURATION GUEST HASH HEAD JSON KEY KEY=VALUE MB N NAME NAME=PATH
		NODE.with.KEY=VALUE ORGANISATION PATH[::GUEST] PATTERN PROMPT REASON SENTENCE SQL TAG TEXT TIME TITLE VALUE VAR WHY
		0..1 DOLLARS`)
	known := strings.Fields("FILE FILE.wasm PATH DIR TRACE ENTITY OPENING AGENT NODE COMMAND TOPIC")
	eachDoc(func(d *commandDoc) {
		all := strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(d.args))
		if d.path == "runloop wasi" {
			all = nil
		}
		for _, f := range d.flags {
			if f.value != "" {
				all = append(all, f.value)
			}
		}
		for _, p := range all {
			if choicesOf(p) != nil {
				continue
			}
			for part := range strings.SplitSeq(p, "|") {
				part = strings.TrimSuffix(part, "...")
				if !contains(free, part) && !contains(known, part) {
					t.Errorf("%s: completion does not know what a %s is", d.path, part)
				}
			}
		}
	})
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func TestShellWords(t *testing.T) {
	for line, want := range map[string]string{
		"":                  "[]",
		"rlp ":              "[rlp][]",
		"rlp kb  se":        "[rlp][kb][se]",
		`rlp "a b" c`:       "[rlp][a b][c]",
		`rlp 'a "b' c`:      `[rlp][a "b][c]`,
		`rlp a\ b`:          "[rlp][a b]",
		`rlp "a \" b`:       `[rlp][a " b]`,
		`rlp 'un\ended`:     `[rlp][un\ended]`,
		`rlp '' x`:          "[rlp][][x]",
		"rlp trace:06":      "[rlp][trace:06]",
		"rlp\t--format=dot": "[rlp][--format=dot]",
	} {
		got := ""
		words, quote := shellWords(line)
		if quoted := quote != 0; quoted != (line == `rlp 'un\ended` || line == `rlp "a \" b`) {
			t.Errorf("%q: the open quote is %q", line, quote)
		}
		for _, w := range words {
			got += "[" + w + "]"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
}

// TestCompleteHostileNames: what bash puts into the line stands for the name of a
// file and is no command; and a fifo is not waited for.
func TestCompleteHostileNames(t *testing.T) {
	home := t.TempDir()
	dir := filepath.Join(home, ".runloop", "openings")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"zz$(touch pwn);`id` 'q'!\"x\\", "-rf", "zesc\x1b[2J", "zline\nbreak"} {
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "zfifo.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"rlp run z":         "zfifo\t\nzz\\$\\(touch\\ pwn\\)\\;\\`id\\`\\ \\'q\\'\\!\\\"x\\\\\t\n",
		`rlp run "z`:        "zfifo\t\n", // nothing stands for a "!" behind it
		`rlp run 'z`:        "zfifo\t\n",
		"rlp run --timeout": "", // no opening
		"rlp run -r":        "",
	} {
		var out strings.Builder
		io := &IO{Environ: []string{"HOME=" + home}, Stdout: &out, Warn: func(string) {}}
		io.completeFor([]string{"bash", " \t\n\"'><=;|&(:", line})
		_, got, _ := strings.Cut(out.String(), "\n")
		if want == "" && strings.Contains(got, "rf") || want != "" && got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func TestBashQuoted(t *testing.T) {
	for _, tt := range []struct {
		quote      rune
		text, want string
		ok         bool
	}{
		{0, "trace:06-a_b.c/d=e@f%g+h,i", "trace:06-a_b.c/d=e@f%g+h,i", true},
		{0, "größe 1", `größe\ 1`, true},
		{0, "~a*?[b]{c,d}#e", `\~a\*\?\[b\]\{c,d\}\#e`, true},
		{'"', "a $(b) `c` \"d\\", "a \\$(b) \\`c\\` \\\"d\\\\", true},
		{'"', "a!b", "", false},
		{'\'', "a $(b) !c", "a $(b) !c", true},
		{'\'', "it's", "", false},
	} {
		if got, ok := bashQuoted(tt.text, tt.quote); got != tt.want || ok != tt.ok {
			t.Errorf("%q behind %q: %q, %v", tt.text, tt.quote, got, ok)
		}
	}
}
