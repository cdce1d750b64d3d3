package rmp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/rmp"
	"github.com/tinylib/msgp/msgp"
	"pgregory.net/rapid"
)

func TestTranscode(t *testing.T) {
	tests := []struct {
		json string
		msg  string
		back string // when it is not json
	}{
		{json: `null`, msg: "\xc0"},
		{json: `true`, msg: "\xc3"},
		{json: `false`, msg: "\xc2"},
		{json: `0`, msg: "\x00"},
		{json: `127`, msg: "\x7f"},
		{json: `128`, msg: "\xcc\x80"},
		{json: `1234`, msg: "\xcd\x04\xd2"},
		{json: `-1`, msg: "\xff"},
		{json: `-33`, msg: "\xd0\xdf"},
		{json: `9223372036854775807`, msg: "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"},
		{json: `18446744073709551615`, msg: "\xcf\xff\xff\xff\xff\xff\xff\xff\xff"},
		{json: `-9223372036854775808`, msg: "\xd3\x80\x00\x00\x00\x00\x00\x00\x00"},
		{json: `18446744073709551616`, msg: "\xcb\x43\xf0\x00\x00\x00\x00\x00\x00", back: `18446744073709552000.0`},
		{json: `1.0`, msg: "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"},
		{json: `-0`, msg: "\xcb\x80\x00\x00\x00\x00\x00\x00\x00", back: `-0.0`},
		{json: `1.5e-7`, msg: "\xcb\x3e\x84\x21\xf5\xf4\x0d\x83\x76", back: `1.5e-07`},
		{json: `1E+30`, msg: "\xcb\x46\x29\x3e\x59\x39\xa0\x8c\xea", back: `1e+30`},
		{json: `""`, msg: "\xa0"},
		{json: `"a\"\\\n\r\t\u0000\u001fé😀"`, msg: "\xaea\"\\\n\r\t\x00\x1fé😀"},
		{json: `"\/\b\f\u00e9\ud83d\ude00"`, msg: "\xa9/\b\fé😀", back: `"/\u0008\u000cé😀"`},
		{json: `[]`, msg: "\x90"},
		{json: `{}`, msg: "\x80"},
		{json: ` [ 1 , [ ] , { } ] `, msg: "\x93\x01\x90\x80", back: `[1,[],{}]`},
		{json: `{"b":1,"a":{"b":[null]}}`, msg: "\x82\xa1b\x01\xa1a\x81\xa1b\x91\xc0"},
		{json: `{"__proto__":{}}`, msg: "\x81\xa9__proto__\x80"},
		{json: `[` + strings.Repeat(`0,`, 15) + `0]`, msg: "\xdc\x00\x10" + strings.Repeat("\x00", 16)},
	}
	for _, tt := range tests {
		t.Run(tt.json, func(t *testing.T) {
			got, err := rmp.AppendMsgpack([]byte("x"), []byte(tt.json))
			if err != nil || string(got) != "x"+tt.msg {
				t.Errorf("AppendMsgpack = % x, %v, want % x", got, err, tt.msg)
			}
			if tt.back == "" {
				tt.back = tt.json
			}
			got, err = rmp.AppendJSON([]byte("x"), []byte(tt.msg))
			if err != nil || string(got) != "x"+tt.back {
				t.Errorf("AppendJSON = %s, %v, want %s", got, err, tt.back)
			}
			if err := rmp.Valid([]byte(tt.msg)); err != nil {
				t.Errorf("Valid: %v", err)
			}
		})
	}
}

func TestLongForms(t *testing.T) {
	for _, n := range []int{15, 16, 31, 32, 255, 256, 65535, 65536} {
		s := strings.Repeat("é", n/2) + strings.Repeat("x", n%2)
		list := `[` + strings.TrimSuffix(strings.Repeat("7,", n), ",") + `]`
		var object strings.Builder
		for i := range n {
			object.WriteString(`,"` + string(rune(0x4e00+i%20000)) + string(rune('a'+i/20000)) + `":null`)
		}
		for _, in := range []string{`"` + s + `"`, `"\n` + s + `"`, list, `{` + object.String()[1:] + `}`} {
			msg, err := rmp.AppendMsgpack(nil, []byte(in))
			if err != nil {
				t.Fatalf("%d: %v", n, err)
			}
			if back, err := rmp.AppendJSON(nil, msg); err != nil || string(back) != in {
				t.Errorf("%d: %.40s came back as %.40s, %v", n, in, back, err)
			}
			ref, err := msgp.UnmarshalAsJSON(new(bytes.Buffer), msg)
			if err != nil || len(ref) != 0 {
				t.Errorf("%d: msgp reads it otherwise: %v, %d bytes left", n, err, len(ref))
			}
		}
	}
}

func TestMsgpackOnly(t *testing.T) {
	for msg, want := range map[string]string{
		"\xc4\x03\x00\xff\x10":                 `"AP8Q"`,
		"\xc5\x00\x00":                         `""`,
		"\xca\x3f\x80\x00\x00":                 `1.0`,
		"\xcf\x00\x00\x00\x00\x00\x00\x00\x01": `1`, // wider than it needs to be
		"\xd3\x00\x00\x00\x00\x00\x00\x00\x01": `1`,
		"\xd1\xff\xff":                         `-1`,
		"\xdf\x00\x00\x00\x01\xdb\x00\x00\x00\x01k\xdd\x00\x00\x00\x00": `{"k":[]}`,
		"\xcb\x7f\xef\xff\xff\xff\xff\xff\xff":                          `1.7976931348623157e+308`,
	} {
		if got, err := rmp.AppendJSON(nil, []byte(msg)); err != nil || string(got) != want {
			t.Errorf("AppendJSON(% x) = %s, %v, want %s", msg, got, err, want)
		}
	}
}

func TestRefusedMsgpack(t *testing.T) {
	for name, msg := range map[string]string{
		"nothing": "", "two values": "\xc0\xc0", "reserved": "\xc1", "cut": "\x92\x01",
		"NaN": "\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "NaN32": "\xca\x7f\xc0\x00\x00",
		"infinity": "\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "fixext": "\xd4\x01\x00",
		"timestamp": "\xd6\xff\x00\x00\x00\x00", "ext": "\xc7\x00\x05",
		"bad UTF-8": "\xa1\xff", "surrogate": "\xa3\xed\xa0\x80", "overlong": "\xa2\xc0\x80",
		"int key": "\x81\x01\x01", "nil key": "\x81\xc0\x01", "bin key": "\x81\xc4\x01k\x01",
		"bad key": "\x81\xa1\xff\x01", "key twice": "\x82\xa1k\x01\xa1k\x02",
		"key twice, other width": "\x82\xa1k\x01\xd9\x01k\x02", "int is cut": "\xcf\x01",
		"too deep": strings.Repeat("\x91", rmp.MaxDepth+1) + "\xc0",
	} {
		got, err := rmp.AppendJSON([]byte("kept"), []byte(msg))
		if !errors.Is(err, rmp.ErrSyntax) || string(got) != "kept" {
			t.Errorf("%s: AppendJSON = %q, %v", name, got, err)
		}
		if valid := rmp.Valid([]byte(msg)); valid == nil || valid.Error() != err.Error() {
			t.Errorf("%s: Valid = %v", name, valid)
		}
	}
	deepest := strings.Repeat("\x91", rmp.MaxDepth) + "\xc0"
	if _, err := rmp.AppendJSON(nil, []byte(deepest)); err != nil {
		t.Errorf("deepest allowed: %v", err)
	}
}

func TestRefusedJSON(t *testing.T) {
	for _, in := range []string{
		``, ` `, `nul`, `True`, `nan`, `Infinity`, `+1`, `01`, `-`, `.5`, `1.`, `1e`, `1e+`, `0x1`, `1e400`, `--1`,
		`"`, `"a`, `"\`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"\n\"", "\"\x00\"", "\"\xff\"", "\"\\n\xff\"", "\"\\n\x01\"", `"\n`,
		`"\ud800"`, `"\ud800x"`, `"\ud800\u0041"`, `"\udc00"`, `'a'`,
		`[`, `[1`, `[1,`, `[1,]`, `[,1]`, `[1 2]`, `]`, `[1}`,
		`{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{a:1}`, `{1:1}`, `{"a" 1}`, `{"a":1]`, `{,}`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"x":{"a":1,"a":1}}`,
		`1 2`, `{}x`, "\ufeff1", "1\x00", `/**/1`,
		strings.Repeat("[", rmp.MaxDepth+1) + strings.Repeat("]", rmp.MaxDepth+1),
		strings.Repeat(`{"a":`, 100000), strings.Repeat("[", 100000),
	} {
		got, err := rmp.AppendMsgpack([]byte("kept"), []byte(in))
		if !errors.Is(err, rmp.ErrSyntax) || string(got) != "kept" {
			t.Errorf("AppendMsgpack(%.40q) = %q, %v", in, got, err)
		}
	}
	var at *rmp.SyntaxError
	if _, err := rmp.AppendMsgpack(nil, []byte(`{"a":1,"a":2}`)); !errors.As(err, &at) || at.Offset != 7 {
		t.Errorf("the second key is at byte 7: %v", err)
	}
}

// TestAgreesWithEncodingJSON: on random values both transcoders and the
// standard library tell the same story.
func TestAgreesWithEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, err := json.Marshal(anyJSON(4).Draw(t, "value"))
		if err != nil {
			t.Fatal(err)
		}
		msg, err := rmp.AppendMsgpack(nil, in)
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		out, err := rmp.AppendJSON(nil, msg)
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		if err := rmp.Valid(msg); err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		if normal(t, in) != normal(t, out) {
			t.Fatalf("%s came back as %s", in, out)
		}
		again, err := rmp.AppendMsgpack(nil, out)
		if err != nil || !bytes.Equal(again, msg) {
			t.Fatalf("%s: second trip differs: % x, % x, %v", in, msg, again, err)
		}
	})
}

// normal returns one spelling of a JSON text, with its numbers as they are
// after a trip through float64 or a 64-bit integer.
func normal(t *rapid.T, in []byte) string {
	var v any
	if err := json.Unmarshal(in, &v); err != nil {
		t.Fatalf("%s: %v", in, err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// anyJSON generates JSON values of at most depth levels.
func anyJSON(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kinds := 6
		if depth == 0 {
			kinds = 4
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return rapid.Int64().Draw(t, "int")
		case 2:
			return rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64).Draw(t, "float")
		case 3:
			return rapid.String().Draw(t, "string")
		case 4:
			return rapid.SliceOfN(anyJSON(depth-1), 0, 20).Draw(t, "array")
		}
		return rapid.MapOfN(rapid.String(), anyJSON(depth-1), 0, 20).Draw(t, "object")
	})
}

func TestRunEventJSON(t *testing.T) {
	e := rmp.RunEvent{
		TSMillis: 1731465600123, TraceID: "trace:a", RunID: "trace:a", OpeningID: "opening:b",
		Kind: "node.stdout", Level: "info", Message: "one\ntwo \"é\"\x1b",
		Meta: pack(map[string]any{"chunk": "x\n"}),
	}
	want := `{"ts_ms":1731465600123,"trace_id":"trace:a","run_id":"trace:a","opening_id":"opening:b",` +
		`"kind":"node.stdout","level":"info","message":"one\ntwo \"é\"\u001b","meta":{"chunk":"x\n"}}`
	if got, err := e.AppendJSON([]byte(">")); err != nil || string(got) != ">"+want {
		t.Errorf("AppendJSON = %s, %v, want %s", got, err, want)
	}
	if got, err := json.Marshal(&e); err != nil || string(got) != strings.ReplaceAll(want, "&", `\u0026`) {
		t.Errorf("json.Marshal = %s, %v", got, err)
	}
	if got, err := (&rmp.RunEvent{}).AppendJSON(nil); err != nil || !strings.HasSuffix(string(got), `"meta":{}}`) ||
		!strings.HasPrefix(string(got), `{"ts_ms":0,"trace_id":"",`) {
		t.Errorf("an empty event is %s, %v", got, err)
	}
	for _, bad := range []rmp.RunEvent{{Message: "\xff"}, {Meta: []byte{0x81, 0x01, 0x01}}} {
		if got, err := bad.AppendJSON([]byte("kept")); !errors.Is(err, rmp.ErrSyntax) || string(got) != "kept" {
			t.Errorf("AppendJSON = %q, %v", got, err)
		}
	}
}
