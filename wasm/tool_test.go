package wasm

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/rmp"
)

const weatherSchema = `{"type":"object","properties":{"city":{"type":"string","maxLength":40},"days":{"type":"integer"},"tags":{"type":"array"}},"required":["city"],"additionalProperties":false}`

func TestParseTools(t *testing.T) {
	tool := func(rest string) string {
		return `{"version":1,"tools":[{"id":"x","input_schema":` + weatherSchema + `,` + rest + `}]}`
	}
	for _, tt := range []struct{ src, want string }{
		{tool(`"exec":{"argv":["printf","%s","{{city}}"]}`), ""},
		{tool(`"exec":{"argv":["printf"],"env":{"T":"a/b"}},"secrets":["a/b"],"confirm":"send","timeout_ms":5,"idempotent":true`), ""},
		{tool(`"http":{"method":"POST","url":"https://a.example/{{city}}?d={{days}}","headers":{"X":"{{secret:a/b}}"},"body":{"c":"{{city}}"}},"secrets":["a/b"]`), ""},
		{`{}`, "version 0 is not 1"},
		{`{"version":1,"tools":[],"x":1}`, `unknown field "x"`},
		{`{"version":1}{}`, "something follows"},
		{`{"version":1,"tools":[null]}`, "tool 0: the id"},
		{`{"version":1,"tools":[{"id":"A","exec":{"argv":["x"]}}]}`, "tool 0: the id"},
		{`{"version":1,"tools":[{"id":"a","exec":{"argv":["x"]}},{"id":"a","exec":{"argv":["x"]}}]}`, "tool a is there twice"},
		{tool(`"shell":"rm"`), `unknown field "shell"`},
		{tool(`"description":"d"`), "one of exec and http"},
		{tool(`"exec":{"argv":["x"]},"http":{"method":"GET","url":"https://a.example/"}`), "one of exec and http"},
		{tool(`"exec":{"argv":[]}`), "begins with a program"},
		{tool(`"exec":{"argv":["{{city}}"]}`), "begins with a program"},
		{tool(`"exec":{"argv":["x","{{town}}"]}`), "no argument fills {{town}}"},
		{tool(`"exec":{"argv":["x","{{secret:a/b}}"]},"secrets":["a/b"]`), "a secret stands in a header"},
		{tool(`"exec":{"argv":["x"],"env":{"PATH":"a/b"}},"secrets":["a/b"]`), `"PATH" cannot be set`},
		{tool(`"exec":{"argv":["x"],"env":{"A":"a/b"}}`), "not among the secrets"},
		{tool(`"exec":{"argv":["x"],"result":"xml"}`), "text or json"},
		{tool(`"http":{"method":"GET","url":"https://{{city}}/"}`), "host without placeholders"},
		{tool(`"http":{"method":"GET","url":"https://a.example{{city}}"}`), "host without placeholders"},
		{tool(`"http":{"method":"GET","url":"{{city}}://a.example/"}`), "host without placeholders"},
		{tool(`"http":{"method":"CONNECT","url":"https://a.example/"}`), "http.method"},
		{tool(`"http":{"method":"GET","url":"https://a.example/","headers":{"A":"{{secret:a/b}}"}}`), "not among the secrets"},
		{tool(`"exec":{"argv":["x"]},"confirm":1`), "confirm is true, false or a kind"},
		{tool(`"exec":{"argv":["x"]},"timeout_ms":-1`), "timeout_ms"},
		{tool(`"exec":{"argv":["x"]},"result_schema":{"type":7}`), "result_schema"},
		{`{"version":1,"tools":[{"id":"a","input_schema":7,"exec":{"argv":["x"]}}]}`, "input_schema"},
	} {
		_, err := ParseTools("tools.json", []byte(tt.src))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", tt.src, err)
		}
	}
}

func TestFillArgv(t *testing.T) {
	args := map[string]any{
		"a": "x y; $(z)", "n": json.Number("12345678901234567890"), "dash": "--upload-pack=sh", "list": []any{"1", "-2"}, "none": []any{},
	}
	for _, tt := range []struct{ template, want string }{
		{"p|{{a}}", "p|x y; $(z)"},
		{"p|--o={{a}}|{{n}}", "p|--o=x y; $(z)|12345678901234567890"},
		{"p|{{missing}}|--o={{missing}}|q", "p|q"},
		{"p|--|{{list}}|{{dash}}", "p|--|1|-2|--upload-pack=sh"},
		{"p|{{none}}|q", "p|q"},
		{"p|{{dash}}", "error"},
		{"p|{{list}}", "error"},
	} {
		got, err := fillArgv(strings.Split(tt.template, "|"), args)
		if err != nil {
			got = []string{"error"}
		}
		if s := strings.Join(got, "|"); s != tt.want {
			t.Errorf("%s: %s", tt.template, s)
		}
	}
}

func toolDoor(t *testing.T, caps, tools string, s Services) *door {
	t.Helper()
	d := testDoor(t, caps, s)
	var err error
	if d.tools, err = ParseTools("tools.json", []byte(`{"version":1,"tools":[`+tools+`]}`)); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestToolsThatRunPrograms(t *testing.T) {
	f := &fakeBackend{reply: &Decision{Approved: true}}
	s := f.services()
	s.Secrets = fakeSecrets{"a/b": "CANARY"}
	tools := `{"id":"say","description":"says it","input_schema":` + weatherSchema + `,"confirm":true,
		"exec":{"argv":["printf","{\"c\":\"%s\",\"n\":%s}","{{city}}","{{days}}"],"result":"json"},
		"result_schema":{"type":"object","properties":{"n":{"type":"integer","maximum":9}}}},
		{"id":"env","exec":{"argv":["sh","-c","echo $TOKEN; cat; exit 3"],"stdin":"in","env":{"TOKEN":"a/b"}},"secrets":["a/b"]},
		{"id":"fail","exec":{"argv":["sh","-c","echo no >&2; exit 3"],"result":"json"}},
		{"id":"other","exec":{"argv":["cat"]}}`
	caps := "exec = [\"printf\", \"sh\"]\nsecrets = [\"a/b\"]"
	call := func(id, args string) string {
		return ask(t, toolDoor(t, caps, tools, s), "tool.call", json.RawMessage(fmt.Sprintf(`{"id":%q,"args":%s}`, id, args)))
	}
	for _, tt := range []struct{ id, args, want string }{
		{"say", `{"city":"a b","days":3}`, `{"c":"a b","n":3}`},
		{"say", `{"city":"a","days":12}`, "result_invalid: "},
		{"say", `{"days":3}`, "invalid: tool.call: say: args:"},
		{"say", `{"city":"a","x":1}`, "invalid: tool.call: say: args:"},
		{"say", `{"city":"-v","days":3}`, "taken for an option"},
		{"say", `{"city":"a\"","days":3}`, "result_invalid: "},
		{"env", `{}`, `{"exit_code":3,"stderr":"","stdout":"[secret a/b]\nin"}`},
		{"fail", `{}`, "tool_failed: tool.call: fail ended with 3: no"},
		{"other", `{}`, "denied: denied:exec:cat is not granted"},
		{"none", `{}`, "not_found: "},
	} {
		if got := call(tt.id, tt.args); !strings.Contains(got, tt.want) {
			t.Errorf("%s %s: %s", tt.id, tt.args, got)
		}
	}
	// What the person saw is what ran, to the last byte.
	want := `probe confirm tool {"argv":["printf","{\"c\":\"%s\",\"n\":%s}","a b","3"],"env":null,"stdin":"","tool":"say"}`
	if f.asked[0] != want {
		t.Errorf("asked %s", f.asked[0])
	}
	f.reply = &Decision{By: "user", Rationale: "no"}
	if got := call("say", `{"city":"a","days":3}`); !strings.HasPrefix(got, "declined: ") {
		t.Error(got)
	}
	caps = "exec = [\"printf\", \"sh\"]"
	if got := call("env", `{}`); !strings.HasPrefix(got, "denied: denied:secrets:a/b") {
		t.Error(got)
	}
}

func TestToolsThatMakeRequests(t *testing.T) {
	var path, body string
	var header http.Header
	status := 200
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		path, body, header = r.RequestURI, string(b), r.Header
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"temp":12,"auth":%q}`, r.Header.Get("Authorization"))
	}))
	defer srv.Close()
	f := &fakeBackend{reply: &Decision{Approved: true}}
	s := f.services()
	s.Secrets = fakeSecrets{"a/b": "CANARY"}
	tools := `{"id":"w","input_schema":` + weatherSchema + `,"secrets":["a/b"],"confirm":"send","idempotent":true,
		"http":{"method":"POST","url":"` + srv.URL + `/v1/{{city}}?d={{days}}","headers":{"Authorization":"Bearer {{secret:a/b}}","X-City":"in {{city}}"},
		"body":{"city":"{{city}}","days":"{{days}}","text":"in {{city}}","tags":"{{tags}}","k":[1,"{{tags}}"]}}}`
	caps := fmt.Sprintf("net = [%q]\nallow_http = true\nsecrets = [\"a/b\"]", hostPort(t, srv.URL))
	call := func(args string) string {
		return ask(t, toolDoor(t, caps, tools, s), "tool.call", json.RawMessage(`{"id":"w","args":`+args+`}`))
	}
	got := call(`{"city":"a/../b?c#d","days":12345678901234567}`)
	if got != `{"auth":"Bearer [secret a/b]","temp":12}` || path != "/v1/a%2F..%2Fb%3Fc%23d?d=12345678901234567" ||
		body != `{"city":"a/../b?c#d","days":12345678901234567,"k":[1],"text":"in a/../b?c#d"}` ||
		header.Get("Authorization") != "Bearer CANARY" || header.Get("Idempotency-Key") == "" {
		t.Errorf("%s\n%s\n%s\n%v", got, path, body, header)
	}
	if asked := strings.Join(f.asked, ""); !strings.Contains(asked, "{{secret:a/b}}") || strings.Contains(asked, "CANARY") ||
		!strings.Contains(asked, `"body":{"city":"a/../b?c#d"`) {
		t.Errorf("asked %s", asked)
	}
	for _, tt := range []struct{ args, want string }{
		{`{"city":"..","days":1}`, "another path"},
		{`{"city":"","days":1}`, "another path"},
		{`{"city":"x"}`, "is missing"},
		{`{"city":"x\r\nA: b","days":1}`, "control character"},
		{`{"city":"{{secret:a/b}}","days":1}`, "holds a placeholder"},
		{`{"city":"{{days}}","days":1}`, `"temp":12`},
	} {
		if got := call(tt.args); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s", tt.args, got)
		}
	}
	status = 500
	if got := call(`{"city":"x","days":1}`); !strings.HasPrefix(got, "tool_failed: tool.call: w was answered with 500") {
		t.Error(got)
	}
	caps = "secrets = [\"a/b\"]"
	if got := call(`{"city":"x","days":1}`); !strings.HasPrefix(got, "denied: denied:net:") {
		t.Error(got)
	}
}

// TestToolThatWaitsForAPerson: the attempt ends at the question, and goes on
// later with what was agreed to.
func TestToolThatWaitsForAPerson(t *testing.T) {
	tools := `{"version":1,"tools":[{"id":"say","confirm":true,"input_schema":` + weatherSchema + `,"exec":{"argv":["printf","%s","{{city}}"]}}]}`
	f := &fakeBackend{}
	s := f.services()
	s.Actions = slowPerson{f}
	j := newJournal()
	s.Effects = j
	r := toolRig(t, allCaps+"exec = [\"printf\"]\n", tools, s)
	ask := func(city string) *rmp.AgentRequest {
		return callRequest(r, `[{"Op":"kb.why","Args":{"entity":"note:1"}},{"Op":"tool.call","Args":{"id":"say","args":{"city":"`+city+`"}}}]`)
	}
	req := ask("x")
	res := r.send(req)
	if res.Status != rmp.StatusParked || len(j.events) != 0 {
		t.Fatalf("%s %+v, %v", res.Status, res.Error, j.events)
	}
	if got := out(t, r.send(resumed(req, res, true))); !strings.Contains(got, `"stdout":"x"`) {
		t.Error(got)
	}
	no := resumed(req, res, false)
	no.ReplyTo += "/no"
	if got := out(t, r.send(no)); !strings.Contains(got, "declined: tool.call: say was declined by user") {
		t.Error(got)
	}
	if got := r.send(resumed(ask("y"), res, true)); got.Error == nil || got.Error.Code != CodeDiverged {
		t.Errorf("other bytes: %s %+v", got.Status, got.Error)
	}
	if got := strings.Join(j.events, ", "); got != "begin tool.call say, done tool.call" || len(f.asked) != 1 {
		t.Error(got, f.asked)
	}
}
