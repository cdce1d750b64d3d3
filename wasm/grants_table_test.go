package wasm

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/tetratelabs/wazero/api"

	"github.com/runloop-os/runloop/rmp"
)

// probeCall is one hostcall with the least grant that it needs, and how it is
// refused without.
type probeCall struct {
	op, args, grant, family, target string
}

// eachCapability is every hostcall that needs a capability.
var eachCapability = []probeCall{
	{"time.now", `{}`, "time = true", "time", "time"},
	{"kb.query", `{"sql":"SELECT 1"}`, "kb_read = true", "kb.read", "kb_read"},
	{"kb.search", `{"text":"x"}`, "kb_read = [\"notes\"]", "kb.read", "kb_read"},
	{"kb.search", `{"text":"x","domains":["notes"]}`, "kb_read = [\"notes\"]", "kb.read", "kb_read"},
	{"kb.why", `{"entity":"note:1"}`, "kb_read = true", "kb.read", "kb_read"},
	{"kb.propose", `{"kind":"note.added","payload":{}}`, "kb_write = [\"notes\"]", "kb.write", "notes"},
	{"artifact.save", `{"kind":"k","name":"n","bytes":""}`, "kb_write = [\"artifacts\"]", "kb.write", "artifacts"},
	{"model.complete", `{"prompt":"x"}`, "model = true", "model", "model"},
	{"model.embed", `{"input":"x"}`, "model = true", "model", "model"},
	{"http.request", `{"url":"http://127.0.0.1:1/"}`, "net = [\"127.0.0.1:1\"]\nallow_http = true", "net", "127.0.0.1:1"},
	{"secret.get", `{"id":"a/b"}`, "secrets = [\"a/b\"]", "secrets", "a/b"},
	{"exec.run", `{"argv":["true"]}`, "exec = [\"true\"]", "exec", "true"},
	{"tool.call", `{"id":"run"}`, "exec = [\"true\"]", "exec", "true"},
	{"tool.call", `{"id":"ask"}`, "net = [\"127.0.0.1:1\"]\nallow_http = true", "net", "127.0.0.1:1"},
}

const probeTools = `{"version":1,"tools":[
	{"id":"run","exec":{"argv":["true"]}},
	{"id":"ask","http":{"method":"GET","url":"http://127.0.0.1:1/"}}]}`

// toolRig is a host with the probe as a bundle that has tools.
func toolRig(t *testing.T, caps, tools string, s Services) *rig {
	t.Helper()
	files := bundleFiles("probe", caps, probeModule(t, LifeReactor))
	manifest := files["probe/manifest.toml"]
	manifest.Data = fmt.Appendf(manifest.Data, "\n[artifacts.tools]\npath = \"tools.json\"\nblake3 = %q\nversion = 1\n",
		hexSum([]byte(tools)))
	files["probe/tools.json"] = &fstest.MapFile{Data: []byte(tools), Mode: 0o644}
	return newRigWith(t, s, func(h *HostConfig) {
		h.Catalog = NewCatalog(Source{Name: "probe", FS: files, BuiltIn: true})
	})
}

// TestAnAgentTriesEachCapability: without a grant each hostcall is refused, by
// name, and audited with the whole family; with its grant, and only that, it
// goes through, and all others stay refused.
func TestAnAgentTriesEachCapability(t *testing.T) {
	var calls []string
	for _, c := range eachCapability {
		calls = append(calls, fmt.Sprintf(`{"Op":%q,"Args":%s}`, c.op, c.args))
	}
	request := "[" + strings.Join(calls, ",") + "]"
	grants := []string{""}
	for _, c := range eachCapability {
		if grants[len(grants)-1] != c.grant {
			grants = append(grants, c.grant)
		}
	}
	for _, grant := range grants {
		f := &fakeBackend{}
		s := f.services()
		s.Secrets = fakeSecrets{"a/b": "CANARY"}
		r := toolRig(t, grant, probeTools, s)
		var answers []any
		if err := json.Unmarshal([]byte(out(t, r.send(callRequest(r, request)))), &answers); err != nil {
			t.Fatal(err)
		}
		checkEachCall(t, grant, answers, f)
	}
}

func checkEachCall(t *testing.T, grant string, answers []any, f *fakeBackend) {
	t.Helper()
	granted, err := ParseCaps("policy.caps", []byte("[capabilities]\n"+grant))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for i, c := range eachCapability {
		text, _ := answers[i].(string)
		has := grantCovers(granted, c)
		refused := fmt.Sprintf("denied: denied:%s:%s is not granted", c.family, c.target)
		if c.target == "kb_read" && grant != "" && !granted.KBRead.IsZero() {
			has = true
		}
		if has == (text == refused) {
			t.Errorf("grant %q: %s %s: %v", grant, c.op, c.args, answers[i])
		}
		if !has {
			want[c.family+" "+c.op+" "+c.target]++
		}
	}
	for _, a := range f.audits {
		if a.Reason == "not granted" && want[a.Cap+" "+a.Op+" "+a.Target] == 0 {
			t.Errorf("grant %q: audit %+v", grant, a)
		}
		delete(want, a.Cap+" "+a.Op+" "+a.Target)
	}
	if len(want) > 0 {
		t.Errorf("grant %q: not audited: %v", grant, want)
	}
}

// grantCovers reports whether the capabilities hold the least that a call needs.
func grantCovers(have *Caps, c probeCall) bool {
	need, err := ParseCaps("policy.caps", []byte("[capabilities]\n"+c.grant))
	return err == nil && Intersect(have, need).Digest() == need.Digest()
}

// TestDenialTellsNothing: what is there and what is not, what is somebody
// else's and what is nobody's, read the same.
func TestDenialTellsNothing(t *testing.T) {
	s := Services{Secrets: fakeSecrets{"a/mine": "CANARY"}}
	there := filepath.Join(t.TempDir(), "tool")
	copyFile(t, "/bin/true", there, 0o755)
	pairs := map[string][2]string{
		"secret.get":   {`{"id":"a/mine"}`, `{"id":"a/none"}`},
		"exec.run":     {`{"argv":["` + there + `"]}`, `{"argv":["` + there + `x"]}`},
		"kb.search":    {`{"text":"x","domains":["notes"]}`, `{"text":"x","domains":["nosuch"]}`},
		"http.request": {`{"url":"https://localhost/"}`, `{"url":"https://nosuch.invalid/"}`},
	}
	names := strings.NewReplacer("a/mine", "X", "a/none", "X", there+"x", "X", there, "X", "notes", "X", "nosuch.invalid:443", "X",
		"localhost:443", "X", "nosuch", "X")
	for op, args := range pairs {
		d := testDoor(t, "", s)
		a := ask(t, d, op, json.RawMessage(args[0]))
		b := ask(t, d, op, json.RawMessage(args[1]))
		if names.Replace(a) != names.Replace(b) || !strings.HasPrefix(a, "denied: ") || strings.Contains(a, "CANARY") {
			t.Errorf("%s: %s | %s", op, a, b)
		}
	}
}

// TestAnAgentSeesNothingOfTheHost: nothing of the process that it runs in
// shows in argv, environment, the clock or error texts.
func TestAnAgentSeesNothingOfTheHost(t *testing.T) {
	t.Setenv("CANARY_ENV", "CANARY")
	eachLife(t, func(t *testing.T, life Life) {
		r := probeRig(t, life, "", Services{})
		seen := out(t, r.do("seen"))
		clock := out(t, r.do("clock"))
		for _, text := range []string{"CANARY", os.TempDir(), os.Getenv("HOME"), "/proc"} {
			if text != "" && text != "/" && strings.Contains(seen, text) {
				t.Errorf("%q shows in %s", text, seen)
			}
		}
		if !strings.Contains(clock, `"year":1970`) {
			t.Errorf("the clock tells the time: %s", clock)
		}
	})
}

// TestHostileRequestsAtTheDoor sends the MsgPack vectors as requests, and as
// arguments of each hostcall: a named fault or error each, and little memory.
func TestHostileRequestsAtTheDoor(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "testdata", "rmp", "msgpack", "*.bin"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d vectors: %v", len(files), err)
	}
	ops := []string{"time.now", "log", "nosuch"}
	for _, c := range eachCapability {
		ops = append(ops, c.op)
	}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range ops {
			wrapped := append([]byte{0x82, 0xa2, 'o', 'p', 0xa0 | byte(len(op))}, op...)
			wrapped = append(append(wrapped, 0xa4, 'a', 'r', 'g', 's'), src...)
			for _, req := range [][]byte{src, wrapped} {
				checkHostileRequest(t, filepath.Base(name)+" "+op, req)
			}
		}
	}
}

// fakeMemory is a guest's memory of so many bytes.
type fakeMemory struct {
	api.Memory
	bytes []byte
}

func (m fakeMemory) Read(at, n uint32) ([]byte, bool) {
	if uint64(at)+uint64(n) > uint64(len(m.bytes)) {
		return nil, false
	}
	return m.bytes[at : at+n], true
}

func checkHostileRequest(t *testing.T, name string, req []byte) {
	t.Helper()
	f := &fakeBackend{reply: &Decision{}}
	d := testDoor(t, "", f.services())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n := d.call(t.Context(), fakeMemory{bytes: req}, 0, uint32(len(req)))
	runtime.ReadMemStats(&after)
	// It is copied, turned into JSON and read: some times its size.
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20+32*uint64(len(req)) {
		t.Errorf("%s: %d bytes for %d", name, used, len(req))
	}
	var answer struct {
		OK  any
		Err *rmp.HostcallError
	}
	if n >= 0 && unmarshalMsgpack(d.pending, &answer) != nil {
		t.Errorf("%s: the answer is no answer", name)
	}
	if n >= 0 && answer.Err == nil && !strings.HasSuffix(name, " log") || n >= 0 && answer.Err != nil && answer.Err.Code == CodeHost {
		t.Errorf("%s: %d %+v", name, n, answer)
	}
}
