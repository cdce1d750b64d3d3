package pog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func importOK(t testing.TB, s *Store, path string) *ImportReport {
	t.Helper()
	r, err := s.Import(context.Background(), User(), ImportRequest{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// write puts files below dir; a name ending in a slash is a folder.
func write(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestSampleData imports what the demo uses and finds what it needs there.
func TestSampleData(t *testing.T) {
	s := newStore(t)
	people := importOK(t, s, "../testdata/people")
	if people.Format != "vcard" || people.Added != 8 || people.Skipped != 0 {
		t.Errorf("%+v", people)
	}
	notes := importOK(t, s, "../testdata/notes")
	if notes.Format != "notes" || notes.Added != 10 || notes.Skipped != 0 {
		t.Errorf("%+v", notes)
	}
	for _, path := range []string{"../testdata/people", "../testdata/notes"} {
		if r := importOK(t, s, path); r.Added != 0 || r.Unchanged < 8 || r.Skipped != 0 {
			t.Errorf("a second import of %s: %+v", path, r)
		}
	}
	if got := query(t, s, AllReader(), `SELECT name FROM contacts WHERE first_norm = 'john' ORDER BY name`); got != "John Okafor\nJohn Smith" {
		t.Error(got)
	}
	if got := query(t, s, AllReader(), `SELECT name, org FROM contacts WHERE email IS NULL`); got != "Ana María Pérez|<nil>" {
		t.Error(got)
	}
	if got := query(t, s, AllReader(), `SELECT org, emails FROM contacts WHERE name_norm = norm('mei tanaka') OR name_norm = 'john okafor' ORDER BY name`); got !=
		`Harbor Labs|["john@home.example.net"]`+"\nHarbor Labs|<nil>" {
		t.Error(got)
	}
	hits := search(t, s, AllReader(), SearchRequest{Text: "Q4 plan", Domains: []Domain{DomainNotes}, K: 4})
	if len(hits) < 2 || len(hits) > 4 || hits[0].Title != "Q4 plan" {
		t.Errorf("Q4 plan finds %s", titles(hits))
	}
	if got := titles(search(t, s, AllReader(), SearchRequest{Text: "jon smit", K: 1})); got != "John Smith" {
		t.Error(got)
	}
	verifyOK(t, s)
}

const card = "BEGIN:VCARD\r\nVERSION:%s\r\n%s\r\nEND:VCARD\r\n"

func TestVCards(t *testing.T) {
	long := strings.Repeat("x", 3000)
	dir := write(t, t.TempDir(), map[string]string{"all.vcf": "\ufeff" +
		fmt.Sprintf(card, "3.0", "FN:Folded \r\n Name\r\nEMAIL;TYPE=INTERNET:folded@exam\r\n ple.com\r\nNOTE:a\\nb") + // lines 1-8
		fmt.Sprintf(card, "4.0", "N:Family;Given;Middle;;\r\nUID:urn:uuid:1\r\nEMAIL:a@example.com\r\nEMAIL;PREF=1:mailto:b@example.com\r\nORG:Acme\\; Inc;Sales") + // 9-16
		"junk between\r\n" + // 17
		fmt.Sprintf(card, "2.1", "FN:Old") + // 18
		fmt.Sprintf(card, "4.0", "EMAIL:nameless@example.com") + // 22
		"BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Unfinished\r\n" + // 26
		fmt.Sprintf(card, "4.0", "FN:Bad address\r\nEMAIL:not an address") + // 29
		fmt.Sprintf(card, "4.0", "FN:Bad\xff") + // 34
		fmt.Sprintf(card, "4.0", "FN:Picture\r\nPHOTO;ENCODING=b:"+strings.Repeat(long+"\r\n ", 200)) +
		strings.ReplaceAll(fmt.Sprintf(card, "4.0", "FN:Unix lines"), "\r\n", "\n") +
		fmt.Sprintf(card, "4.0", "FN:"+strings.Repeat("long ", 100)) +
		fmt.Sprintf(card, "4.0", "item1.FN:Grouped\r\nitem1.EMAIL;type=pref:g@example.com\r\nCATEGORIES:a,b,a") +
		"BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Last"})
	s := newStore(t)
	var progress []ImportReport
	r, err := s.Import(t.Context(), User(), ImportRequest{Path: filepath.Join(dir, "all.vcf"), Progress: func(r ImportReport) { progress = append(progress, r) }})
	if err != nil {
		t.Fatal(err)
	}
	if r.Added != 6 || r.Skipped != 6 || len(progress) == 0 || progress[len(progress)-1].Added != r.Added {
		t.Errorf("%d added, %d skipped, %d progress reports", r.Added, r.Skipped, len(progress))
	}
	var problems []string
	for _, p := range r.Problems {
		problems = append(problems, p.String())
	}
	slices.SortFunc(problems, func(a, b string) int { return len(a[:strings.Index(a, ": ")]) - len(b[:strings.Index(b, ": ")]) })
	slices.Sort(problems[:len(problems)-1]) // the last has a line of three digits
	for i, want := range []string{
		"all.vcf:17: text outside of a card", "all.vcf:18: vCard version \"2.1\"", "all.vcf:22: the card has no name",
		"all.vcf:26: the card does not end before the next begins", "all.vcf:29: payload.email: pattern", "all.vcf:34: the card is not UTF-8",
	} {
		if i >= len(problems) || !strings.HasPrefix(problems[i], want) {
			t.Errorf("problem %d of %q, want %s", i, problems, want)
		}
	}
	if last := problems[len(problems)-1]; !strings.HasSuffix(last, "the card does not end") {
		t.Error(last)
	}
	if got := query(t, s, AllReader(), `SELECT name, email, emails, org, tags, external_id FROM contacts WHERE length(name) < 30 ORDER BY id`); got != strings.Join([]string{
		"Folded Name|folded@example.com|<nil>|<nil>|<nil>|<nil>", `Given Middle Family|b@example.com|["a@example.com"]|Acme; Inc|<nil>|urn:uuid:1`,
		"Picture|<nil>|<nil>|<nil>|<nil>|<nil>", "Unix lines|<nil>|<nil>|<nil>|<nil>|<nil>", `Grouped|g@example.com|<nil>|<nil>|["a","b"]|<nil>`}, "\n") {
		t.Errorf("contacts:\n%s", got)
	}
	if again := importOK(t, s, filepath.Join(dir, "all.vcf")); again.Added != 0 || again.Unchanged != 6 {
		t.Errorf("again: %+v", again)
	}
}

func FuzzVCard(f *testing.F) {
	f.Add("BEGIN:VCARD\r\nVERSION:4.0\r\nFN:A\r\nEND:VCARD\r\n")
	f.Add("BEGIN:VCARD\nFN;X=\"a:b\nEND:VCARD")
	s, err := Open(context.Background(), Options{Dir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	path := filepath.Join(f.TempDir(), "x.vcf")
	f.Fuzz(func(t *testing.T, doc string) {
		if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := s.Import(t.Context(), User(), ImportRequest{Path: path, DryRun: true})
		if err != nil {
			t.Fatalf("%q: %v", doc, err)
		}
		if n := strings.Count(strings.ToUpper(doc), "BEGIN:VCARD"); r.Added+r.Unchanged+r.Skipped > n {
			t.Fatalf("%q: %+v of %d cards", doc, r, n)
		}
	})
}

func TestNotes(t *testing.T) {
	root := t.TempDir()
	secret := write(t, filepath.Join(root, "outside"), map[string]string{"secret.md": "# TOPSECRET"})
	dir := write(t, filepath.Join(root, "work"), map[string]string{
		"yaml.md":         "---\ntitle: From YAML\ntags: [a, '#b', a]\ndate: 2026-01-02\nother: {x: 1}\n---\n# Heading\ntext",
		"toml.md":         "+++\ntitle = \"From TOML\"\ntags = [\"c\"]\ndate = 2026-01-02\n+++\ntext",
		"tags.md":         "---\ntags: x, y\n---\ntext",
		"deep/er/down.md": "intro\n\n```sh\n# not a heading\n```\n\n## From heading ##\n",
		"crlf.markdown":   "# Windows\r\n\r\ntext\r\n",
		"bom.md":          "\ufeff# With mark",
		"empty.md":        "",
		"line.md":         "---\n\nonly a line across\n",
		"bad-front.md":    "---\ntitle: [unclosed\n---\ntext",
		"bomb.md":         "---\na: &a [x, x]\nb: *a\n---\ntext",
		"binary.md":       "PNG\x00\x01",
		"latin.md":        "caf\xe9",
		"large.md":        strings.Repeat("x", maxNoteBytes+1),
		"just-fits.md":    strings.Repeat("y", maxNoteBytes),
		"other.txt":       "not a note",
		".hidden.md":      "# hidden",
		".git/note.md":    "# hidden too",
		"title: colon.md": "text",
	})
	for link, target := range map[string]string{"link.md": filepath.Join(secret, "secret.md"), "up.md": "../outside/secret.md", "dir": secret, "inside.md": "yaml.md"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.md"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStore(t)
	dry, err := s.Import(t.Context(), User(), ImportRequest{Path: dir, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if h, _ := s.Head(t.Context()); h.EventID != 0 {
		t.Errorf("a dry run wrote %d events", h.EventID)
	}
	r := importOK(t, s, dir)
	if r.Added != 12 || r.Skipped != 7 || dry.Added != r.Added || dry.Skipped != r.Skipped {
		t.Errorf("dry run %+v\nimport %+v", dry, r)
	}
	var problems []string
	for _, p := range r.Problems {
		problems = append(problems, p.String())
	}
	slices.Sort(problems)
	want := []string{"bad-front.md:1: front matter: ", "binary.md: binary", "bomb.md:1: front matter: anchors", "inside.md: a symbolic link",
		"large.md: larger than", "latin.md: binary, or not UTF-8", "link.md: a symbolic link", "pipe.md: a named pipe", "up.md: a symbolic link"}
	for i := range want {
		if i >= len(problems) || !strings.HasPrefix(problems[i], want[i]) {
			t.Errorf("problem %d of %q, want %q", i, problems, want[i])
		}
	}
	if got := query(t, s, AllReader(), `SELECT title, tags, source FROM notes ORDER BY source`); got != strings.Join([]string{
		"bad-front|<nil>|work/bad-front.md", "With mark|<nil>|work/bom.md", "bomb|<nil>|work/bomb.md", "Windows|<nil>|work/crlf.markdown",
		"From heading|<nil>|work/deep/er/down.md", "empty|<nil>|work/empty.md", "just-fits|<nil>|work/just-fits.md", "line|<nil>|work/line.md",
		`tags|["x","y"]|work/tags.md`, "title: colon|<nil>|work/title: colon.md", `From TOML|["c"]|work/toml.md`, `From YAML|["a","b"]|work/yaml.md`}, "\n") {
		t.Errorf("notes:\n%s", got)
	}
	if hits := search(t, s, AllReader(), SearchRequest{Text: "TOPSECRET"}); len(hits) > 0 {
		t.Errorf("a link out of the folder was followed: %s", titles(hits))
	}
	if again := importOK(t, s, dir); again.Added != 0 || again.Unchanged != 12 {
		t.Errorf("again: %+v", again)
	}
	if one := importOK(t, s, filepath.Join(dir, "yaml.md")); one.Unchanged != 1 || one.Added != 0 {
		t.Errorf("one file of it: %+v", one)
	}
}

// TestNotesChange follows a note that is changed, changed back, and changed
// again: the view is always what the file says.
func TestNotesChange(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t)
	for i, text := range []string{"one", "two", "one", "one", "two", "three", "one", "two"} {
		write(t, dir, map[string]string{"n.md": text, "other.md": "the same"})
		r := importOK(t, s, dir)
		changed := i == 0 || i != 3
		if want := map[bool]int{true: 1, false: 0}[changed]; i > 0 && (r.Added != want || r.Added+r.Unchanged != 2) {
			t.Errorf("step %d, %q: %+v", i, text, r)
		}
		if got := query(t, s, AllReader(), `SELECT body FROM notes WHERE title = 'n'`); got != text {
			t.Errorf("step %d: the note says %q, want %q", i, got, text)
		}
	}
	verifyOK(t, s)
}

func TestImportRefuses(t *testing.T) {
	s := newStore(t)
	dir := write(t, t.TempDir(), map[string]string{"a.pdf": "x", "b.vcf": "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:A\r\nEND:VCARD\r\n"})
	for name, req := range map[string]ImportRequest{
		"absent": {Path: filepath.Join(dir, "none.vcf")}, "format": {Path: filepath.Join(dir, "a.pdf")}, "name": {Path: filepath.Join(dir, "b.vcf"), Format: "docx"},
		"device": {Path: "/dev/null", Format: "vcard"},
	} {
		if _, err := s.Import(t.Context(), User(), req); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := s.Import(t.Context(), Agent("x", DomainNotes), ImportRequest{Path: filepath.Join(dir, "b.vcf")}); !errors.Is(err, ErrDenied) {
		t.Errorf("an agent without contacts: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Import(ctx, User(), ImportRequest{Path: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if h, _ := s.Head(t.Context()); h.EventID != 0 {
		t.Errorf("%d events", h.EventID)
	}
}

// TestManyCards imports more than a batch, is stopped in between, and goes on.
func TestManyCards(t *testing.T) {
	var b strings.Builder
	const n = 3*importBatch + 17
	for i := range n {
		fmt.Fprintf(&b, "BEGIN:VCARD\r\nVERSION:4.0\r\nUID:u%d\r\nFN:Person %d\r\nEMAIL:p%d@example.com\r\nEND:VCARD\r\n", i, i, i)
	}
	dir := write(t, t.TempDir(), map[string]string{"many.vcf": b.String()})
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := s.Import(ctx, User(), ImportRequest{Path: filepath.Join(dir, "many.vcf"), Progress: func(ImportReport) { cancel() }})
	if !errors.Is(err, context.Canceled) || r.Added != importBatch {
		t.Errorf("stopped: %+v, %v", r, err)
	}
	r = importOK(t, s, filepath.Join(dir, "many.vcf"))
	if r.Unchanged != importBatch || r.Added != n-importBatch {
		t.Errorf("resumed: %+v", r)
	}
	if got := query(t, s, AllReader(), `SELECT count(*) FROM contacts`); got != fmt.Sprint(n) {
		t.Error(got)
	}
}

func FuzzFrontMatter(f *testing.F) {
	f.Add("---\ntitle: x\n---\nbody")
	f.Add("+++\ntitle = 'x'\n+++\n")
	f.Add("---\na: &a [*a]\n---\n")
	f.Fuzz(func(t *testing.T, doc string) {
		note, _ := parseNote(doc, "name.md")
		if note.Title == "" || len([]rune(note.Title)) > 300 {
			t.Fatalf("title %q", note.Title)
		}
	})
}

// TestFrontMatterBombs gives the parsers what they might choke on.
func TestFrontMatterBombs(t *testing.T) {
	for name, inner := range map[string]string{
		"deep": strings.Repeat("[", 16_000), "deep maps": strings.Repeat("{a: ", 4000), "deep blocks": strings.Repeat("- ", 8000),
		"keys": strings.Repeat("a: 1\n", 3000), "quotes": strings.Repeat("\"", 16_000), "anchors": strings.Repeat("&a ", 5000), "tags": strings.Repeat("!!x ", 4000),
		"too large": strings.Repeat("a", maxFrontMatter+1),
	} {
		for _, fence := range []string{"---\n", "+++\n"} {
			doc := fence + inner + "\n" + fence + "body"
			if note, _ := parseNote(doc, "n.md"); note.Title == "" {
				t.Errorf("%s %q: no title", name, fence)
			}
		}
	}
}
