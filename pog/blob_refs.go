package pog

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// A large value of a record is kept as a blob, and the record has a reference in
// its place: {"$blob": hash, "size": bytes}. A value that looks like a reference
// itself is kept as a blob however small it is, and its reference has "raw": true,
// so that nothing an agent puts out is ever taken for a reference.

// blobKey is the member that makes an object a reference.
const blobKey = "$blob"

// blobRef is a reference.
type blobRef struct {
	Blob Hash  `json:"$blob"`
	Raw  bool  `json:"raw,omitempty"`
	Size int64 `json:"size"`
}

// splitter takes large values out of a document.
type splitter struct{ blobs map[Hash][]byte }

// split takes the large values out of some fields of a payload, which is canonical
// JSON and stays it, and out of all fields what looks like a reference. blobs are
// what has to be kept for it.
func split(payload []byte, fields []string) (out []byte, blobs map[Hash][]byte) {
	marked := bytes.Contains(payload, []byte(blobKey))
	if !marked && (len(fields) == 0 || len(payload) < blobMin) {
		return payload, nil
	}
	s := &splitter{blobs: map[Hash][]byte{}}
	out, _ = eachMember(payload, func(name string, value []byte) ([]byte, error) {
		if slices.Contains(fields, name) {
			return s.value(value), nil
		}
		return s.forged(value), nil
	})
	return out, s.blobs
}

// forged gives a value with what looks like a reference taken out, and nothing
// else.
func (s *splitter) forged(v []byte) []byte {
	switch {
	case !bytes.Contains(v, []byte(blobKey)):
	case looksLikeRef(v):
		return s.keep(v, true)
	case v[0] == '{':
		v, _ = eachMember(v, func(_ string, m []byte) ([]byte, error) { return s.forged(m), nil })
	case v[0] == '[':
		v, _ = eachElement(v, func(e []byte) ([]byte, error) { return s.forged(e), nil })
	}
	return v
}

// value gives a value with what is large in it taken out, or a reference to it.
func (s *splitter) value(v []byte) []byte {
	if looksLikeRef(v) {
		return s.keep(v, true)
	}
	small := v
	switch v[0] {
	case '{':
		small, _ = eachMember(v, func(_ string, m []byte) ([]byte, error) { return s.inner(m), nil })
	case '[':
		small, _ = eachElement(v, func(e []byte) ([]byte, error) { return s.inner(e), nil })
	}
	if len(small) >= blobMin {
		return s.keep(small, false)
	}
	return small
}

// inner is value for one that is inside another: most are small and plain.
func (s *splitter) inner(v []byte) []byte {
	if len(v) < blobMin && !bytes.Contains(v, []byte(blobKey)) {
		return v
	}
	return s.value(v)
}

func (s *splitter) keep(v []byte, raw bool) []byte {
	h := blobHash(v)
	s.blobs[h] = v
	ref, err := json.Marshal(blobRef{h, raw, int64(len(v))})
	if err != nil {
		return v // a hash and two numbers always marshal
	}
	return ref
}

// looksLikeRef reports whether a value is an object with the member that makes
// a reference.
func looksLikeRef(v []byte) bool {
	if v[0] != '{' || !bytes.Contains(v, []byte(blobKey)) {
		return false
	}
	found := false
	_, _ = eachMember(v, func(name string, m []byte) ([]byte, error) {
		found = found || name == blobKey
		return m, nil
	})
	return found
}

// whole puts the values back that split took out. A payload as a whole is never a
// reference, whatever its members are called.
func (b blobStore) whole(payload []byte) ([]byte, error) {
	if !bytes.Contains(payload, []byte(`"`+blobKey+`"`)) {
		return payload, nil
	}
	return b.wholeInside(payload)
}

// wholeText is whole for queries: what cannot be put back stays a reference.
func (b blobStore) wholeText(payload string) string {
	doc, err := b.whole([]byte(payload))
	if err != nil {
		return payload
	}
	return string(doc)
}

func (b blobStore) wholeValue(v []byte) ([]byte, error) {
	if !bytes.Contains(v, []byte(`"`+blobKey+`"`)) {
		return v, nil
	}
	switch {
	case looksLikeRef(v):
		return b.resolve(v)
	case v[0] == '{':
		return eachMember(v, func(_ string, m []byte) ([]byte, error) { return b.wholeValue(m) })
	case v[0] == '[':
		return eachElement(v, b.wholeValue)
	}
	return v, nil
}

// resolve fetches what a reference names.
func (b blobStore) resolve(v []byte) ([]byte, error) {
	var ref blobRef
	if err := json.Unmarshal(v, &ref); err != nil {
		return nil, &StorageError{Code: ErrCorrupt, Op: "read", Path: b.dir, Err: err}
	}
	content, err := b.get(ref.Blob, ref.Size)
	if err != nil || ref.Raw {
		return content, err
	}
	return b.wholeInside(content)
}

// wholeInside is wholeValue for the inside of a payload or of a blob, which is
// never a reference itself.
func (b blobStore) wholeInside(v []byte) ([]byte, error) {
	switch v[0] {
	case '{':
		return eachMember(v, func(_ string, m []byte) ([]byte, error) { return b.wholeValue(m) })
	case '[':
		return eachElement(v, b.wholeValue)
	}
	return v, nil
}

// eachMember writes an object anew with other values; names and their order stay.
func eachMember(v []byte, f func(name string, value []byte) ([]byte, error)) ([]byte, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(v)), '{')
	for dec.PeekKind() != '}' {
		quoted, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		quoted = bytes.Clone(quoted)
		var name string
		if err := json.Unmarshal(quoted, &name); err != nil {
			return nil, err
		}
		value, err := dec.ReadValue()
		if err == nil {
			value, err = f(name, bytes.Clone(value))
		}
		if err != nil {
			return nil, err
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, quoted...), ':'), value...)
	}
	return append(out, '}'), nil
}

// eachElement writes a list anew with other values.
func eachElement(v []byte, f func(value []byte) ([]byte, error)) ([]byte, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(v)), '[')
	for dec.PeekKind() != ']' {
		value, err := dec.ReadValue()
		if err == nil {
			value, err = f(bytes.Clone(value))
		}
		if err != nil {
			return nil, err
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, value...)
	}
	return append(out, ']'), nil
}
