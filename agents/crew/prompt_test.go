package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/wasm/guest"
)

var readers = [][]any{
	{"uid-1", "John Okafor", "john.okafor@example.com", "Harbor Labs", 11},
	{"uid-2", "Mei Tanaka", "mei@example.org", "", 12},
	{"uid-3", "Zoé Lindqvist", "zoe@example.net", "", 13},
	{"uid-4", "Petra Novák", "petra@example.net", "", 14},
	{"uid-5", "Will Stone", "will@example.net", "", 15},
	{"uid-6", "Mark", "mark@example.net", "", 16},
	{"uid-7", "Ana Pérez", "ana@example.net", "", 17},
	{"uid-8", "Ana Gross", "gross@example.net", "", 18},
}

func kbOfReaders() *fakeHost {
	hits := []guest.Hit{}
	for _, p := range readers {
		hits = append(hits, guest.Hit{Entity: "contact:" + p[0].(string)})
	}
	return &fakeHost{answers: map[string]any{
		"kb.search": map[string]any{"hits": hits},
		"kb.query": map[string]any{
			"columns": []string{"contact_key", "name", "email", "org", "source_event"}, "rows": readers,
		},
	}}
}

// TestPrompt: whom a prompt is for and what it is about.
func TestPrompt(t *testing.T) {
	for _, tt := range []struct{ prompt, who, topic string }{
		{"write John about the Q4 plan", "John Okafor", "the Q4 plan"},
		{"Write to John Okafor about the Q4 plan.", "John Okafor", "the Q4 plan"},
		{"email john.okafor@example.com regarding the contract", "John Okafor", "the contract"},
		{"email <john.okafor@example.com>: the contract is late", "John Okafor", "the contract is late"},
		{"please send Mei the figures for October", "Mei Tanaka", "the figures for October"},
		{"tell mei that the offsite moved to May", "Mei Tanaka", "the offsite moved to May"},
		{"write something about the venue for Petra", "Petra Novák", "the venue"},
		{"draft John an email saying the numbers are late", "John Okafor", "the numbers are late"},
		{"remind John to send the report", "John Okafor", "send the report"},
		{"ask Mei on the budget", "Mei Tanaka", "the budget"},
		{"schreib Petra über den Q4-Plan", "Petra Novák", "den Q4-Plan"},
		{"Schreibe bitte eine E-Mail an Petra wegen der Rechnung", "Petra Novák", "der Rechnung"},
		{"écris à Zoé au sujet du plan", "Zoé Lindqvist", "plan"},
		{"escribe a Mei sobre el contrato", "Mei Tanaka", "el contrato"},
		{"scrivi a Mei riguardo il contratto", "Mei Tanaka", "il contratto"},
		{"write Jon about the Q4 plan", "John Okafor", "the Q4 plan"},
		{"write Ana about the Q4 plan", "Ana Gross", "the Q4 plan"}, // or the other, and the person is told
		{"John, the Q4 plan is ready", "John Okafor", "the Q4 plan is ready"},
		{"let John Okafor know about the release. Keep it short.", "John Okafor", "the release"},
		{"write John about Mei's promotion", "John Okafor", "Mei's promotion"},
		{"tell Will about Mark", "Will Stone", "Mark"},
		{"write John\nabout the plan\nthanks", "John Okafor", "the plan"},
		{"write john about <b>\"the plan\"</b>", "John Okafor", "b>\"the plan\"</b"},

		{"Will the plan hold?", "!nobody in the prompt", ""},
		{"what's eating my disk?", "!nobody in the prompt is a known contact:", ""},
		{"write Zorblax about the Q4 plan", `!("Zorblax" is not)`, ""},
		{"write bob@example.org about the plan", `!("bob@example.org" is not)`, ""},
		{"we should mark the will", "!nobody", ""},
		{"to park the plan", "!nobody", ""},
		{"write John and Mei about the plan", "!is for John Okafor and Mei Tanaka", ""},
		{"write John, Mei about the plan", "!is for John Okafor and Mei Tanaka", ""},
		{"mail mei@example.org, zoe@example.net", "!is for Mei Tanaka and Zoé Lindqvist", ""},
		{"write John", "John Okafor", ""},
		{"-p -- $(rm -rf /) `id` %s %n", "!nobody", ""},
		{strings.Repeat("John ", 5000), "John Okafor", "John"},
	} {
		with, err := json.Marshal(map[string]string{"prompt": tt.prompt})
		if err != nil {
			t.Fatal(err)
		}
		ports, stderr, status := tryServe(t, kbOfReaders(), "contact_resolver", string(with), nil)
		if want, fails := strings.CutPrefix(tt.who, "!"); fails {
			if status == 0 || !strings.Contains(stderr, want) || !strings.Contains(stderr, "-p recipient=") {
				t.Errorf("%.60q: status %d, %s %s", tt.prompt, status, stderr, ports["out"])
			}
			continue
		}
		if status != 0 {
			t.Errorf("%.60q: %s", tt.prompt, stderr)
			continue
		}
		who := read[contact](t, ports["out"])
		topic := topicOf(tt.prompt, who.Mention)
		if who.Name != tt.who || who.Mention == "" || topic != tt.topic && !strings.HasPrefix(tt.prompt, "John John") {
			t.Errorf("%.60q: %s by %q, about %q; want %s, %q", tt.prompt, who.Name, who.Mention, topic, tt.who, tt.topic)
		}
	}
}

// TestPromptAmbiguous: who else could be meant is told.
func TestPromptAmbiguous(t *testing.T) {
	got := read[contact](t, serve(t, kbOfReaders(), "contact_resolver", `{"prompt":"write Ana about the plan"}`, nil)["out"])
	if got.Confidence > ambiguous || len(got.RunnersUp) != 1 || got.RunnersUp[0].Name != "Ana Pérez" || got.Mention != "Ana" {
		t.Errorf("%+v", got)
	}
}

// TestRecipientGoesFirst: what was said exactly is not guessed.
func TestRecipientGoesFirst(t *testing.T) {
	got := read[contact](t, serve(t, kbOfReaders(), "contact_resolver", `{"query":"Mei Tanaka","prompt":"write John about x"}`, nil)["out"])
	if got.Name != "Mei Tanaka" || got.Mention != "" {
		t.Errorf("%+v", got)
	}
}

func TestPromptTopic(t *testing.T) {
	h := func() *fakeHost {
		return &fakeHost{answers: map[string]any{"kb.search": map[string]any{"hits": []guest.Hit{{Title: "Plan", Excerpt: "x", EventID: 7}}}}}
	}
	who := map[string]any{"contact": contact{Name: "John Okafor", Email: "j@example.com", Mention: "John"}}
	host := h()
	got := read[bundle](t, serve(t, host, "context_gatherer", `{"prompt":"write John about the Q4 plan"}`, who)["out"])
	if got.Topic != "the Q4 plan" || !strings.Contains(host.asked[0], `"the Q4 plan"`) {
		t.Errorf("%+v %q", got, host.asked)
	}
	if got := read[bundle](t, serve(t, h(), "context_gatherer", `{"topic":"venue","prompt":"write John about the Q4 plan"}`, who)["out"]); got.Topic != "venue" {
		t.Errorf("%+v", got)
	}
	if _, stderr, status := tryServe(t, h(), "context_gatherer", `{"prompt":"write John"}`, who); status == 0 || !strings.Contains(stderr, "-p topic=") {
		t.Errorf("status %d: %s", status, stderr)
	}
}

// BenchmarkPromptWorst is the most words and contacts that there can be.
func BenchmarkPromptWorst(b *testing.B) {
	words := wordsOf(strings.Repeat("Tell Jonathan Okaforsson about it and ask ", 50))[:nameWithin]
	pool := make([]contact, (addressesMax+leadsMax+1)*50)
	for i := range pool {
		pool[i] = contact{ContactID: string(rune('a' + i)), Name: "Johannes Maria van Okaforson", folded: "johannes maria van okaforson"}
	}
	for b.Loop() {
		for i := range words {
			nameAt(words, i, pool)
		}
	}
}

func FuzzPrompt(f *testing.F) {
	f.Add("write John about the Q4 plan", "John")
	f.Add("\x00\xff ' ,, 's ’s about", "'s")
	f.Fuzz(func(t *testing.T, prompt, mention string) {
		words := wordsOf(prompt)
		for i := range words {
			nameAt(words, i, nil)
		}
		lookUps(words)
		if topic := topicOf(prompt, mention); len([]rune(topic)) > topicMax+1 {
			t.Errorf("%d runes", len([]rune(topic)))
		}
	})
}
