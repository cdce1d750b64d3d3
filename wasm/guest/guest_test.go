package guest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// noHost is a door that nothing may go through.
func noHost(op string, _ json.RawMessage) (json.RawMessage, error) {
	return nil, fmt.Errorf("%s was asked for", op)
}

const input = `{"v":1,"agent":"a","node":"n","attempt":2,"trace_id":"trace:x","opening_id":"opening:y",
	"with":{"tone":"warm"},"inputs":{"who":[{"name":"Ada"},{"name":"Bo"}]},"budget":{"tokens":5,"usd":0.5,"deadline_ms":9}}`

func TestServe(t *testing.T) {
	handlers := Handlers{
		"a": func(c *Call) error {
			var with struct{ Tone string }
			var who struct{ Name string }
			if err := errors.Join(c.Bind(&with), c.Need("who", &who)); err != nil {
				return err
			}
			if c.Attempt != 2 || c.Budget.Tokens != 5 || len(c.Inputs["who"]) != 2 {
				return fmt.Errorf("call %+v", c)
			}
			return errors.Join(c.Out("out", with.Tone+" "+who.Name), c.Out("out", "last "+who.Name), c.Out("n", 1))
		},
		"retry":  func(*Call) error { return Retry(errors.New("later")) },
		"denied": func(*Call) error { return &Error{Code: "denied", Message: "no"} },
		"busy":   func(*Call) error { return fmt.Errorf("asking: %w", &Error{Code: "x", Retryable: true}) },
		"need":   func(c *Call) error { return c.Need("missing", new(int)) },
		"type":   func(c *Call) error { return c.Need("who", new(int)) },
	}
	for _, tt := range []struct {
		agent, in string
		status    int
		out, text string
	}{
		{"a", input, 0, `{"n":1,"out":"last Ada"}`, ""},
		{"retry", input, 75, "", "retry: later"},
		{"denied", input, 1, "", "denied: denied: no"},
		{"busy", input, 75, "", "asking"},
		{"need", input, 1, "", "input missing: nothing came in"},
		{"type", input, 1, "", "input who"},
		{"nobody", input, 1, "", "no agent of that name"},
		{"a", "{", 1, "", "reading the input"},
	} {
		var out, text bytes.Buffer
		status := handlers.Serve(tt.agent, strings.NewReader(tt.in), &out, &text, noHost)
		if status != tt.status || out.String() != tt.out || !strings.Contains(text.String(), tt.text) {
			t.Errorf("%s: status %d, out %q, text %q", tt.agent, status, out.String(), text.String())
		}
	}
}

func TestHostcallsHaveTheirNames(t *testing.T) {
	var asked []string
	c := &Call{door: func(op string, args json.RawMessage) (json.RawMessage, error) {
		asked = append(asked, op+" "+string(args))
		if op == "time.now" {
			return json.RawMessage("1700000000000000"), nil
		}
		return json.RawMessage("null"), nil
	}}
	now, err := c.Now()
	if err != nil || now.Unix() != 1_700_000_000 {
		t.Errorf("now %v %v", now, err)
	}
	c.Query("SELECT ?", 1, "x")
	c.Search(Search{Text: "t", K: 2})
	c.Propose(Delta{Kind: "note.added", Payload: map[string]string{"title": "t"}})
	c.Complete(Completion{Prompt: "p"})
	c.Confirm(Action{Kind: "send", Summary: "s", Details: 1})
	c.Save(Artifact{Kind: "k", Name: "n", Bytes: "b"})
	c.Log("info", "hello", map[string]any{"a": 1})
	want := `time.now {}
kb.query {"sql":"SELECT ?","params":[1,"x"]}
kb.search {"text":"t","k":2}
kb.propose {"kind":"note.added","payload":{"title":"t"}}
model.complete {"prompt":"p"}
action.confirm {"kind":"send","summary":"s","details":1}
artifact.save {"kind":"k","name":"n","bytes":"b"}
log {"fields":{"a":1},"level":"info","message":"hello"}`
	if got := strings.Join(asked, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestMsgpackRoundTrip sends values through the request encoder and back
// through the answer decoder.
func TestMsgpackRoundTrip(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	for _, js := range []string{
		`null`, `true`, `false`, `0`, `127`, `128`, `-1`, `-32`, `-33`, `-9223372036854775808`,
		`18446744073709551615`, `0.5`, `1e300`, `""`, `"é\u0000"`, `"` + strings.Repeat("y", 40) + `"`,
		`"` + strings.Repeat("y", 300) + `"`, `"` + long + `"`, `[]`, `{}`, `[1,[2,{"a":null}]]`,
		`{"b":1,"a":[true]}`, `[` + strings.Repeat("1,", 20) + `1]`, `[` + strings.Repeat("1,", 70_000) + `1]`,
	} {
		req, err := encodeRequest("op", json.RawMessage(js))
		if err != nil {
			t.Fatalf("%.40s: %v", js, err)
		}
		value := bytes.TrimPrefix(req, []byte("\x82\xa2op\xa2op\xa4args"))
		got, err := decodeAnswer(append([]byte("\x81\xa2ok"), value...))
		if err != nil {
			t.Errorf("%.40s: %v", js, err)
			continue
		}
		var want, have any
		if err := errors.Join(json.Unmarshal([]byte(js), &want), json.Unmarshal(got, &have)); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(want) != fmt.Sprint(have) {
			t.Errorf("%.40s came back as %.40s", js, got)
		}
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for _, b := range []string{
		"", "\xc0", "\x81", "\x81\xa2ok", "\x81\xa2ok\xc1", "\x81\xa2ok\xdb\xff\xff\xff\xff", "\x81\xa2ok\xdf\xff\xff\xff\xff",
		"\x81\x01\x01", "\x81\xa2ok\x01\x01", "\x81\xa2ok\xdd\xff\xff\xff\xff", "\x81\xa3err\x01",
	} {
		if got, err := decodeAnswer([]byte(b)); err == nil {
			t.Errorf("%q was read as %s", b, got)
		}
	}
	got, err := decodeAnswer([]byte("\x81\xa2ok\xc4\x03abc"))
	if err != nil || string(got) != `"`+base64.StdEncoding.EncodeToString([]byte("abc"))+`"` {
		t.Errorf("bytes: %s %v", got, err)
	}
	_, err = decodeAnswer([]byte("\x81\xa3err\x83\xa4code\xa6denied\xa7message\xa1m\xa9retryable\xc3"))
	var refused *Error
	if !errors.As(err, &refused) || *refused != (Error{"denied", "m", true}) {
		t.Errorf("a refusal: %v", err)
	}
}

// TestCallsThatReachOut runs the typed calls against a door that answers as the
// host would.
func TestCallsThatReachOut(t *testing.T) {
	answers := map[string]string{
		"model.embed":  `{"vectors":[[0.5,1]],"model":"m"}`,
		"http.request": `{"status":201,"headers":{"a":["b"]},"body":"/w==","encoding":"base64","url":"u"}`,
		"secret.get":   `{"handle":"{{secret:1}}","value":"v"}`,
		"exec.run":     `{"exit_code":-1,"signal":"SIGKILL","stdout":"out","stderr":"/w==","stderr_encoding":"base64"}`,
		"tool.call":    `{"n":7}`,
	}
	asked := ""
	c := &Call{door: func(op string, args json.RawMessage) (json.RawMessage, error) {
		asked += op + string(args)
		return json.RawMessage(answers[op]), nil
	}}
	vectors, err := c.Embed("", "x")
	res, errHTTP := c.HTTP(HTTPRequest{URL: "https://a.example/", Body: []byte("b"), Timeout: time.Second})
	handle, errSecret := c.Secret("a/b")
	value, errValue := c.SecretValue("a/b")
	ran, errRun := c.Run(Program{Argv: []string{"p", "q"}, Stdin: []byte{0xff}})
	var tool struct{ N int }
	errTool := c.Tool("t", map[string]int{"a": 1}, &tool)
	if err := errors.Join(err, errHTTP, errSecret, errValue, errRun, errTool); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(vectors, *res, handle, value, *ran, tool)
	if want := "[[0.5 1]] {201 map[a:[b]] [255] u} {{secret:1}} v {-1 SIGKILL [111 117 116] [255] false} {7}\n"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, want := range []string{
		`model.embed{"input":["x"]}`, `"timeout_ms":1000`, `"body":"Yg=="`, `secret.get{"id":"a/b"}`,
		`secret.get{"as":"value","id":"a/b"}`, `"argv":["p","q"]`, `"stdin":"/w=="`, `tool.call{"args":{"a":1},"id":"t"}`,
	} {
		if !strings.Contains(asked, want) {
			t.Errorf("%s is not in %s", want, asked)
		}
	}
}
