package runloop

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// embedServer is a server of embeddings as others have one
// (platform.openai.com/docs/api-reference/embeddings): vectors come in any order,
// with their index. What it is asked is kept.
type embedServer struct {
	mu    sync.Mutex
	asked []string
	fail  func(w http.ResponseWriter) bool // answers in its place
}

const embedDimensions = 8

// embedding is a vector of length 1 that follows from the text.
func embedding(text string) []float32 {
	v, sum := make([]float32, embedDimensions), 0.0
	for i := range v {
		h := fnv.New32a()
		fmt.Fprint(h, i, text)
		v[i] = float32(h.Sum32())/math.MaxUint32 - 0.5
		sum += float64(v[i] * v[i])
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

// ServeHTTP implements http.Handler.
func (e *embedServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	e.mu.Lock()
	e.asked = append(e.asked, fmt.Sprintf("%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("Authorization"), body))
	fail := e.fail
	e.mu.Unlock()
	var req struct {
		Model  string
		Input  []string
		Format string `json:"encoding_format"`
	}
	switch {
	case fail != nil && fail(w):
		return
	case r.URL.Path != "/v1/embeddings" || json.Unmarshal(body, &req) != nil || req.Format != "float":
		http.Error(w, `{"error":{"message":"bad request"}}`, http.StatusBadRequest)
		return
	}
	data, tokens := []any{}, 0
	for i := len(req.Input) - 1; i >= 0; i-- {
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": embedding(req.Input[i])})
		tokens += len(strings.Fields(req.Input[i]))
	}
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, map[string]any{
		"object": "list", "model": req.Model, "data": data, "usage": map[string]int{"prompt_tokens": tokens, "total_tokens": tokens},
	})
}

func (e *embedServer) failing(f func(http.ResponseWriter) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fail, e.asked = f, nil
}

// embedder is a home with the probe as an agent that may ask models of a server.
func embedder(t testing.TB, url, model, caps string) *home {
	h := newHome(t,
		`RUNLOOP__MODELS__BROKER__PROVIDERS=[{"id":"here","kind":"http","base_url":"`+url+`","secret_id":"runloop/models/here"}]`,
		"RUNLOOP__MODELS__DEFAULT=here:"+model, "RUNLOOP_MODELS_HERE=sesame")
	module, err := probeWasm()
	h.Check(err)
	writeTestBundle(h, filepath.Join(h.dir, ".runloop", "agents", "probe"), "probe", module, "[capabilities]\n"+caps+"\n",
		"[ports.in]\nin = \"any\"\n[ports.out]\nout = \"any\"\n")
	h.rlp("agent", "grant", "--yes", "probe")
	return h
}

// embed has an agent embed texts, one call for each list, and returns the answers:
// texts are errors.
func (h *home) embed(policy string, calls ...[]string) (answers []json.RawMessage, code int) {
	h.t.Helper()
	var list []any
	for _, c := range calls {
		list = append(list, map[string]any{"Op": "model.embed", "Args": map[string]any{"input": c}})
	}
	with, err := json.Marshal(map[string]any{"Do": "calls", "Calls": list})
	h.Check(err)
	file := filepath.Join(h.dir, "embed.yaml")
	h.Check(os.WriteFile(file, []byte("version: 0\nname: embed\n"+policy+"nodes:\n  - { id: n, use: 'agent:probe', with: "+string(with)+" }\nedges: []\n"), 0o600))
	trace := filepath.Join(h.dir, "trace.json")
	out, errs, code := h.run("rlp", "run", file, "--local", "--trace-out", trace)
	text, err := os.ReadFile(trace)
	if err != nil {
		h.t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	var doc struct {
		Nodes []struct {
			Final struct {
				Outputs struct{ Out []json.RawMessage }
			} `json:"final_attempt"`
		}
	}
	h.Check(json.Unmarshal(text, &doc))
	if strings.Contains(string(text)+out+errs, "sesame") {
		h.t.Error("the credential is shown")
	}
	return doc.Nodes[0].Final.Outputs.Out, code
}

// vectors reads an answer to model.embed.
type vectors struct {
	Vectors         [][]float32
	Model, Provider string
	Usage           struct {
		In int64 `json:"tokens_in"`
	}
}

func readVectors(t testing.TB, raw json.RawMessage) vectors {
	t.Helper()
	var v vectors
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return v
}

// TestEmbed goes all the way from an agent to a server of embeddings and back.
func TestEmbed(t *testing.T) {
	t.Parallel()
	server := &embedServer{}
	srv := httptest.NewServer(server)
	defer srv.Close()
	h := embedder(t, srv.URL, "test-embed", "model = true")
	texts := []string{"low tide", "high tide", "ébbe \x1b[31m und \"Flut\"", "low tide"}
	answers, code := h.embed("", texts, []string{"one more text"})
	if code != 0 || len(answers) != 2 {
		t.Fatalf("exit %d, %s", code, answers)
	}
	got := readVectors(t, answers[0])
	if len(got.Vectors) != len(texts) || got.Model != "test-embed" || got.Provider != "here" || got.Usage.In != 10 {
		t.Errorf("answer %s", answers[0])
	}
	for i, v := range got.Vectors {
		if fmt.Sprint(v) != fmt.Sprint(embedding(texts[i])) {
			t.Errorf("vector %d is %v, want %v", i, v, embedding(texts[i]))
		}
	}
	if v := readVectors(t, answers[1]); len(v.Vectors) != 1 || v.Usage.In != 3 {
		t.Errorf("answer %s", answers[1])
	}
	want := `POST /v1/embeddings Bearer sesame {"encoding_format":"float","input":["one more text"],"model":"test-embed"}`
	if len(server.asked) != 2 || server.asked[1] != want {
		t.Errorf("the server was asked %q", server.asked)
	}
	records := h.rlp("kb", "query", "--json", "SELECT payload_json FROM events WHERE kind = 'broker.call'")
	if strings.Count(records, `\"op\":\"embed\"`) != 2 || !strings.Contains(records, `\"tokens_in\":10`) {
		t.Errorf("records %s", records)
	}
	srv.Close()
	if out := h.rlp("replay", filepath.Join(h.dir, "trace.json")); !strings.Contains(out, "1 identical, 0 different") {
		t.Errorf("replay without the server: %s", out)
	}
}

// TestEmbedRefusals: whatever goes wrong is an answer with a code for the agent, and
// costs what was used.
func TestEmbedRefusals(t *testing.T) {
	t.Parallel()
	server := &embedServer{}
	srv := httptest.NewServer(server)
	defer srv.Close()
	h := embedder(t, srv.URL, "test-embed", "model = true")
	say := func(status int, body string) func(http.ResponseWriter) bool {
		return func(w http.ResponseWriter) bool {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return true
		}
	}
	many := make([]string, 257)
	for i := range many {
		many[i] = "x"
	}
	for _, tt := range []struct {
		name, policy string
		fail         func(http.ResponseWriter) bool
		input        []string
		want         string
		asked        int
	}{
		{"no text", "", nil, []string{}, "invalid", 0},
		{"an empty text", "", nil, []string{""}, "invalid", 0},
		{"too many", "", nil, many, "invalid", 0},
		{"over the budget", "policy: { budget_tokens: 3 }\n", nil, []string{strings.Repeat("tide ", 50)}, "budget", 0},
		{"unknown model", "", say(404, `{"error":{"message":"no such model"}}`), []string{"x"}, "provider", 1},
		{"wrong key", "", say(401, `{"error":{"message":"no such key"}}`), []string{"x"}, "provider", 1},
		{"too few", "", say(200, `{"data":[{"index":0,"embedding":[1]}]}`), []string{"x", "y"}, "provider", 1},
		{"ragged", "", say(200, `{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1,2]}]}`), []string{"x", "y"}, "provider", 1},
		{"in base64", "", say(200, `{"data":[{"index":0,"embedding":"AACAPw=="}]}`), []string{"x"}, "provider", 1},
		{"not JSON", "", say(200, "\x1b[31mhello"), []string{"x"}, "provider", 1},
	} {
		server.failing(tt.fail)
		answers, code := h.embed(tt.policy, tt.input)
		var text string
		if len(answers) != 1 || json.Unmarshal(answers[0], &text) != nil || !strings.Contains(text, tt.want) || strings.Contains(text, "\x1b") {
			t.Errorf("%s: exit %d, %s", tt.name, code, answers)
		}
		if len(server.asked) != tt.asked {
			t.Errorf("%s: asked %q", tt.name, server.asked)
		}
	}
	denied := embedder(t, srv.URL, "test-embed", "time = true")
	server.failing(nil)
	answers, _ := denied.embed("", []string{"x"})
	if len(answers) != 1 || !strings.Contains(string(answers[0]), "denied") || len(server.asked) != 0 {
		t.Errorf("without the capability: %s, asked %q", answers, server.asked)
	}
}

// TestEmbedWithServer is the same with a server of somebody else's, such as that of
// llama.cpp or Ollama with a model for embeddings: RUNLOOP_EMBED_URL says where it
// is, RUNLOOP_EMBED_MODEL what its model is called.
func TestEmbedWithServer(t *testing.T) {
	url, model := os.Getenv("RUNLOOP_EMBED_URL"), os.Getenv("RUNLOOP_EMBED_MODEL")
	if url == "" || model == "" {
		t.Skip("there is no server: RUNLOOP_EMBED_URL and RUNLOOP_EMBED_MODEL are not set")
	}
	h := embedder(t, url, model, "model = true")
	texts := []string{"low tide", "high tide", "the quick brown fox", "low tide"}
	answers, code := h.embed("", texts, texts[2:3])
	if code != 0 || len(answers) != 2 {
		t.Fatalf("exit %d, %s", code, answers)
	}
	all, one := readVectors(t, answers[0]), readVectors(t, answers[1])
	if len(all.Vectors) != 4 || len(one.Vectors) != 1 || all.Usage.In <= one.Usage.In || one.Usage.In == 0 {
		t.Fatalf("answers %.500s", answers)
	}
	near := func(a, b []float32) float64 {
		var ab, aa, bb float64
		for i := range a {
			x, y := float64(a[i]), float64(b[i])
			ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
		}
		return ab / math.Sqrt(aa*bb)
	}
	v := all.Vectors
	if near(v[0], v[3]) < 0.999 || near(v[2], one.Vectors[0]) < 0.999 || near(v[0], v[2]) > 0.999 {
		t.Errorf("the same text is %v and %v to itself, and another %v", near(v[0], v[3]), near(v[2], one.Vectors[0]), near(v[0], v[2]))
	}
	if out := h.rlp("replay", filepath.Join(h.dir, "trace.json")); !strings.Contains(out, "1 identical, 0 different") {
		t.Errorf("replay: %s", out)
	}
	wrong := embedder(t, url, "no-such-model", "model = true")
	answers, _ = wrong.embed("", texts)
	if len(answers) != 1 || answers[0][0] != '"' {
		t.Errorf("a model that is not there: %.300s", answers)
	}
	t.Logf("%d dimensions, %d tokens", len(v[0]), all.Usage.In)
}
