package wasm

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runloop-os/runloop/rmp"
)

// Lengths, in bytes, of what is masked: anything shorter is found everywhere.
const (
	redactMin     = 4  // a secret
	redactPartMin = 6  // the part of its base64 form that is its alone
	redactLineMin = 16 // one line of a secret of several lines
)

// Redactor knows the secrets that were handed out and masks them in all that
// goes out, in any of the encodings that text is commonly put into: as it is,
// escaped for JSON or a URL, hex, and base64 wherever in the encoded bytes the
// secret stands. The zero value knows none. Its methods may be called from
// several goroutines.
type Redactor struct {
	mu       sync.Mutex
	known    map[string]bool
	all      []redactedForm // longest first
	replacer atomic.Pointer[strings.Replacer]
}

// redactedForm is one form of a secret and what stands in its place.
type redactedForm struct{ text, mask string }

// Add makes the value of a secret known by the id that stands in its place.
func (r *Redactor) Add(id, value string) {
	value = strings.TrimSpace(value) // files end in a newline
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(value) < redactMin || r.known[value] {
		return
	}
	if r.known == nil {
		r.known = map[string]bool{}
	}
	r.known[value] = true
	mask := secretMask(id)
	for _, text := range secretForms(value) {
		r.all = append(r.all, redactedForm{text, mask})
	}
	slices.SortStableFunc(r.all, func(a, b redactedForm) int { return cmp.Compare(len(b.text), len(a.text)) })
	var pairs []string
	for _, f := range r.all {
		pairs = append(pairs, f.text, f.mask)
	}
	r.replacer.Store(strings.NewReplacer(pairs...))
}

// secretMask is what stands in the place of a secret.
func secretMask(id string) string { return "[secret " + id + "]" }

// Redact masks every known secret in text.
func (r *Redactor) Redact(text string) string {
	if p := r.replacer.Load(); p != nil {
		return p.Replace(text)
	}
	return text
}

// redactJSON masks secrets in the strings of a JSON value, keys included; one
// in which there are none comes back as it is.
func (r *Redactor) redactJSON(doc []byte) []byte {
	if r.replacer.Load() == nil {
		return doc
	}
	text := string(doc)
	if !strings.Contains(text, `\u`) && r.Redact(text) == text {
		return doc // escapes aside, what is in a string is in the text
	}
	masked, err := r.redactStrings(doc)
	if err != nil { // two keys became one
		return []byte(`"[redacted]"`)
	}
	return masked
}

func (r *Redactor) redactStrings(doc []byte) ([]byte, error) {
	var out bytes.Buffer
	in, to := jsontext.NewDecoder(bytes.NewReader(doc)), jsontext.NewEncoder(&out)
	for {
		tok, err := in.ReadToken()
		if err == io.EOF {
			return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
		}
		if err == nil && tok.Kind() == '"' {
			tok = jsontext.String(r.Redact(tok.String()))
		}
		if err == nil {
			err = to.WriteToken(tok)
		}
		if err != nil {
			return nil, err
		}
	}
}

// redactMsgpack masks secrets in the strings of a MsgPack value.
func (r *Redactor) redactMsgpack(value []byte) []byte {
	if r.replacer.Load() == nil || len(value) == 0 {
		return value
	}
	doc, err := rmp.AppendJSON(nil, value)
	if err != nil {
		return value // it was never valid, and leads nowhere
	}
	masked := r.redactJSON(doc)
	if bytes.Equal(masked, doc) {
		return value
	}
	packed, err := rmp.AppendMsgpack(nil, masked)
	if err != nil {
		return emptyMap // it came out of an encoder, and can be packed
	}
	return packed
}

// secretForms lists how a value may show up in text. Two encodings may lie over
// each other when the outer one is JSON or base64, as in a document that quotes
// another.
func secretForms(value string) []string {
	parts := []string{value}
	for _, line := range strings.Split(value, "\n") {
		line = strings.TrimSpace(line)
		if line != value && len(line) >= redactLineMin && !strings.HasPrefix(line, "-----") {
			parts = append(parts, line)
		}
	}
	var forms []string
	for _, part := range parts {
		for _, form := range textForms(part) {
			forms = append(forms, form, jsonForm(form, false), jsonForm(form, true))
			forms = append(forms, base64Forms(form)...)
		}
	}
	slices.Sort(forms)
	return slices.Compact(forms)
}

func textForms(value string) []string {
	forms := []string{
		value, jsonForm(value, false), jsonForm(value, true), asciiJSON(value),
		url.QueryEscape(value), url.PathEscape(value),
		lowerEscapes(url.QueryEscape(value)), lowerEscapes(url.PathEscape(value)),
		percentAll(value),
		hex.EncodeToString([]byte(value)), strings.ToUpper(hex.EncodeToString([]byte(value))),
	}
	slices.Sort(forms)
	return slices.Compact(forms)
}

// jsonForm is value as it stands between the quotes of a JSON string.
func jsonForm(value string, html bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	if e.Encode(value) != nil {
		return value // a string always has a JSON form
	}
	quoted := strings.TrimSuffix(b.String(), "\n")
	return quoted[1 : len(quoted)-1]
}

// asciiJSON is the JSON form of encoders that write ASCII only.
func asciiJSON(value string) string {
	var b strings.Builder
	for _, r := range jsonForm(value, false) {
		switch {
		case r < 0x80:
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// lowerEscapes writes the digits of percent-escapes in lower case.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

// percentAll escapes what is not a letter or digit, as encoders do that know
// no unreserved characters.
func percentAll(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// base64Forms are the characters that a value brings into base64 text at each
// of the three places where it may begin in a group, without those that it
// shares with its neighbours. For the first place this covers the padded forms.
func base64Forms(value string) []string {
	var forms []string
	for shift := range 3 {
		padded := append(make([]byte, shift), value...)
		first := (shift*8 + 5) / 6  // characters before are of the bytes before
		last := len(padded) * 8 / 6 // and those behind, of the bytes behind
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			form := enc.EncodeToString(padded)[first:last]
			if len(form) >= redactPartMin {
				forms = append(forms, form, url.QueryEscape(form))
			}
		}
	}
	return forms
}
