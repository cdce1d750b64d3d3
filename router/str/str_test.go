package str

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

// TestAsStrings: each function does what that of package strings does, with any
// bytes.
func TestAsStrings(t *testing.T) {
	letters := rapid.SampledFrom([]string{"", "a", "b", "ab", " ", "\t", "\n", "ä", "Ä", "ß", "İ", "ǅ", "語", "\u00a0", "\u2028",
		"\xff", "\xe2\x80", "\ufffd", ":", "=", "--", "\x00"})
	str := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(letters, 0, 8).Draw(t, "parts"), "")
	})
	rapid.Check(t, func(t *rapid.T) {
		s, x := str.Draw(t, "s"), str.Draw(t, "x")
		r := rapid.Rune().Draw(t, "r")
		var c byte
		if x != "" {
			c = x[0]
		}
		same := func(name string, got, want any) {
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s(%q, %q): %#v, package strings has %#v", name, s, x, got, want)
			}
		}
		type pair struct {
			s  string
			ok bool
		}
		cut := func(s string, ok bool) pair { return pair{s, ok} }
		same("Contains", Contains(s, x), strings.Contains(s, x))
		same("ContainsAny", ContainsAny(s, x), strings.ContainsAny(s, x))
		same("ContainsRune", ContainsRune(s, r), strings.ContainsRune(s, r))
		same("Count", Count(s, x), strings.Count(s, x))
		same("Index", Index(s, x), strings.Index(s, x))
		same("IndexByte", IndexByte(s, c), strings.IndexByte(s, c))
		same("IndexFunc", IndexFunc(s, unicode.IsSpace), strings.IndexFunc(s, unicode.IsSpace))
		same("LastIndexByte", LastIndexByte(s, c), strings.LastIndexByte(s, c))
		same("HasPrefix", HasPrefix(s, x), strings.HasPrefix(s, x))
		same("HasSuffix", HasSuffix(s, x), strings.HasSuffix(s, x))
		a, b, ok := Cut(s, x)
		wantA, wantB, wantOK := strings.Cut(s, x)
		same("Cut", []any{a, b, ok}, []any{wantA, wantB, wantOK})
		same("CutPrefix", cut(CutPrefix(s, x)), cut(strings.CutPrefix(s, x)))
		same("CutSuffix", cut(CutSuffix(s, x)), cut(strings.CutSuffix(s, x)))
		same("TrimSuffix", TrimSuffix(s, x), strings.TrimSuffix(s, x))
		same("Trim", Trim(s, x), strings.Trim(s, x))
		same("TrimLeft", TrimLeft(s, x), strings.TrimLeft(s, x))
		same("TrimSpace", TrimSpace(s), strings.TrimSpace(s))
		same("Fields", append([]string{}, Fields(s)...), strings.Fields(s))
		same("Lines", slices.Collect(Lines(s)), slices.Collect(strings.Lines(s)))
		same("Join", Join([]string{s, x, s}, x), strings.Join([]string{s, x, s}, x))
		same("ToLower", ToLower(s), strings.ToLower(s))
		same("ToUpper", ToUpper(s), strings.ToUpper(s))
		if x != "" {
			same("Split", Split(s, x), strings.Split(s, x))
			same("SplitSeq", slices.Collect(SplitSeq(s, x)), slices.Collect(strings.SplitSeq(s, x)))
			same("ReplaceAll", ReplaceAll(s, x, "<>"), strings.ReplaceAll(s, x, "<>"))
		}
	})
}

// TestNoCopies: what only looks does not allocate.
func TestNoCopies(t *testing.T) {
	s := strings.Repeat("where did the morning go ", 50)
	n := testing.AllocsPerRun(10, func() {
		_ = Contains(s, "go where") && ContainsAny(s, "xyz") && ContainsRune(s, 'ö')
		_, _, _ = Cut(s, " go")
		_ = Count(s, " ") + IndexByte(s, 'w') + LastIndexByte(s, 'x') + IndexFunc(s, unicode.IsUpper)
		_, _ = Trim(s, " w"), TrimSpace(s)
		for part := range SplitSeq(s, " ") {
			_ = part
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}
