package broker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/broker"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func ptr[T any](v T) *T { return &v }

// full is a request that uses everything a request can hold.
func full() broker.Request {
	return broker.Request{
		Model: "m",
		Messages: []broker.Message{
			{Role: broker.RoleSystem, Content: "Be terse."},
			{Role: broker.RoleUser, Content: "Quotes \" and Ünïcödé ☃?"},
			{Role: broker.RoleAssistant, ToolCalls: []broker.ToolCall{
				{ID: "t1", Name: "look_up", Arguments: json.RawMessage(`{"q": "snow"}`)}}},
			{Role: broker.RoleTool, ToolCallID: "t1", Content: "white"},
		},
		Params: broker.Params{MaxTokens: 99, Temperature: ptr(0.0), TopP: ptr(0.5), Stop: []string{"END"},
			Seed: ptr(int64(7)), ToolChoice: "look_up"},
		Tools: []broker.Tool{{Name: "look_up", Description: "Finds facts.",
			Parameters: json.RawMessage(`{"type":"object","properties":{"q":{"type":"string"}}}`)}},
		Schema: json.RawMessage(`{"type":"object"}`),
	}
}

// TestWireRequest compares what goes out with a golden file, and checks the
// headers.
func TestWireRequest(t *testing.T) {
	srv := serve(t, func(x *exchange) { x.words(1, 1, `{"a":`, `1}`) })
	b := newBroker(t, srv.url()+"/prefix/v1/", nil)
	resp, err := b.Complete(t.Context(), full())
	if err != nil || string(resp.JSON) != `{"a":1}` || resp.Provider != "srv" || resp.Model != "m" {
		t.Fatalf("got %+v, %v", resp, err)
	}
	x := srv.requests()[0]
	if x.Method != "POST" || x.URL.Path != "/prefix/v1/chat/completions" ||
		x.Header.Get("Authorization") != "Bearer "+testSecret || x.Header.Get("Accept-Encoding") != "" {
		t.Errorf("sent %s %s %v", x.Method, x.URL, x.Header)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, x.body, "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	golden(t, "../testdata/broker/request.json", got.Bytes())
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (see -update); got:\n%s", file, got)
	}
}

// TestPlainRequest checks that what was not asked for is not sent.
func TestPlainRequest(t *testing.T) {
	srv := serve(t, func(x *exchange) { x.words(1, 1, "hi") })
	b := newBroker(t, srv.url(), func(c *broker.Config) { c.Providers[0].SecretID = "" })
	if _, err := b.Complete(t.Context(), ask("m", "hi")); err != nil {
		t.Fatal(err)
	}
	x := srv.requests()[0]
	var body map[string]any
	if err := json.Unmarshal(x.body, &body); err != nil || len(body) != 4 {
		t.Errorf("sent %s, %v", x.body, err)
	}
	if x.Header.Get("Authorization") != "" {
		t.Error("sent a credential that nobody configured")
	}
}

// TestInvalidRequests are refused before anything is sent.
func TestInvalidRequests(t *testing.T) {
	srv := serve(t, func(x *exchange) { t.Error("asked") })
	b := newBroker(t, srv.url(), nil)
	big := strings.Repeat("a", 9<<20)
	for name, change := range map[string]func(*broker.Request){
		"no messages":       func(r *broker.Request) { r.Messages = nil },
		"too many messages": func(r *broker.Request) { r.Messages = make([]broker.Message, 5000) },
		"role":              func(r *broker.Request) { r.Messages[0].Role = "developer\x1b[2J" },
		"content not utf-8": func(r *broker.Request) { r.Messages[0].Content = "\xff" },
		"too large":         func(r *broker.Request) { r.Messages[0].Content = big },
		"tool without id":   func(r *broker.Request) { r.Messages[3].ToolCallID = "" },
		"call without name": func(r *broker.Request) { r.Messages[2].ToolCalls[0].Name = "" },
		"call not json":     func(r *broker.Request) { r.Messages[2].ToolCalls[0].Arguments = json.RawMessage(`{`) },
		"model with space":  func(r *broker.Request) { r.Model = "m n" },
		"model too long":    func(r *broker.Request) { r.Model = big },
		"no model":          func(r *broker.Request) { r.Model = "" },
		"provider alone":    func(r *broker.Request) { r.Model = "srv:" },
		"max tokens":        func(r *broker.Request) { r.Params.MaxTokens = -1 },
		"max tokens huge":   func(r *broker.Request) { r.Params.MaxTokens = math.MaxInt64 },
		"temperature":       func(r *broker.Request) { r.Params.Temperature = ptr(math.NaN()) },
		"top p":             func(r *broker.Request) { r.Params.TopP = ptr(1.5) },
		"stops":             func(r *broker.Request) { r.Params.Stop = make([]string, 17) },
		"empty stop":        func(r *broker.Request) { r.Params.Stop = []string{""} },
		"tool choice":       func(r *broker.Request) { r.Params.ToolChoice = "rm" },
		"tools":             func(r *broker.Request) { r.Tools = make([]broker.Tool, 129) },
		"tool twice":        func(r *broker.Request) { r.Tools = append(r.Tools, r.Tools[0]) },
		"tool name":         func(r *broker.Request) { r.Tools[0].Name = "../x" },
		"tool description":  func(r *broker.Request) { r.Tools[0].Description = "\xc0" },
		"tool schema":       func(r *broker.Request) { r.Tools[0].Parameters = json.RawMessage(`[]`) },
		"schema":            func(r *broker.Request) { r.Schema = json.RawMessage(`{"a":1,"a":2}`) },
		"schema too large":  func(r *broker.Request) { r.Schema = json.RawMessage(`{"a":"` + big + `"}`) },
		"schema too deep":   func(r *broker.Request) { r.Schema = json.RawMessage(strings.Repeat(`{"a":`, 20000)) },
		"negative limit":    func(r *broker.Request) { r.Caller.Limits.Run.Tokens = -1 },
		"limit not finite":  func(r *broker.Request) { r.Caller.Limits.Day.USD = math.NaN() },
	} {
		t.Run(name, func(t *testing.T) {
			r := full()
			change(&r)
			_, err := b.Complete(t.Context(), r)
			if broker.CodeOf(err) != broker.CodeInvalid || broker.Retryable(err) {
				t.Errorf("got %v", err)
			}
			if len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("unfit to show: %q", err)
			}
		})
	}
}

// TestSecrets checks that a failing or unusable secret stops the call and
// shows nothing of itself.
func TestSecrets(t *testing.T) {
	srv := serve(t, func(x *exchange) { t.Error("asked") })
	for name, get := range map[string]broker.SecretFunc{
		"fails":   func(context.Context, string) (string, error) { return "", errors.New("vault says " + testSecret) },
		"empty":   func(context.Context, string) (string, error) { return " \n", nil },
		"newline": func(context.Context, string) (string, error) { return testSecret + "\r\nX: " + testSecret, nil },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t, srv.url(), func(c *broker.Config) { c.Secrets = get })
			_, err := b.Complete(t.Context(), ask("m", "hi"))
			if broker.CodeOf(err) != broker.CodeSecret || strings.Contains(err.Error(), "sk-test") {
				t.Errorf("got %v", err)
			}
			if recs := b.recorded(); len(recs) != 1 || recs[0].TokensIn != 0 {
				t.Errorf("records %+v", recs)
			}
		})
	}
}

// TestRecords checks that a record says what the call was and cost, and
// nothing of what was said.
func TestRecords(t *testing.T) {
	srv := serve(t, func(x *exchange) {
		if x.n == 1 {
			x.say("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
			return
		}
		x.words(1000, 500, "the answer-canary")
	})
	b := newBroker(t, srv.url(), func(c *broker.Config) {
		c.Prices = []broker.Price{{Model: "srv:m*", In: 2, Out: 10}}
	})
	r := ask("m1", "the prompt-canary")
	r.Caller = broker.Caller{Trace: "T", Node: "N", Agent: "A"}
	resp, err := b.Complete(t.Context(), r)
	if err != nil || math.Abs(resp.Usage.USD-0.007) > 1e-9 {
		t.Fatalf("got %+v, %v", resp, err)
	}
	recs := b.recorded()
	if len(recs) != 2 {
		t.Fatalf("%d records", len(recs))
	}
	if f := recs[0]; f.ErrorKind != broker.CodeProvider || f.Status != 503 || f.Attempt != 1 || f.USD != 0 {
		t.Errorf("failure recorded as %+v", f)
	}
	if s := recs[1]; s.Trace != "T" || s.Node != "N" || s.Agent != "A" || s.Op != broker.OpComplete ||
		s.Provider != "srv" || s.Model != "m1" || s.Attempt != 2 || s.TokensIn != 1000 || s.TokensOut != 500 ||
		s.Latency <= 0 || s.Time.IsZero() || s.ErrorKind != "" {
		t.Errorf("success recorded as %+v", s)
	}
	all, err := json.Marshal(recs)
	if err != nil || bytes.Contains(all, []byte("canary")) || bytes.Contains(all, []byte("sk-test")) {
		t.Errorf("records leak: %s, %v", all, err)
	}
}

func TestSchemaNeedsJSON(t *testing.T) {
	srv := serve(t, func(x *exchange) { x.words(5, 5, "Sure! ", "{") })
	b := newBroker(t, srv.url(), nil)
	r := ask("m", "give me JSON")
	r.Schema = json.RawMessage(`{"type":"object"}`)
	_, err := b.Complete(t.Context(), r)
	if e, ok := errors.AsType[*broker.Error](err); !ok || e.Code != broker.CodeProvider || e.Usage.TokensOut != 5 {
		t.Errorf("got %v", err)
	}
	if n := len(srv.requests()); n != 1 {
		t.Errorf("asked %d times: prose is not worth paying for twice", n)
	}
}

func TestNull(t *testing.T) {
	b, err := broker.New(broker.Config{Providers: []broker.ProviderConfig{{ID: "echo", Kind: "null"}}, Default: "any"})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.Complete(t.Context(), ask("", "say it again"))
	if err != nil || resp.Text != "say it again" || resp.Usage.TokensIn == 0 || resp.Usage.USD != 0 {
		t.Errorf("got %+v, %v", resp, err)
	}
	r := ask("echo:x", "say it again")
	r.Schema = json.RawMessage(`{}`)
	if resp, err = b.Complete(t.Context(), r); err != nil || string(resp.JSON) != `{"echo":"say it again"}` {
		t.Errorf("got %+v, %v", resp, err)
	}
	v, err := b.Embed(t.Context(), broker.EmbedRequest{Input: []string{"a", "b", "a"}})
	if err != nil || len(v.Vectors) != 3 || v.Vectors[0][0] != v.Vectors[2][0] || v.Vectors[0][0] == v.Vectors[1][0] {
		t.Errorf("got %+v, %v", v, err)
	}
	if d, err := b.Probe(t.Context(), "echo"); d != 0 || err != nil {
		t.Errorf("probe: %v, %v", d, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Complete(ctx, ask("", "x")); broker.CodeOf(err) != broker.CodeCancelled {
		t.Errorf("after a cancel: %v", err)
	}
	if _, err := b.Embed(ctx, broker.EmbedRequest{Input: []string{"x"}}); broker.CodeOf(err) != broker.CodeCancelled {
		t.Errorf("after a cancel: %v", err)
	}
}

func TestEmbed(t *testing.T) {
	ok := `{"data":[{"index":1,"embedding":[0,1]},{"index":0,"embedding":[1,0]}],"usage":{"prompt_tokens":8}}`
	for _, c := range []struct {
		name, body string
		code       broker.Code
	}{
		{"in order", ok, ""},
		{"no usage", `{"data":[{"index":1,"embedding":[0,1]},{"index":0,"embedding":[1,0]}]}`, ""},
		{"one missing", `{"data":[{"index":0,"embedding":[1,0]}]}`, broker.CodeProvider},
		{"twice", `{"data":[{"index":0,"embedding":[1,0]},{"index":0,"embedding":[1,0]}]}`, broker.CodeProvider},
		{"index", `{"data":[{"index":-1,"embedding":[1,0]}]}`, broker.CodeProvider},
		{"ragged", `{"data":[{"index":0,"embedding":[1,0]},{"index":1,"embedding":[1]}]}`, broker.CodeProvider},
		{"overflow", `{"data":[{"index":0,"embedding":[1e99]},{"index":1,"embedding":[1]}]}`, broker.CodeProvider},
		{"not numbers", `{"data":[{"index":0,"embedding":["NaN"]}]}`, broker.CodeProvider},
		{"error inside", `{"error":"no such thing"}`, broker.CodeProvider},
		{"null", `null`, broker.CodeProvider},
		{"cut", `{"data":[`, broker.CodeProvider},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := serve(t, func(x *exchange) { x.say(jsonHead, c.body) })
			b := newBroker(t, srv.url(), nil)
			r := broker.EmbedRequest{Model: "e", Input: []string{"low tide", "high tide"}}
			v, err := b.Embed(t.Context(), r)
			if broker.CodeOf(err) != c.code {
				t.Fatalf("got %v, want code %q", err, c.code)
			}
			if err == nil && (v.Vectors[0][0] != 1 || v.Vectors[1][1] != 1 || v.Usage.TokensIn == 0 || v.Model != "e") {
				t.Errorf("got %+v", v)
			}
		})
	}
}

func TestInvalidEmbed(t *testing.T) {
	srv := serve(t, func(x *exchange) { t.Error("asked") })
	b := newBroker(t, srv.url(), nil)
	for _, in := range [][]string{nil, {""}, {"\xff"}, make([]string, 3000), {strings.Repeat("a", 9<<20)}} {
		_, err := b.Embed(t.Context(), broker.EmbedRequest{Model: "e", Input: in})
		if broker.CodeOf(err) != broker.CodeInvalid {
			t.Errorf("%d inputs: %v", len(in), err)
		}
	}
	_, err := b.Embed(t.Context(), broker.EmbedRequest{Model: "e e", Input: []string{"x"}})
	if broker.CodeOf(err) != broker.CodeInvalid {
		t.Errorf("model: %v", err)
	}
}
