package runloop

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var updateMan = flag.Bool("update-man", false, "write the pages of the manual anew into packaging/man")

var manDir = filepath.Join(root, "packaging", "man")

// TestGeneratedManPages holds the pages of the manual against what they are made
// of: the command trees, and docs/openings.md.
func TestGeneratedManPages(t *testing.T) {
	pages := map[string]string{"runloop-opening.5": openingPage(t)}
	for _, p := range manPages(&IO{}) {
		pages[p.file()] = p.b.String()
	}
	for name, want := range pages {
		file := filepath.Join(manDir, name)
		if *updateMan {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(file)
		if err != nil || string(have) != want {
			t.Errorf("packaging/man/%s is not what it is made of (%v); run make generate", name, err)
		}
	}
	files, err := os.ReadDir(manDir)
	if err != nil || len(files) != len(pages) {
		t.Errorf("packaging/man holds %d files, and there are %d pages; %v", len(files), len(pages), err)
	}
}

// openingPage is runloop-opening(5), made of docs/openings.md.
func openingPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "openings.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "# Openings\n")
	if !found {
		t.Fatal("docs/openings.md begins otherwise")
	}
	// One level up: what is a section there is one here.
	for _, mark := range []string{"\n## ", "\n### "} {
		text = strings.ReplaceAll(text, mark, mark[:1]+mark[2:])
	}
	in := "% RUNLOOP-OPENING 5 " + manDate + " Runloop \"File Formats\"\n# NAME\nrunloop-opening - plans that rlp run carries out\n\n" +
		"# DESCRIPTION\n" + text + "\n# SEE ALSO\n**rlp**(1), **runloopd**(8)\n"
	cmd := exec.Command("go", "tool", "go-md2man")
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("go-md2man: %v\n%s", err, said.String())
	}
	return ".\\\" Made of docs/openings.md by make generate: a change here is lost.\n" + foldFilled(out.String())
}

// foldFilled breaks long lines of filled text, which the escapes of fonts make
// long.
func foldFilled(page string) string {
	var b strings.Builder
	filled := true
	for line := range strings.SplitAfterSeq(page, "\n") {
		switch strings.TrimSpace(line) {
		case ".EX", ".nf", ".TS":
			filled = false
		case ".EE", ".fi", ".TE":
			filled = true
		}
		if filled && len(line) > manWidth && line[0] != '.' {
			for part := range strings.SplitSeq(wrap(line, manWidth), "\n") {
				if part[0] == '.' || part[0] == '\'' {
					part = `\&` + part
				}
				b.WriteString(part + "\n")
			}
			continue
		}
		b.WriteString(line)
	}
	return b.String()
}

// TestManPagesAreClean has mandoc look at them.
func TestManPagesAreClean(t *testing.T) {
	needPrograms(t, "mandoc")
	files, err := filepath.Glob(filepath.Join(manDir, "*.[1-8]"))
	if err != nil || len(files) == 0 {
		t.Fatal("no pages", err)
	}
	for _, f := range files {
		if out, err := exec.Command("mandoc", "-Tlint", f).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// TestManPagesSayAll: every command and flag is in the page of its applet, as
// mandoc shows it.
func TestManPagesSayAll(t *testing.T) {
	needPrograms(t, "mandoc")
	for _, p := range manPages(&IO{}) {
		cmd := exec.Command("mandoc", "-Tascii", "-Owidth=200")
		cmd.Stdin = strings.NewReader(p.b.String())
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		shown := withoutOverstrikes(string(out))
		eachDoc(func(d *commandDoc) {
			if strings.Fields(d.path)[0] != p.name {
				return
			}
			if len(d.subs) == 0 && !strings.Contains(shown, d.path) {
				t.Errorf("%s does not tell of %s", p.file(), d.path)
			}
			for i := range d.flags {
				if !strings.Contains(shown, d.flags[i].spelled()) {
					t.Errorf("%s does not tell of %s %s", p.file(), d.path, d.flags[i].spelled())
				}
			}
		})
		for _, row := range append(exitCodeRows[:6:6], environmentRows...) {
			if !strings.Contains(shown, row[0]) {
				t.Errorf("%s does not tell of %s", p.file(), row[0])
			}
		}
	}
}

// withoutOverstrikes takes bold letters, x backspace x, as plain ones.
func withoutOverstrikes(s string) string {
	var out []rune
	for _, r := range s {
		if r == '\b' && len(out) > 0 {
			out = out[:len(out)-1]
			continue
		}
		out = append(out, r)
	}
	return string(out)
}

func TestManText(t *testing.T) {
	for in, want := range map[string]string{
		`a\nb`: `a\enb`, "--json": `\-\-json`, "a…": `a\[u2026]`, "~/x 'y'": `\(ti/x \(aqy\(aq`,
	} {
		if got := manText(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := manProse("read-only, as (--json) says"); got != `read-only, as (\-\-json) says` {
		t.Errorf("%q", got)
	}
}
