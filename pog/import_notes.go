package pog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"
)

// Bounds of a folder of notes.
const (
	maxNoteBytes = 256 << 10
	maxNoteFiles = 200_000
)

// importNotes reads a folder of Markdown files, or one file. A note is named
// by its path below the folder, so that a changed file replaces its note.
// Hidden files and folders are passed over; symbolic links are reported, not
// followed.
func importNotes(ctx context.Context, job *importJob, name string) error {
	abs, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return err
	}
	dir, start := abs, "."
	if !info.IsDir() {
		dir, start = filepath.Dir(abs), filepath.Base(abs)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	n := noteReader{root: root, job: job, prefix: filepath.Base(dir)}
	return fs.WalkDir(root.FS(), start, func(p string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			job.skip(p, 0, "%v", err)
			return nil
		}
		return n.visit(ctx, p, d)
	})
}

// noteReader reads files through root, which no path or link leaves.
type noteReader struct {
	root   *os.Root
	job    *importJob
	prefix string
	files  int
}

func (n *noteReader) visit(ctx context.Context, p string, d fs.DirEntry) error {
	hidden := p != "." && strings.HasPrefix(d.Name(), ".")
	if d.IsDir() {
		if hidden {
			return fs.SkipDir
		}
		return nil
	}
	ext := strings.ToLower(path.Ext(p))
	if hidden || ext != ".md" && ext != ".markdown" {
		return nil
	}
	if n.files++; n.files > maxNoteFiles {
		return fmt.Errorf("%w: more than %d notes", ErrQuery, maxNoteFiles)
	}
	if !d.Type().IsRegular() {
		n.job.skip(p, 0, "%s, not read", describeMode(d.Type()))
		return nil
	}
	doc, err := n.read(p)
	if err != nil {
		n.job.skip(p, 0, "%v", err)
		return nil
	}
	note, err := parseNote(doc, p)
	if err != nil {
		n.job.note(p, 1, "front matter: %v; imported as text", err)
	}
	note.Source = cut(path.Join(n.prefix, p), 1000)
	delta, err := NewDelta("note.added", note)
	if err != nil {
		return err
	}
	delta.Provenance.Source = "notes"
	return n.job.add(ctx, importEntry{delta: delta, file: p})
}

// read returns the contents of one file. It opens without blocking: what the
// folder listed as a file may be a pipe by now.
func (n *noteReader) read(p string) (string, error) {
	f, err := n.root.OpenFile(filepath.FromSlash(p), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(err, errors.New("not a regular file"))
	}
	doc, err := io.ReadAll(io.LimitReader(f, maxNoteBytes+1))
	switch {
	case err != nil:
		return "", err
	case len(doc) > maxNoteBytes:
		return "", fmt.Errorf("larger than %d bytes", maxNoteBytes)
	case bytes.IndexByte(doc, 0) >= 0 || !utf8.Valid(doc):
		return "", errors.New("binary, or not UTF-8")
	}
	text := strings.TrimPrefix(string(doc), "\ufeff")
	return strings.ReplaceAll(text, "\r\n", "\n"), nil
}

// importedNote is the payload; empty fields are left out of it.
type importedNote struct {
	Title  string            `json:"title"`
	Body   string            `json:"body"`
	Source string            `json:"source"`
	Tags   []string          `json:"tags,omitempty"`
	Meta   map[string]string `json:"meta,omitempty"`
}

// parseNote takes a Markdown file apart. The title is the front matter's, or
// the first heading, or the file's name. Front matter that does not parse is
// text: three dashes are also a line across the page.
func parseNote(doc, name string) (importedNote, error) {
	front, body, err := cutFrontMatter(doc)
	note := importedNote{
		Title: cut(front.title, 300), Body: strings.TrimSpace(body), Tags: cleanTags(front.tags),
	}
	if front.date != "" {
		note.Meta = map[string]string{"date": cut(front.date, 64)}
	}
	if note.Title == "" {
		note.Title = cut(firstHeading(note.Body), 300)
	}
	if note.Title == "" {
		note.Title = cut(strings.TrimSuffix(path.Base(name), path.Ext(name)), 300)
	}
	return note, err
}

// firstHeading returns the text of the first ATX heading outside of a fenced
// block (CommonMark sections 4.2 and 4.5).
func firstHeading(body string) string {
	fenced := false
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") || strings.HasPrefix(line, "~~~") {
			fenced = !fenced
		}
		hashes := len(line) - len(strings.TrimLeft(line, "#"))
		if fenced || hashes < 1 || hashes > 6 {
			continue
		}
		if rest := line[hashes:]; strings.HasPrefix(rest, " ") {
			return strings.TrimSpace(strings.TrimRight(rest, "# "))
		}
	}
	return ""
}
