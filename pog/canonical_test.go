package pog

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"lukechampine.com/blake3"
	"pgregory.net/rapid"
)

func TestCanonical(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{}`, `{}`},
		{` { "b" : 1 , "a" : [ true , null ] } `, `{"a":[true,null],"b":1}`},
		// RFC 8785 section 3.2.2 and its expected output.
		{`{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],` +
			`"string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals": [null, true, false]}`,
			`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],` +
				`"string":"€$\u000f\nA'B\"\\\\\"/"}`},
		// RFC 8785 section 3.2.3: by UTF-16 code units, not by code points.
		{`{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh",` +
			`"1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}`,
			`{"\r":"Carriage Return","1":"One","` + "\u0080" + `":"Control","ö":"Latin Small Letter O With Diaeresis",` +
				`"€":"Euro Sign","😀":"Emoji: Grinning Face","` + "\ufb33" + `":"Hebrew Letter Dalet With Dagesh"}`},
		{`[-0, 1e21, 5e-324, 1.7976931348623157e308, 9007199254740992, 0.1]`,
			`[0,1e+21,5e-324,1.7976931348623157e+308,9007199254740992,0.1]`},
		{`[295147905179352830000]`, `[295147905179352830000]`},
		{`"\u2028\u2029</script>"`, "\"\u2028\u2029</script>\""},
	} {
		got, err := canonical([]byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
		} else if string(got) != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
		}
		if !isCanonical(got) {
			t.Errorf("%s is not a fixed point", got)
		}
	}
}

// TestCanonicalNumbers is the table of RFC 8785 appendix B, by bit pattern.
func TestCanonicalNumbers(t *testing.T) {
	for _, c := range []struct {
		bits uint64
		want string
	}{
		{0x0000000000000000, "0"}, {0x8000000000000000, "0"}, {0x0000000000000001, "5e-324"},
		{0x8000000000000001, "-5e-324"}, {0x7fefffffffffffff, "1.7976931348623157e+308"},
		{0xffefffffffffffff, "-1.7976931348623157e+308"}, {0x4340000000000000, "9007199254740992"},
		{0xc340000000000000, "-9007199254740992"}, {0x4430000000000000, "295147905179352830000"},
		{0x44b52d02c7e14af5, "9.999999999999997e+22"}, {0x44b52d02c7e14af6, "1e+23"},
		{0x44b52d02c7e14af7, "1.0000000000000001e+23"}, {0x444b1ae4d6e2ef4e, "999999999999999700000"},
		{0x444b1ae4d6e2ef4f, "999999999999999900000"}, {0x444b1ae4d6e2ef50, "1e+21"},
		{0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"}, {0x3eb0c6f7a0b5ed8d, "0.000001"},
		{0x41b3de4355555553, "333333333.3333332"}, {0x41b3de4355555554, "333333333.33333325"},
		{0x41b3de4355555555, "333333333.3333333"}, {0x41b3de4355555556, "333333333.3333334"},
		{0x41b3de4355555557, "333333333.33333343"}, {0xbecbf647612f3696, "-0.0000033333333333333333"},
		{0x43143ff3c1cb0959, "1424953923781206.2"},
	} {
		literal := strconv.FormatFloat(math.Float64frombits(c.bits), 'e', -1, 64)
		if got, err := canonical([]byte(literal)); err != nil || string(got) != c.want {
			t.Errorf("%#x: %s, %v, want %s", c.bits, got, err, c.want)
		}
	}
}

func TestCanonicalRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":             ``,
		"space":             "  ",
		"half":              `{"a":`,
		"two documents":     `{} {}`,
		"duplicate":         `{"a":1,"a":1}`,
		"escaped duplicate": `{"a":1,"\u0061":2}`,
		"deep duplicate":    `{"x":[{"k":1,"j":2,"k":3}]}`,
		"bad UTF-8":         "{\"a\":\"\xff\"}",
		"bad UTF-8 name":    "{\"\xc3\":1}",
		"lone surrogate":    `{"a":"\ud800"}`,
		"large integer":     `{"id":9007199254740993}`,
		"two to the 60":     `[1152921504606846976]`, // a double, but written 1152921504606847000
		"large negative":    `[-9007199254740993]`,
		"larger integer":    `[123456789012345678901234567890]`,
		"out of range":      `[1e400]`,
		"NaN":               `[NaN]`,
		"leading zero":      `[01]`,
		"comment":           `{} // x`,
		"trailing comma":    `[1,]`,
		"deep":              strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000),
	} {
		if got, err := canonical([]byte(in)); err == nil {
			t.Errorf("%s: accepted as %s", name, got)
		}
	}
	if _, err := canonical([]byte(strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth))); err != nil {
		t.Errorf("depth %d: %v", maxDepth, err)
	}
}

// plainCanonical is a second implementation of RFC 8785 to compare with: it
// decodes with encoding/json and writes by the letter of the text.
func plainCanonical(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return ecmaNumber(v)
	case string:
		return plainString(v)
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = plainCanonical(e)
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	m := v.(map[string]any)
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
	})
	for i, name := range names {
		names[i] = plainString(name) + ":" + plainCanonical(m[name])
	}
	return "{" + strings.Join(names, ",") + "}"
}

func plainString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch short := strings.IndexRune("\b\t\n\f\r\"\\", r); {
		case short >= 0:
			b.WriteString([]string{`\b`, `\t`, `\n`, `\f`, `\r`, `\"`, `\\`}[short])
		case r < 0x20:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

// ecmaNumber is Number::toString of ECMA-262, as RFC 8785 asks for.
func ecmaNumber(f float64) string {
	if f == 0 {
		return "0"
	}
	format := byte('f')
	if abs := math.Abs(f); abs >= 1e21 || abs < 1e-6 {
		format = 'e'
	}
	s := strconv.FormatFloat(f, format, -1, 64)
	mantissa, exponent, ok := strings.Cut(s, "e")
	if !ok {
		return s
	}
	return mantissa + "e" + exponent[:1] + strings.TrimLeft(exponent[1:], "0")
}

// jsonValue generates documents, with names and numbers that are awkward.
func jsonValue(depth int) *rapid.Generator[any] {
	leaf := rapid.OneOf(
		rapid.Just[any](nil), rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(rapid.String(), func(s string) any { return strings.ToValidUTF8(s, "�") }),
		rapid.Map(rapid.Float64(), func(f float64) any { return f }),
		rapid.Map(rapid.Int32(), func(i int32) any { return float64(i) }),
	)
	if depth == 0 {
		return leaf
	}
	below := rapid.Deferred(func() *rapid.Generator[any] { return jsonValue(depth - 1) })
	names := rapid.Map(rapid.String(), func(s string) string { return strings.ToValidUTF8(s, "�") })
	return rapid.OneOf(leaf,
		rapid.Map(rapid.SliceOfN(below, 0, 5), func(l []any) any { return l }),
		rapid.Map(rapid.MapOfN(names, below, 0, 5), func(m map[string]any) any { return m }))
}

func TestCanonicalAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc, err := json.Marshal(jsonValue(3).Draw(t, "doc"))
		if err != nil {
			t.Skip(err)
		}
		var v any
		if err := json.Unmarshal(doc, &v); err != nil {
			t.Fatal(err)
		}
		got, err := canonical(doc)
		if err != nil {
			// Only integers that encoding/json writes in full may be refused.
			if !strings.Contains(err.Error(), "survive") {
				t.Fatalf("%s: %v", doc, err)
			}
			return
		}
		if want := plainCanonical(v); string(got) != want {
			t.Fatalf("%s\n got %s\nwant %s", doc, got, want)
		}
	})
}

func TestPlainIsOnlyAShortcut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := []byte(rapid.StringMatching(`[\[{" \\]{0,3}([0-9]{1,18}|-?[0-9.]{1,6}e[0-9]{1,3}|"[a-e\\"]{0,4}|[\]},:]){0,6}`).Draw(t, "doc"))
		if isPlain(doc) && json.Valid(doc) {
			if err := checkTokens(doc); err != nil && !strings.Contains(err.Error(), "duplicate") {
				t.Fatalf("%s is plain, but %v", doc, err)
			}
		}
	})
}

func TestBLAKE3Vectors(t *testing.T) {
	f, err := os.Open("../testdata/pog/blake3.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	input := make([]byte, 200_000)
	for i := range input {
		input[i] = byte(i % 251)
	}
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var size int
		var plain, keyed string
		if _, err := fmt.Sscan(lines.Text(), &size, &plain, &keyed); err != nil {
			continue
		}
		n++
		if got := Hash(blake3.Sum256(input[:size])).String(); got != plain {
			t.Errorf("%d bytes: %s, want %s", size, got, plain)
		}
		h := blake3.New(32, []byte("whats the Elvish word for friend"))
		h.Write(input[:size])
		if got := fmt.Sprintf("%x", h.Sum(nil)); got != keyed {
			t.Errorf("%d bytes, keyed: %s, want %s", size, got, keyed)
		}
	}
	if n < 20 {
		t.Fatalf("only %d vectors", n)
	}
}

// TestEventHash pins the name of one event and the chain it starts: what an
// independent program has to compute (spec/05).
func TestEventHash(t *testing.T) {
	payload, provenance := []byte(`{"body":"b","title":"t"}`), []byte(`{}`)
	h, err := eventHash("user", "note.added", "user", payload, provenance)
	if err != nil {
		t.Fatal(err)
	}
	doc := `{"actor":"user","kind":"note.added","payload":{"body":"b","title":"t"},"provenance":{},"scope":"user"}`
	if want := Hash(blake3.Sum256([]byte(doc))); h != want {
		t.Errorf("%s, want %s", h, want)
	}
	first := link{}.next(h, 1000)
	if want := Hash(blake3.Sum256(append(make([]byte, 32), h[:]...))); first.Chain != want {
		t.Errorf("chain %s, want %s", first.Chain, want)
	}
	if later := (link{}).next(h, 1001); later.Chain != first.Chain || later.Seal == first.Seal {
		t.Error("the time must be in the seal and not in the chain")
	}
}
