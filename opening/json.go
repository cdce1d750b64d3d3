package opening

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"lukechampine.com/blake3"
)

// errInexact is what canonical gives for a number that its canonical form
// would change.
var errInexact = errors.New("a number too large to be kept exactly; send it as a string")

// canonical brings raw into the one form RFC 8785 allows for its value. That
// form writes numbers as IEEE 754 doubles; an integer that a double cannot
// hold is refused, because values must not change on their way.
func canonical(raw []byte) (json.RawMessage, error) {
	if err := checkNumbers(raw); err != nil {
		return nil, err
	}
	v := jsontext.Value(append([]byte(nil), raw...))
	if err := v.Canonicalize(); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return json.RawMessage(v), nil
}

// checkNumbers looks for numbers that would become others as doubles.
func checkNumbers(raw []byte) error {
	if !hasLongNumber(raw) {
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil // not JSON, or at its end; Canonicalize tells the two apart
		}
		if tok.Kind() == '0' && !isExact(tok.String()) {
			return fmt.Errorf("%s: %w", visible(tok.String()), errInexact)
		}
	}
}

// hasLongNumber is a quick look for 16 digits in a row, or for what may be an
// exponent: other numbers are always kept, and nearly all values hold no more.
func hasLongNumber(raw []byte) bool {
	run := 0
	for _, c := range raw {
		switch {
		case isDigit(c):
			run++
		case run > 0 && (c == 'e' || c == 'E'):
			return true
		default:
			run = 0
		}
		if run > 15 {
			return true
		}
	}
	return false
}

// isExact reports whether a JSON number keeps its value as a double. Decimal
// fractions are taken for the double they name, as everywhere in JSON.
func isExact(lit string) bool {
	n, ok := new(big.Int).SetString(lit, 10)
	if ok {
		return keepsInteger(n)
	}
	_, err := strconv.ParseFloat(lit, 64)
	return err == nil // otherwise it is beyond the range of a double
}

// keepsInteger reports whether n is a double, or what RFC 8785 writes for one:
// beyond 2^53 that is the shortest digits that name the double, with zeros.
func keepsInteger(n *big.Int) bool {
	f, _ := new(big.Float).SetInt(n).Float64()
	if math.IsInf(f, 0) {
		return false
	}
	return new(big.Float).SetInt(n).Cmp(big.NewFloat(f)) == 0 ||
		strconv.FormatFloat(f, 'f', -1, 64) == n.String()
}

// mustJSON encodes a value of our own into canonical JSON. Our own types hold
// nothing that cannot be encoded, and the values in them are canonical already,
// so an error is a bug and no number needs a second look.
func mustJSON(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	out := jsontext.Value(raw)
	if err == nil {
		err = out.Canonicalize()
	}
	if err != nil {
		panic("opening: internal error: " + err.Error())
	}
	return json.RawMessage(out)
}

// hashHex is the BLAKE3-256 of raw, as 64 hex digits.
func hashHex(raw []byte) string {
	sum := blake3.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// jsonNumber gives the canonical literal of f.
func jsonNumber(f float64) string {
	v := jsontext.Value(strconv.FormatFloat(f, 'g', -1, 64))
	if err := v.Canonicalize(); err != nil {
		panic("opening: internal error: " + err.Error())
	}
	return string(v)
}

// parseHash reads what hashHex gives.
func parseHash(s string) ([]byte, error) {
	raw, err := hex.DecodeString(s)
	if err == nil && len(raw) != 32 {
		err = errors.New("not 64 hex digits")
	}
	return raw, err
}

// sortedKeys gives the keys of a map in their order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
