package pog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/emersion/go-vcard"
)

// Bounds of a vCard file. A card with a large picture is cut off from the
// picture on, not refused.
const (
	maxVCardFile = 256 << 20
	maxCardBytes = 256 << 10 // that are kept; longer lines are dropped
	maxCardLine  = 64 << 10
)

// importVCards reads a file of vCards, version 3.0 (RFC 2426) or 4.0
// (RFC 6350), or all such files of a folder. A broken card is reported by its
// line and left out.
func importVCards(ctx context.Context, job *importJob, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	files := []string{path}
	if info.IsDir() {
		files = cardFiles(path)
	}
	for _, file := range files {
		if err := importCardFile(ctx, job, file); err != nil {
			return err
		}
	}
	return nil
}

func isCardFile(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	return ext == ".vcf" || ext == ".vcard"
}

// cardFiles lists the vCard files right in a folder, by name.
func cardFiles(dir string) []string {
	var files []string
	entries, _ := os.ReadDir(dir) // sorted; what cannot be read shows later
	for _, e := range entries {
		if e.Type().IsRegular() && isCardFile(e.Name()) {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files
}

func importCardFile(ctx context.Context, job *importJob, path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &StorageError{Code: ErrNotRegular, Op: "import", Path: path}
	}
	if info.Size() > maxVCardFile {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrQuery, info.Size(), maxVCardFile)
	}
	r := &cardReader{in: bufio.NewReaderSize(f, 64<<10), job: job, file: filepath.Base(path)}
	for {
		card, line, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		delta, err := deltaOfCard(card)
		if err != nil {
			job.skip(r.file, line, "%v", err)
			continue
		}
		if err := job.add(ctx, importEntry{delta, r.file, line}); err != nil {
			return err
		}
	}
}

// cardReader cuts a file into cards. It does so itself, so that a card that
// does not end takes only itself along, and every card has a line number.
type cardReader struct {
	in   *bufio.Reader
	job  *importJob
	file string
	line int // number of the last line read
	held string
}

// next returns the text of one card, from BEGIN to END, and its line.
func (r *cardReader) next() (card string, begin int, err error) {
	var b strings.Builder
	for {
		line, err := r.readLine()
		if err != nil {
			if errors.Is(err, io.EOF) && begin > 0 {
				r.job.skip(r.file, begin, "the card does not end")
			}
			return "", 0, err
		}
		switch property := strings.ToUpper(strings.TrimSpace(line)); {
		case property == "BEGIN:VCARD":
			if begin > 0 {
				r.job.skip(r.file, begin, "the card does not end before the next begins")
			}
			b.Reset()
			begin = r.line
		case begin == 0 && property != "":
			r.job.note(r.file, r.line, "text outside of a card")
			continue
		case begin == 0:
			continue
		}
		end := strings.EqualFold(strings.TrimSpace(line), "END:VCARD")
		if end || b.Len()+len(line) <= maxCardBytes {
			b.WriteString(line + "\r\n")
		}
		if end {
			return b.String(), begin, nil
		}
	}
}

// readLine returns one unfolded line. A line longer than maxCardLine, which
// is a picture, loses its value.
func (r *cardReader) readLine() (string, error) {
	line, err := r.rawLine()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(line)
	for {
		next, err := r.in.Peek(1)
		if err != nil || next[0] != ' ' && next[0] != '\t' {
			break
		}
		more, err := r.rawLine()
		if err != nil {
			break
		}
		if b.Len() <= maxCardLine {
			b.WriteString(more[1:])
		}
	}
	if line = b.String(); len(line) > maxCardLine {
		name, _, _ := strings.Cut(line[:256], ":")
		name, _, _ = strings.Cut(name, ";")
		line = "X-DROPPED-" + strings.ToValidUTF8(name, "") + ":"
	}
	return line, nil
}

// rawLine returns one physical line without its end, cut at maxCardLine+1
// bytes. Only a first byte order mark is dropped.
func (r *cardReader) rawLine() (string, error) {
	var b strings.Builder
	for {
		part, err := r.in.ReadSlice('\n')
		if room := maxCardLine + 1 - b.Len(); room > 0 {
			b.Write(part[:min(room, len(part))])
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && b.Len() == 0:
			return "", io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return "", err
		}
		break
	}
	r.line++
	line := strings.TrimRight(b.String(), "\r\n")
	if r.line == 1 {
		line = strings.TrimPrefix(line, "\ufeff")
	}
	return line, nil
}

// deltaOfCard turns the text of a card into a delta.
func deltaOfCard(doc string) (Delta, error) {
	if !utf8.ValidString(doc) {
		return Delta{}, errors.New("the card is not UTF-8")
	}
	card, err := vcard.NewDecoder(strings.NewReader(doc)).Decode()
	if err != nil {
		return Delta{}, err
	}
	if v := card.Value(vcard.FieldVersion); v != "3.0" && v != "4.0" {
		return Delta{}, fmt.Errorf("vCard version %.20q; 3.0 and 4.0 are supported", v)
	}
	c := cardContact(card)
	if c.Name == "" {
		return Delta{}, errors.New("the card has no name")
	}
	d, err := NewDelta("contact.upserted", c)
	d.Provenance.Source = "vcard"
	return d, err
}

// importedContact is the payload; empty fields are left out of it.
type importedContact struct {
	Name       string   `json:"name"`
	Email      string   `json:"email,omitempty"`
	Emails     []string `json:"emails,omitempty"`
	Org        string   `json:"org,omitempty"`
	Title      string   `json:"title,omitempty"`
	ExternalID string   `json:"external_id,omitempty"`
	Tags       []string `json:"tags,omitempty"`
}

// cardContact takes over what the graph has a use for; the rest of a card
// stays where it is.
func cardContact(card vcard.Card) importedContact {
	c := importedContact{
		Name:       cut(value1(card, vcard.FieldFormattedName), 200),
		Title:      cut(value1(card, vcard.FieldTitle), 200),
		ExternalID: cut(value1(card, vcard.FieldUID), 400),
	}
	// Units follow the organisation after semicolons; one in a name is escaped.
	org := strings.ReplaceAll(value1(card, vcard.FieldOrganization), `\;`, "\x00")
	org, _, _ = strings.Cut(org, ";")
	c.Org = cut(strings.ReplaceAll(org, "\x00", ";"), 200)
	if n := card.Name(); c.Name == "" && n != nil {
		parts := strings.Fields(n.GivenName + " " + n.AdditionalName + " " + n.FamilyName)
		c.Name = cut(strings.Join(parts, " "), 200)
	}
	if c.Name == "" {
		c.Name = c.Org
	}
	preferred := cleanAddress(card.PreferredValue(vcard.FieldEmail))
	c.Email = preferred
	for _, address := range card.Values(vcard.FieldEmail) {
		if a := cleanAddress(address); a != "" && a != preferred && len(c.Emails) < 32 {
			c.Emails = append(c.Emails, a)
		}
	}
	c.Tags = cleanTags(card.Categories())
	return c
}

// value1 is the first value of a property, on one line.
func value1(card vcard.Card, property string) string {
	return strings.Join(strings.Fields(card.Value(property)), " ")
}

func cleanAddress(address string) string {
	address = strings.TrimSpace(address)
	if len(address) > 7 && strings.EqualFold(address[:7], "mailto:") {
		address = address[7:]
	}
	return address
}
