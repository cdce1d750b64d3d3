package shell

import (
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/runloop-os/runloop/router"
)

func startupBlock(t interface{ Fatal(...any) }, shell router.Shell, opening string) string {
	block, err := StartupBlock(shell, opening)
	if err != nil {
		t.Fatal(err)
	}
	return block
}

func TestWithBlock(t *testing.T) {
	block := startupBlock(t, router.Bash, "")
	for _, tt := range []struct{ text, want string }{
		{"", block},
		{"export A=1\n", "export A=1\n" + block},
		{"export A=1", "export A=1\n" + block},
		{"a\n" + startupBlock(t, router.Zsh, "old") + "b", "a\n" + block + "b"},
		{"a\n\t" + blockBegin + " \r\nold\n" + blockEnd, "a\n" + block},
	} {
		got, err := WithBlock([]byte(tt.text), block)
		if err != nil || string(got) != tt.want {
			t.Errorf("%q: %v\n%s", tt.text, err, got)
		}
		again, err := WithBlock(got, block)
		if err != nil || string(again) != string(got) {
			t.Errorf("%q, the second time: %v\n%s", tt.text, err, again)
		}
	}
}

func TestBlockThatIsNotWhole(t *testing.T) {
	for text, want := range map[string]string{
		"a\n" + blockBegin + "\nb\n": "line 2 begins a block of runloop that does not end",
		blockEnd + "\n":              "line 1 ends a block of runloop that does not begin",
		blockBegin + "\n" + blockBegin + "\n" + blockEnd + "\n":            "line 2 begins a second block",
		startupBlock(t, router.Zsh, "") + startupBlock(t, router.Bash, ""): "begins a second block",
		"a\x00b": "no text",
	} {
		if _, err := WithBlock([]byte(text), "x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("enabling in %q: %v, want %q", text, err, want)
		}
		if _, err := WithoutBlock([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("disabling in %q: %v, want %q", text, err, want)
		}
	}
}

// TestBlockGoesAsItCame: whatever a startup file holds, taking the block out
// gives back what was there.
func TestBlockGoesAsItCame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.StringMatching(`[a-z#<> '"\\\t\r]{0,12}`)).Draw(t, "lines")
		text := strings.Join(lines, "\n")
		if text != "" {
			text += "\n"
		}
		block, err := StartupBlock(router.Bash, rapid.String().Draw(t, "opening"))
		if err != nil {
			return // a name that is none
		}
		with, err := WithBlock([]byte(text), block)
		if err != nil {
			t.Fatal(err)
		}
		without, err := WithoutBlock(with)
		if err != nil || string(without) != text {
			t.Fatalf("%v\n%q\n%q", err, without, text)
		}
	})
}

// TestBlockIsHarmless: in a shell that is not interactive, and without rlp, the
// block does nothing and says nothing, under the strictest options too.
func TestBlockIsHarmless(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	for _, flags := range [][]string{{"-eu"}, {"-eui"}} {
		cmd := exec.Command(bash, append(append([]string{"--norc", "--noprofile"}, flags...), "-c",
			startupBlock(t, router.Bash, `it's "$HOME"`)+`printf %s "$RUNLOOP_ROUTER_OPENING_PATH"`)...)
		cmd.Env = []string{"PATH=/nowhere", "HOME=/nowhere", "TERM=dumb"}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		said := strings.Contains(stderr.String(), "rlp") || strings.Contains(stderr.String(), "runloop")
		if err != nil || string(out) != `it's "$HOME"` || said {
			t.Errorf("%v: %v, %q, %s", flags, err, out, stderr.String())
		}
	}
}
