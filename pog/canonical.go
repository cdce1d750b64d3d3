package pog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"lukechampine.com/blake3"
)

// Hash is a BLAKE3-256 digest; it is shown as 64 lower-case hex digits.
type Hash [32]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes the hex form, for JSON.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads the hex form.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(h)) {
		return fmt.Errorf("a hash has %d hex digits, not %d", hex.EncodedLen(len(h)), len(text))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// maxDepth bounds the nesting of a document. Recursive readers of it, ours
// and others', must not meet more.
const maxDepth = 200

// canonical returns doc as canonical JSON (RFC 8785). It refuses what would
// not mean the same to every reader afterwards: two members of one name,
// invalid UTF-8, integers that a double cannot hold, numbers beyond its
// range, and nesting over maxDepth.
func canonical(doc []byte) ([]byte, error) {
	if !isPlain(doc) {
		if err := checkTokens(doc); err != nil {
			return nil, err
		}
	}
	v := jsontext.Value(bytes.Clone(doc))
	if err := v.Canonicalize(); err != nil {
		return nil, jsonError(err)
	}
	return v, nil
}

// isPlain says that doc, if it is JSON at all, has only numbers that
// survive and little nesting, as nearly every payload does: a scan that is
// far cheaper than taking it apart. What it is not sure of is not plain.
func isPlain(doc []byte) bool {
	depth, number, inString := 0, 0, false
	for i := 0; i < len(doc); i++ {
		c := doc[i]
		if inString {
			switch c {
			case '\\':
				i++
			case '"':
				inString = false
			}
			continue
		}
		switch c {
		case '"':
			inString = true
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case 'E', 'e':
			if number > 0 {
				return false // an exponent
			}
		}
		if number++; !('0' <= c && c <= '9' || c == '-' || c == '.') {
			number = 0
		}
		if number > 15 || depth > maxDepth {
			return false
		}
	}
	return len(doc) > 0
}

// checkTokens walks doc once for what Canonicalize would change or allow.
func checkTokens(doc []byte) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(doc))
	for {
		tok, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return jsonError(err)
		}
		if dec.StackDepth() > maxDepth {
			return fmt.Errorf("nested deeper than %d", maxDepth)
		}
		if tok.Kind() != '0' {
			continue
		}
		if err := checkNumber(tok.String()); err != nil {
			return err
		}
	}
	if len(bytes.TrimSpace(doc)) == 0 {
		return errors.New("empty, want a JSON document")
	}
	return nil
}

// checkNumber refuses a number that changes when it becomes a double. A
// fraction may lose digits beyond the 17th, as RFC 8785 has it; an integer
// may be an identifier and must come out digit by digit as it went in.
func checkNumber(literal string) error {
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil || math.IsInf(f, 0) {
		return fmt.Errorf("number %.40s is out of range", literal)
	}
	if strings.ContainsAny(literal, ".eE") || len(literal) <= 15 {
		return nil
	}
	if strconv.FormatFloat(f, 'f', -1, 64) != literal {
		return fmt.Errorf("integer %.40s does not survive as a double; write it as a string", literal)
	}
	return nil
}

// jsonError shortens the library's message to where and what.
func jsonError(err error) error {
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		return fmt.Errorf("not JSON: %v at byte %d", syntactic.Err, syntactic.ByteOffset)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("not JSON: it ends too early")
	}
	return fmt.Errorf("not JSON: %w", err)
}

// isCanonical says whether doc is already in canonical form.
func isCanonical(doc []byte) bool {
	c, err := canonical(doc)
	return err == nil && bytes.Equal(c, doc)
}

// eventHash is the name of an event: BLAKE3-256 of the canonical JSON of its
// five content fields (spec/05). payload and provenance must be canonical;
// the time is not part of it, so that the same event twice has one name.
func eventHash(actor, kind, scope string, payload, provenance []byte) (Hash, error) {
	doc := make([]byte, 0, len(payload)+len(provenance)+len(actor)+len(kind)+len(scope)+64)
	var err error
	str := func(name, value string) {
		if err == nil {
			doc = append(doc, name...)
			doc, err = jsontext.AppendQuote(doc, value)
		}
	}
	str(`{"actor":`, actor)
	str(`,"kind":`, kind)
	doc = append(append(doc, `,"payload":`...), payload...)
	doc = append(append(doc, `,"provenance":`...), provenance...)
	str(`,"scope":`, scope)
	if err != nil {
		return Hash{}, err
	}
	return blake3.Sum256(append(doc, '}')), nil
}

// link is one row of the chain table.
type link struct {
	EventID int64
	Chain   Hash
	Seal    Hash
}

// next returns the link of the event after l. Chain is
// BLAKE3(previous chain || event hash) as spec/05 has it and commits to the
// contents and their order. It leaves out when: Seal is
// BLAKE3(previous seal || chain || id || ts_ms), both numbers 8 bytes big
// endian, and commits to everything in the row.
func (l link) next(event Hash, tsMillis int64) link {
	var buf [64]byte
	copy(buf[:], l.Chain[:])
	copy(buf[32:], event[:])
	chain := blake3.Sum256(buf[:])
	id := l.EventID + 1
	return link{EventID: id, Chain: chain, Seal: sealOf(l.Seal, chain, id, tsMillis)}
}

func sealOf(before, chain Hash, id, tsMillis int64) Hash {
	var buf [80]byte
	copy(buf[:], before[:])
	copy(buf[32:], chain[:])
	binary.BigEndian.PutUint64(buf[64:], uint64(id))
	binary.BigEndian.PutUint64(buf[72:], uint64(tsMillis))
	return blake3.Sum256(buf[:])
}
