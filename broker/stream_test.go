package broker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// TestEventReader checks framing alone, whole and a byte at a time.
func TestEventReader(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"data: a\n\ndata: b\n\n", "a|b|end of stream"},
		{"data:a\ndata:  b\n\n", "a\n b|end of stream"},
		{"data: a\r\n\r\n", "a|end of stream"},
		{"\n\n\ndata: a\n\n\n\n", "a|end of stream"},
		{": comment\nevent: x\nid\ndata\ndata: a\n\n", "a|end of stream"},
		{"data: a\n\ndata: [DONE]\n\ndata: b\n\n", "a|end of stream"},
		{"data: a\n", "a|end of stream"},
		{"data: a", "unexpected EOF"},
		{"data: [DONE]", "end of stream"},
		{"", "end of stream"},
		{strings.Repeat("x", maxEventLine+1) + "\n", "line too long"},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
			if got := drain(r); got != c.want {
				t.Errorf("%.40q: got %q, want %q", c.in, got, c.want)
			}
		}
	}
}

func drain(r io.Reader) string {
	var got []string
	for e := newEventReader(r); ; {
		data, err := e.next()
		if err != nil {
			return strings.Join(append(got, err.Error()), "|")
		}
		got = append(got, string(data))
	}
}

// TestSplitAnywhere: an answer comes out the same however its tool calls and
// text were cut into deltas.
func TestSplitAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 30, -1).Draw(t, "text")
		args, err := json.Marshal(map[string]string{"q": rapid.StringN(0, 20, -1).Draw(t, "arg")})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		for _, piece := range pieces(t, text) {
			fmt.Fprintf(&b, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%s}}]}\n\n", quote(piece))
		}
		for i, piece := range pieces(t, string(args)) {
			head := ""
			if i == 0 {
				head = `"name":"f",`
			}
			fmt.Fprintf(&b, "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{%s\"arguments\":%s}}]}}]}\n\n",
				head, quote(piece))
		}
		b.WriteString("data: {\"choices\":[{\"index\":0,\"finish_reason\":\"tool_calls\"}]}\n\n")
		a := new(answer)
		resp, err := a.finish(1, a.readStream(&b))
		if err != nil || resp.Text != text || string(resp.ToolCalls[0].Arguments) != string(args) {
			t.Fatalf("got %+v, %v; want %q, %s", resp, err, text, args)
		}
	})
}

// pieces cuts s at random runes, into at least one piece.
func pieces(t *rapid.T, s string) []string {
	var out []string
	var cur strings.Builder
	for _, r := range s {
		cur.WriteRune(r)
		if rapid.Bool().Draw(t, "cut") {
			out = append(out, cur.String())
			cur.Reset()
		}
	}
	return append(out, cur.String())
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// FuzzAnswer feeds anything to both readers. What they accept must be fit to
// hand to a guest.
func FuzzAnswer(f *testing.F) {
	files, err := filepath.Glob("../testdata/broker/answers/*.http")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		_, body, _ := bytes.Cut(data, []byte("\n\n"))
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, read := range []func(*answer, io.Reader) error{(*answer).readStream, (*answer).readWhole} {
			a := &answer{maxOut: 100}
			resp, err := a.finish(7, read(a, bytes.NewReader(body)))
			if resp.Usage.TokensIn <= 0 || resp.Usage.TokensOut < 0 {
				t.Fatalf("usage %+v", resp.Usage)
			}
			if err != nil {
				continue
			}
			checkAccepted(t, &resp)
		}
	})
}

func checkAccepted(t *testing.T, resp *Response) {
	if !utf8.ValidString(resp.Text) || resp.Finish == "" {
		t.Fatalf("accepted %+v", resp)
	}
	ids := map[string]bool{}
	for _, c := range resp.ToolCalls {
		if !toolName(c.Name) || !json.Valid(c.Arguments) || ids[c.ID] || c.ID == "" {
			t.Fatalf("accepted call %+v", c)
		}
		ids[c.ID] = true
	}
}

func TestText(t *testing.T) {
	const secret = "p@ss word/with+parts"
	for _, c := range []struct {
		text     string
		withheld bool
	}{
		{"model not found", false},
		{"bad key p@ss word/with+parts!", true},
		{"bad key p@ss wor****", true},
		{"url p%40ss+word%2Fwith%2Bparts", true},
		{"b64 cEBzcyB3b3JkL3dpdGgrcGFydHM=", true},
	} {
		if got := withhold(c.text, secret); (got != c.text) != c.withheld {
			t.Errorf("%q became %q", c.text, got)
		}
	}
	if got := withhold("no key at all", ""); got != "no key at all" {
		t.Errorf("without a secret: %q", got)
	}
	if got := printable("a\x1b[31m\r\nb\u202e\u200bc\xff"+strings.Repeat("é", 50), 20); got != "a [31m b c éééé…" {
		t.Errorf("printable: %q", got)
	}
	for name, want := range map[string]string{"opnai": ` (did you mean "openai"?)`, "openai": ` (did you mean "openai"?)`, "zzz": ""} {
		if got := suggest(name, []string{"anthropic", "openai"}); got != want {
			t.Errorf("suggest %q: %q", name, got)
		}
	}
}

func TestEstimate(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "a": 1, "four": 1, "fiver": 2, "ééé": 2, "漢字": 3, "🙂": 2, "hello, world": 3,
	} {
		if got := estimateText(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	r := &Request{Messages: []Message{{Content: "four"}}, Schema: json.RawMessage(`{"a":1}x`)}
	if got := r.estimate(); got != tokensPerReply+tokensPerMessage+1+2 {
		t.Errorf("request: %d", got)
	}
	big := strings.Repeat("a", maxRequestBytes)
	if got := estimateText(big); got != maxRequestBytes/4 {
		t.Errorf("8 MiB: %d", got)
	}
}

// TestErrorText pins the one-line form and the helpers.
func TestErrorText(t *testing.T) {
	e := &Error{Code: CodeProvider, Provider: "p", Status: 500, Msg: "m", Err: io.EOF}
	if e.Error() != "provider_error: p: status 500: m" || e.Unwrap() != io.EOF || CodeOf(e) != CodeProvider {
		t.Errorf("got %q", e)
	}
	if CodeOf(io.EOF) != "" || Retryable(io.EOF) || CodeOf(nil) != "" {
		t.Error("foreign errors have no code")
	}
	if got := classify(t.Context(), "p", io.ErrClosedPipe); !got.Retryable || got.Err != io.ErrClosedPipe {
		t.Errorf("a foreign error became %+v", got)
	}
}

func BenchmarkStream(b *testing.B) {
	var in bytes.Buffer
	for range 200 {
		in.WriteString("data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n")
	}
	in.WriteString("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	b.SetBytes(int64(in.Len()))
	for b.Loop() {
		a := new(answer)
		if err := a.readStream(bytes.NewReader(in.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCached(b *testing.B) {
	c := Config{Providers: []ProviderConfig{{ID: "n", Kind: "null"}}, Cache: CacheConfig{TTL: 1 << 50, Capacity: 10}}
	br, err := New(c)
	if err != nil {
		b.Fatal(err)
	}
	r := Request{Model: "m", Messages: []Message{{Role: RoleUser, Content: strings.Repeat("some words ", 100)}}}
	r.Caller.CacheScope = "s"
	for b.Loop() {
		if _, err := br.Complete(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
