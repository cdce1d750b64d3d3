package wasm

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/runloop-os/runloop/rmp"
)

// fakeSecrets are values by id.
type fakeSecrets map[string]string

func (f fakeSecrets) Secret(_ context.Context, _ Caller, id string) (string, error) {
	if v, ok := f[id]; ok {
		return v, nil
	}
	return "", &Error{Code: CodeNotFound, Message: "there is no secret " + id}
}

const canary = "CANARY with spaces, \"quotes\" & \\backslash ☃"

func getHandle(t *testing.T, d *door, id string) string {
	t.Helper()
	var res struct{ Handle string }
	if err := json.Unmarshal([]byte(ask(t, d, "secret.get", map[string]any{"id": id})), &res); err != nil {
		t.Fatal(err)
	}
	return res.Handle
}

func TestSecretsAreHandles(t *testing.T) {
	var got http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "you said %s %s", r.Header.Get("Authorization"), b)
	}))
	defer srv.Close()
	s := Services{Secrets: fakeSecrets{"a/token": "CANARY-token\n", "a/other": "x"}}
	d := testDoor(t, fmt.Sprintf("net = [%q]\nallow_http = true\nsecrets = [\"a/token\", \"a/none\"]", hostPort(t, srv.URL)), s)
	handle := getHandle(t, d, "a/token")
	if strings.Contains(handle, "CANARY") || handle == getHandle(t, d, "a/token") {
		t.Errorf("handle %s", handle)
	}
	answer := ask(t, d, "http.request", map[string]any{
		"method": "POST", "url": srv.URL, "body": handle, "headers": map[string]any{"Authorization": "Bearer " + handle},
	})
	if got.Get("Authorization") != "Bearer CANARY-token" {
		t.Errorf("sent %v", got)
	}
	// It comes back masked, and a handle elsewhere than in a header is text.
	if strings.Contains(answer, "CANARY") || strings.Count(answer, "[secret a/token]") != 2 || !strings.Contains(answer, handle) {
		t.Error(answer)
	}
	for _, tt := range []struct{ args, want string }{
		{`{"id":"a/other"}`, "denied: denied:secrets:a/other is not granted"},
		{`{"id":"b/absent"}`, "denied: denied:secrets:b/absent is not granted"},
		{`{"id":"a/none"}`, "not_found: "},
		{`{"id":"a/token","as":"value"}`, "denied: denied:secrets_raw:a/token is not granted"},
		{`{"id":"a/token","as":"x"}`, "invalid: "},
		{`{}`, "invalid: "},
	} {
		if got := ask(t, d, "secret.get", json.RawMessage(tt.args)); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s", tt.args, got)
		}
	}
	other := testDoor(t, fmt.Sprintf("net = [%q]\nallow_http = true\nsecrets = [\"a/token\"]", hostPort(t, srv.URL)), s)
	if got := ask(t, other, "http.request", map[string]any{
		"url": srv.URL, "headers": map[string]any{"A": handle},
	}); !strings.HasPrefix(got, "invalid: ") {
		t.Errorf("another attempt used the handle: %s", got)
	}
	other.tape = d.tape // as of an attempt that goes on
	if got := ask(t, other, "http.request", map[string]any{
		"url": srv.URL, "headers": map[string]any{"A": handle},
	}); !strings.Contains(got, `"status":200`) {
		t.Errorf("an attempt that goes on lost its handle: %s", got)
	}
	for _, c := range d.tape.calls {
		if said := string(c.Args) + string(c.OK) + fmt.Sprint(c.Err); strings.Contains(said, "CANARY") {
			t.Errorf("the tape says %s", said)
		}
	}
}

// TestSecretsAreMasked gives an agent the plain value and looks at everything
// that comes out of the sandbox.
func TestSecretsAreMasked(t *testing.T) {
	f := &fakeBackend{reply: &Decision{}}
	s := f.services()
	s.Secrets = fakeSecrets{"a/raw": canary}
	r := probeRig(t, LifeReactor, allCaps+`secrets = ["a/raw"]`+"\n"+`secrets_raw = ["a/raw"]`+"\n", s)
	req := r.request("probe", `{"Do":"leak","Base64":true}`, nil)
	res := r.send(req)
	got := out(t, res)
	if !strings.Contains(got, "[secret a/raw]") {
		t.Errorf("out %s", got)
	}
	all := fmt.Sprint(got, f.asked, res.Error)
	for _, l := range r.logs {
		all += fmt.Sprint(l.Chunk, string(l.Fields))
	}
	for _, c := range res.Tape {
		all += fmt.Sprint(string(c.Args), string(c.OK), c.Err)
	}
	for _, form := range []string{canary, url.QueryEscape(canary), base64.StdEncoding.EncodeToString([]byte(canary)), "CANARY", hex.EncodeToString([]byte("CANARY"))} {
		if strings.Contains(all, form) {
			t.Errorf("%s shows in %s", form, all)
		}
	}
	if n := strings.Count(all, "[secret a/raw]"); n < 20 {
		t.Errorf("%d masks in %s", n, all)
	}
	req = r.request("probe", `{"Do":"leak"}`, nil)
	res = r.send(req)
	got = out(t, res)
	replay := r.send(replayOf(r, req, res))
	if replay.Diverged != nil || out(t, replay) != got {
		t.Errorf("replay: %+v, %s", replay.Diverged, out(t, replay))
	}
}

func TestRedactorKnowsEveryForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`[ -~é☃]{8,40}`).Draw(t, "secret")
		before := rapid.StringMatching(`[a-z:]{0,5}`).Draw(t, "before")
		after := rapid.StringMatching(`[a-z:]{0,5}`).Draw(t, "after")
		var r Redactor
		r.Add("id", secret)
		whole := before + secret + after
		quoted, _ := json.Marshal(whole)
		ascii := asciiJSON(whole)
		for name, text := range map[string]string{
			"plain": whole, "json": string(quoted), "ascii json": ascii, "query": url.QueryEscape(whole),
			"path": url.PathEscape(whole), "hex": hex.EncodeToString([]byte(whole)),
			"base64": base64.StdEncoding.EncodeToString([]byte(whole)), "base64url": base64.RawURLEncoding.EncodeToString([]byte(whole)),
		} {
			if got := r.Redact(text); !strings.Contains(got, "[secret id]") {
				t.Fatalf("%s: %q stays in %q", name, secret, got)
			}
		}
	})
}

func TestRedactorKeepsDocumentsWhole(t *testing.T) {
	var r Redactor
	doc := []byte(`{"nabc":"\nabc","x":[1,2.5,null,true,"say abcd"],"y":"\u0061bcd"}`)
	if got := r.redactJSON(doc); string(got) != string(doc) {
		t.Errorf("%s", got)
	}
	r.Add("id", "nabc")
	r.Add("two", "abcd")
	r.Add("short", "abc")
	want := `{"[secret id]":"\nabc","x":[1,2.5,null,true,"say [secret two]"],"y":"[secret two]"}`
	if got := r.redactJSON(doc); string(got) != want {
		t.Errorf("%s", got)
	}
	packed := pack(t, string(doc))
	var v, w any
	if err := unmarshalMsgpack(r.redactMsgpack(packed), &v); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil || fmt.Sprint(v) != fmt.Sprint(w) {
		t.Errorf("%v, want %v", v, w)
	}
	var call rmp.Hostcall
	call.OK = pack(t, `{"a":1}`)
	d := &door{services: &Services{Redactor: &r}}
	if got := d.masked(call); &got.OK[0] != &call.OK[0] {
		t.Error("a call without a secret was copied")
	}
}

func TestRedactorOfSeveralLines(t *testing.T) {
	var r Redactor
	r.Add("key", "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA0123\nabcdefghijklmnop\n-----END KEY-----\n")
	got := r.Redact("-----BEGIN KEY-----\n  MIIEowIBAAKCAQEA0123\nabcdefghijklmnop")
	if strings.Contains(got, "MIIE") || strings.Contains(got, "abcdef") || !strings.Contains(got, "BEGIN KEY") {
		t.Error(got)
	}
}
