package wasm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// TestHostileSchemas: a schema that comes with a bundle must not be able to end
// this process or keep it busy for ever.
func TestHostileSchemas(t *testing.T) {
	doubling := `{"$ref":"#/$defs/d0","$defs":{`
	for i := range 40 {
		doubling += fmt.Sprintf(`"d%d":{"anyOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},`, i, i+1, i+1)
	}
	doubling += `"d40":false}}`
	for name, schema := range map[string]string{
		"itself":                `{"$ref":"#"}`,
		"a loop":                `{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}}`,
		"a loop of two":         `{"$ref":"#/$defs/a","$defs":{"a":{"not":{"$ref":"#/$defs/b"}},"b":{"$ref":"#/$defs/a"}}}`,
		"an anchor":             `{"$anchor":"a","$ref":"#a"}`,
		"dynamic":               `{"$dynamicAnchor":"a","$dynamicRef":"#a"}`,
		"an id inside":          `{"allOf":[{"$id":"x","$ref":"x"}]}`,
		"its own id":            `{"$id":"https://example.com/s","$ref":"https://example.com/s"}`,
		"a name that is a path": `{"$ref":"#/$defs/a/allOf/0","$defs":{"a/allOf/0":{},"a":{"allOf":[{"$ref":"#/$defs/a/allOf/0"}]}}}`,
		"doubling":              doubling,
	} {
		if err := checkSchema([]byte(schema), []byte(`{}`)); err == nil || strings.HasPrefix(err.Error(), "validating") {
			t.Errorf("%s: %v", name, err)
		}
		tools := `{"version":1,"tools":[{"id":"t","exec":{"argv":["true"]},"input_schema":` + schema + `}]}`
		if _, err := ParseTools("tools.json", []byte(tools)); err == nil {
			t.Errorf("%s: the tool was taken", name)
		}
	}
	good := []byte(`{"$id":"https://example.com/s","properties":{"n":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"integer"}}}`)
	if err := checkSchema(good, []byte(`{"n":1}`)); err != nil {
		t.Error(err)
	}
	if err := checkSchema(good, []byte(`{"n":"x"}`)); err == nil {
		t.Error("a text passes for a number")
	}
	many := []byte(`{"items":{"anyOf":[` + strings.Repeat(`{"type":"string"},`, 2000) + `false]}}`)
	began := time.Now()
	err := checkSchema(many, []byte("["+strings.Repeat("1,", 400_000)+"1]"))
	if err == nil || !strings.Contains(err.Error(), "too many for a schema") {
		t.Errorf("after %s: %.200v", time.Since(began), err)
	}
}

// TestArgumentIsNoOption: what an argument begins must not be taken for an option
// either.
func TestArgumentIsNoOption(t *testing.T) {
	args := map[string]any{"name": "--checkpoint-action=exec=sh x", "plain": "a"}
	for _, tt := range []struct {
		item string
		ok   bool
	}{
		{"{{name}}", false}, {"{{name}}.txt", false}, {"--file={{name}}", true}, {"./{{name}}", true}, {"{{plain}}.txt", true},
	} {
		got, err := fillArgv([]string{"tar", tt.item}, args)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %q, %v", tt.item, got, err)
		}
		if _, err := fillArgv([]string{"tar", "--", tt.item}, args); err != nil {
			t.Errorf("behind --: %s: %v", tt.item, err)
		}
	}
}

// TestGrantOfSignedBundle: whoever takes the signature away does not get rid of
// the rule for its signer.
func TestGrantOfSignedBundle(t *testing.T) {
	key := testKey(t, 'a')
	signed := mustLoad(t, signedFiles(t, "a", "1.0.0", "time = true", key), "a")
	stripped := *signed
	stripped.Signer = ""
	g := &Grants{Dir: t.TempDir()}
	for _, tt := range []struct {
		granted, asked *Bundle
		want           bool
	}{{signed, signed, true}, {signed, &stripped, false}, {&stripped, &stripped, true}, {&stripped, signed, true}} {
		if err := g.Add(tt.granted, time.Now()); err != nil {
			t.Fatal(err)
		}
		if got, err := g.Has(tt.asked); err != nil || got != tt.want {
			t.Errorf("granted to %q, asked by %q: %v %v", tt.granted.Signer, tt.asked.Signer, got, err)
		}
	}
}

// TestLongTargetsAreCut: a guest cannot fill the ledger with one denial.
func TestLongTargetsAreCut(t *testing.T) {
	s := Services{}
	audits := auditsOf(&s)
	got := ask(t, testDoor(t, "time = true", s), "secret.get", map[string]any{"id": strings.Repeat("x", 900_000)})
	if !strings.HasPrefix(got, "denied: ") || len(*audits) != 1 || len((*audits)[0]) > 1000 {
		t.Errorf("%.100s, %d audits", got, len(*audits))
	}
}

// TestPanicIsOneAttempt: a defect of the host costs one attempt.
func TestPanicIsOneAttempt(t *testing.T) {
	var warned error
	h := &Host{cfg: HostConfig{Warn: func(err error) { warned = err }}}
	res := h.survive(&rmp.AgentRequest{Ref: "a", Node: "n", Attempt: 2}, func() *rmp.AgentResponse {
		var m map[string]int
		m["x"] = 1
		return nil
	})
	if res == nil || res.Status != rmp.StatusFailed || res.Error.Code != CodeHost || res.Node != "n" || warned == nil {
		t.Errorf("%+v, %v", res, warned)
	}
}

// TestCheckAction: a request shows what it was asked about, or is nobody's to
// decide.
func TestCheckAction(t *testing.T) {
	who := Caller{TraceID: "trace:1", Node: "n", Agent: "a"}
	for _, details := range []string{"", `{}`, `{"to":["x"],"n":[1,-0.0,1e21,12345678901234567890,0.1,"é\u0000"]}`} {
		req, err := actionRequest(who, Action{Kind: "send", Summary: "s", Details: []byte(details)}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckAction(req); err != nil {
			t.Errorf("%s: %v", details, err)
		}
		forged := *req
		forged.Summary = "something harmless"
		if CheckAction(&forged) == nil {
			t.Errorf("%s: another summary passes", details)
		}
		forged = *req
		forged.Details = []byte("\x81\xa2to\xa1y")
		if CheckAction(&forged) == nil {
			t.Errorf("%s: other details pass", details)
		}
	}
}
