package pog

import (
	"bytes"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"lukechampine.com/blake3"
)

// redactor masks email addresses. One address always has the same mask in
// one store, so that joins on it still work, and without the store's salt a
// mask says nothing about the local part beyond its first letter (spec/05).
type redactor struct {
	salt []byte // 32 bytes, in the ledger, never in the views
}

// atSigns are the ways an @ is commonly written inside text; masking must
// not be undone by an encoding.
var atSigns = []string{"@", "＠", "﹫", "%40", `\u0040`, "&#64;", "&#x40;", "&commat;"}

// maxLocalRunes and maxDomainRunes bound how far from an @ an address goes
// (RFC 5321 section 4.5.3.1, with room for encodings).
const (
	maxLocalRunes  = 256
	maxDomainRunes = 256
)

// mask returns text with every address in it masked.
func (r *redactor) mask(text string) string {
	at, width := findAt(text)
	if at < 0 {
		return text
	}
	var b strings.Builder
	for at >= 0 {
		start := localStart(text[:at])
		end := at + width + domainLen(text[at+width:])
		if start == at || end == at+width {
			b.WriteString(text[:at+width])
		} else {
			b.WriteString(text[:start])
			b.WriteString(r.maskAddress(text[start:at], text[at+width:end]))
			text, width, at = text[end:], 0, 0
		}
		text = text[at+width:]
		at, width = findAt(text)
	}
	b.WriteString(text)
	return b.String()
}

// hasAddress says whether mask could change text.
func hasAddress[T string | []byte](text T) bool {
	at, _ := findAt(string(text))
	return at >= 0
}

// findAt returns the place and width of the first @ in text, or -1. It looks
// at every byte once, whatever the text.
func findAt(text string) (at, width int) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '@', '%', '\\', '&', "＠"[0]: // the first bytes of atSigns
			for _, sign := range atSigns {
				if len(text)-i >= len(sign) && strings.EqualFold(text[i:i+len(sign)], sign) {
					return i, len(sign)
				}
			}
		}
	}
	return -1, 0
}

// localStart returns where the local part that ends text begins.
func localStart(text string) int {
	if quoted := strings.TrimSuffix(text, `"`); quoted != text {
		if i := strings.LastIndexByte(quoted, '"'); i >= 0 && len(quoted)-i < maxLocalRunes {
			return i
		}
	}
	start := len(text)
	for range maxLocalRunes {
		r, n := utf8.DecodeLastRuneInString(text[:start])
		if n == 0 || !isLocal(r) {
			break
		}
		start -= n
	}
	return start
}

// isLocal says whether r may be in an unquoted local part (RFC 5322 atext
// and the dot, RFC 6531 beyond ASCII). Marks that usually stand around an
// address in text are left out.
func isLocal(r rune) bool {
	if r == utf8.RuneError {
		return true
	}
	if r > unicode.MaxLatin1 {
		return !unicode.IsSpace(r) && !unicode.IsPunct(r)
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r) ||
		strings.ContainsRune(".!#$%&'*+-/=?^_`{|}~\\", r)
}

// domainLen returns the length of the domain text begins with.
func domainLen(text string) int {
	if strings.HasPrefix(text, "[") {
		if i := strings.IndexByte(text, ']'); i > 1 && i < maxDomainRunes {
			return i + 1
		}
	}
	end, runes := 0, 0
	for _, r := range text {
		if runes++; runes > maxDomainRunes || !isDomain(r) {
			break
		}
		end += utf8.RuneLen(r)
	}
	return len(strings.TrimRight(text[:end], ".-"))
}

func isDomain(r rune) bool {
	return r != utf8.RuneError &&
		(unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || r == '.' || r == '-')
}

// maskAddress is the first letter of the local part, six characters of a
// salted BLAKE3 of the whole address, and the domain. What text put before
// an address without a space (a quote, a Markdown mark, "email=") is allowed
// in a local part but hardly ever is one: it is masked with the address and
// left out of the hash, so that the address keeps its mask there.
func (r *redactor) maskAddress(local, domain string) string {
	local = strings.ToLower(strings.Trim(local, `"`))
	if i := strings.LastIndexAny(local, "!#$&*/=?^{|}~`\\"); i >= 0 && i < len(local)-1 {
		local = local[i+1:]
	}
	if trimmed := strings.TrimLeft(local, "'_.-+%"); trimmed != "" {
		local = trimmed
	}
	domain = strings.ToLower(domain)
	first, _ := utf8.DecodeRuneInString(local)
	if !unicode.IsLetter(first) {
		first = 'x'
	}
	sum := r.sum("mask", local+"@"+domain)
	n := binary.BigEndian.Uint64(sum[:8])
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	var code [6]byte
	for i := range code {
		code[i] = digits[n%36]
		n /= 36
	}
	return string(first) + string(code[:]) + "@" + domain
}

// sum is the salted hash of one thing under one label.
func (r *redactor) sum(label, text string) []byte {
	h := blake3.New(32, r.salt)
	io.WriteString(h, label)
	h.Write([]byte{0})
	io.WriteString(h, text)
	return h.Sum(nil)
}

// key derives the key of an entity from what identifies it. The hash is
// salted: a key must not confirm a guess at an address or a text.
func (r *redactor) key(identity string) string {
	sum := r.sum("key", identity)
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// maskJSON masks every string of a JSON document, names included. What does
// not parse, or has two members of one name afterwards, becomes an empty
// object: nothing may pass unmasked.
func (r *redactor) maskJSON(doc []byte) []byte {
	if !hasAddress(doc) {
		return doc
	}
	var out bytes.Buffer
	dec := jsontext.NewDecoder(bytes.NewReader(doc))
	enc := jsontext.NewEncoder(&out)
	for {
		tok, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return bytes.TrimSpace(out.Bytes())
		}
		if err == nil && tok.Kind() == '"' {
			tok = jsontext.String(r.mask(tok.String()))
		}
		if err == nil {
			err = enc.WriteToken(tok)
		}
		if err != nil {
			return []byte("{}")
		}
	}
}
