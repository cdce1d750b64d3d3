package runloop

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
)

// modelServer speaks the part of the OpenAI-compatible protocol that the
// broker uses, streaming included, and answers every completion with one text.
type modelServer struct {
	text string
	key  string // the credential it wants, or ""
	// hang keeps every completion waiting until its client goes away.
	hang  bool
	asked atomic.Int64 // completions
}

// ServeHTTP implements http.Handler.
func (m *modelServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m.key != "" && r.Header.Get("Authorization") != "Bearer "+m.key {
		http.Error(w, `{"error":{"message":"no such key"}}`, http.StatusUnauthorized)
		return
	}
	switch r.URL.Path {
	case "/v1/models":
		fmt.Fprint(w, `{"object":"list","data":[{"id":"test-model","object":"model"}]}`)
	case "/v1/chat/completions":
		m.complete(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (m *modelServer) complete(w http.ResponseWriter, r *http.Request) {
	m.asked.Add(1)
	if m.hang {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not see that the client is gone
		<-r.Context().Done()
		return
	}
	var req struct {
		Model    string
		Stream   bool
		Messages []struct{ Role, Content string }
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil || len(req.Messages) == 0 {
		http.Error(w, `{"error":{"message":"bad request"}}`, http.StatusBadRequest)
		return
	}
	usage := map[string]int{"prompt_tokens": 40, "completion_tokens": 12, "total_tokens": 52}
	if !req.Stream {
		writeJSON(w, map[string]any{
			"id": "c1", "object": "chat.completion", "model": req.Model, "usage": usage,
			"choices": []any{map[string]any{
				"index": 0, "finish_reason": "stop", "message": map[string]string{"role": "assistant", "content": m.text},
			}},
		})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	chunk := func(delta map[string]string, finish any) {
		fmt.Fprint(w, "data: ")
		writeJSON(w, map[string]any{
			"id": "c1", "object": "chat.completion.chunk", "model": req.Model,
			"choices": []any{map[string]any{"index": 0, "delta": delta, "finish_reason": finish}},
		})
		fmt.Fprint(w, "\n")
	}
	half := len(m.text) / 2
	chunk(map[string]string{"role": "assistant", "content": m.text[:half]}, nil)
	chunk(map[string]string{"content": m.text[half:]}, nil)
	chunk(map[string]string{}, "stop")
	fmt.Fprint(w, "data: ")
	writeJSON(w, map[string]any{"id": "c1", "object": "chat.completion.chunk", "model": req.Model, "choices": []any{}, "usage": usage})
	fmt.Fprint(w, "\ndata: [DONE]\n\n")
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	w.Write(append(b, '\n'))
}

// cmdModel is `model start FILE`, `model hang` or `model stop`: a model server
// at $MODEL_URL that answers with the text of a file, or never, and takes the key
// "sesame" alone. `model asked N` holds how often it was asked against N.
func cmdModel(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case len(args) == 2 && args[0] == "start":
		text, err := os.ReadFile(ts.MkAbs(args[1]))
		ts.Check(err)
		startModel(ts, &modelServer{text: string(text), key: "sesame"})
	case len(args) == 1 && args[0] == "hang":
		startModel(ts, &modelServer{key: "sesame", hang: true})
	case len(args) == 1 && args[0] == "stop":
		servers[ts].Close()
	case len(args) == 2 && args[0] == "asked":
		if n := servers[ts].Config.Handler.(*modelServer).asked.Load(); strconv.FormatInt(n, 10) != args[1] {
			ts.Fatalf("the model was asked %d times, not %s", n, args[1])
		}
	default:
		ts.Fatalf("usage: model start FILE | model hang | model stop | model asked N")
	}
}

func startModel(ts *testscript.TestScript, m *modelServer) {
	srv := httptest.NewServer(m)
	ts.Defer(srv.Close)
	ts.Setenv("MODEL_URL", srv.URL)
	servers[ts] = srv
}

// servers are those of the scripts that run; each script touches its own.
var servers = map[*testscript.TestScript]*httptest.Server{}
