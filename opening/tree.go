package opening

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// kind is the type of a value, in the words messages use.
type kind string

const (
	kindNull   kind = "null"
	kindBool   kind = "a boolean"
	kindNumber kind = "a number"
	kindString kind = "a string"
	kindList   kind = "a list"
	kindMap    kind = "a map"

	// kindHole stands where a template could not be filled in or a value could
	// not be read. That has been reported, and nothing else is to be said about
	// the value.
	kindHole kind = "a missing parameter"
)

// tree is a parsed file: JSON's data model with positions. What it came from
// does not show.
type tree struct {
	kind kind
	pos  position
	// text is the value of a string, the canonical literal of a number, and
	// "true" or "false" of a boolean.
	text  string
	plain bool // text stands in the file as it is, from pos on
	items []*tree
	pairs []pair // in the order of the file, each key once
	index map[string]int
}

// pair is one entry of a map.
type pair struct {
	key string
	pos position
	val *tree
}

// get gives the value of key in a map, or nil. The map must be complete.
func (t *tree) get(key string) *tree {
	if len(t.pairs) > 16 && t.index == nil {
		t.index = make(map[string]int, len(t.pairs))
		for i, p := range t.pairs {
			t.index[p.key] = i
		}
	}
	if t.index != nil {
		if i, ok := t.index[key]; ok {
			return t.pairs[i].val
		}
		return nil
	}
	for i := range t.pairs {
		if t.pairs[i].key == key {
			return t.pairs[i].val
		}
	}
	return nil
}

// at is the position of byte i of a string's text, as near as it is known.
func (t *tree) at(i int) position {
	return place{val: t.pos, plain: t.plain}.inside(t.text, i)
}

// appendJSON writes the tree as JSON, without positions.
func (t *tree) appendJSON(dst []byte) []byte {
	switch t.kind {
	case kindNull, kindHole:
		return append(dst, "null"...)
	case kindString:
		return appendString(dst, t.text)
	case kindList:
		dst = append(dst, '[')
		for i, item := range t.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = item.appendJSON(dst)
		}
		return append(dst, ']')
	case kindMap:
		dst = append(dst, '{')
		for i, p := range t.pairs {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, p.key), ':')
			dst = p.val.appendJSON(dst)
		}
		return append(dst, '}')
	}
	return append(dst, t.text...)
}

// appendString writes a string as JSON.
func appendString(dst []byte, s string) []byte {
	dst, err := jsontext.AppendQuote(dst, s)
	if err != nil {
		panic("opening: internal error: text that is not UTF-8 got past the reader: " + err.Error())
	}
	return dst
}

// parseJSON reads one JSON value as a tree without positions, or reports why it
// cannot and gives nil.
func parseJSON(src *source, raw []byte) *tree {
	if len(raw) > 8*maxSource {
		src.add(position{}, codeSize, "%d bytes of JSON; %d are allowed", len(raw), 8*maxSource)
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	t, err := readTree(dec, 0)
	if err == nil {
		if _, err = dec.ReadToken(); err == io.EOF {
			return t
		}
		err = cmp.Or(err, errors.New("there is more than one value"))
	}
	src.add(position{}, codeSyntax, "not valid JSON: %s", visible(err.Error()))
	return nil
}

// readTree reads the next value.
func readTree(dec *jsontext.Decoder, depth int) (*tree, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxDepth)
	}
	tok, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch tok.Kind() {
	case 'n':
		return &tree{kind: kindNull}, nil
	case 't', 'f':
		return &tree{kind: kindBool, text: tok.String()}, nil
	case '"':
		return &tree{kind: kindString, text: tok.String()}, nil
	case '0':
		n, err := canonical([]byte(tok.String()))
		return &tree{kind: kindNumber, text: string(n)}, err
	case '[':
		return readList(dec, depth)
	}
	return readMap(dec, depth)
}

// readList reads the rest of a list.
func readList(dec *jsontext.Decoder, depth int) (*tree, error) {
	t := &tree{kind: kindList}
	for dec.PeekKind() != ']' {
		item, err := readTree(dec, depth+1)
		if err != nil {
			return nil, err
		}
		t.items = append(t.items, item)
	}
	_, err := dec.ReadToken()
	return t, err
}

// readMap reads the rest of a map. The decoder refuses keys that come twice.
func readMap(dec *jsontext.Decoder, depth int) (*tree, error) {
	t := &tree{kind: kindMap}
	for dec.PeekKind() != '}' {
		key, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		name := key.String() // the token is gone after the next read
		val, err := readTree(dec, depth+1)
		if err != nil {
			return nil, err
		}
		t.pairs = append(t.pairs, pair{key: name, val: val})
	}
	_, err := dec.ReadToken()
	return t, err
}

// record notes where each part of the tree stands, under path.
func (t *tree) record(src *source, path string, key position) {
	src.places[path] = place{key: key, val: t.pos, plain: t.plain}
	for i, item := range t.items {
		item.record(src, path+"/"+strconv.Itoa(i), position{})
	}
	for _, p := range t.pairs {
		p.val.record(src, path+"/"+escapeSegment(p.key), p.pos)
	}
}
