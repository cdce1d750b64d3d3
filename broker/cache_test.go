package broker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runloop-os/runloop/broker"
)

// cached makes a broker with a cache, a clock the test moves, and a server
// that numbers its answers.
func cached(t *testing.T, cfg broker.CacheConfig) (*fixture, *server, *time.Time) {
	srv := serve(t, func(x *exchange) { x.words(10, 10, fmt.Sprintf("answer %d", x.n)) })
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := newBroker(t, srv.url(), func(c *broker.Config) {
		c.Cache = cfg
		c.Now = func() time.Time { return now }
	})
	return b, srv, &now
}

func scoped(scope, text string) broker.Request {
	r := ask("m", text)
	r.Caller.CacheScope = scope
	return r
}

func text(t *testing.T, b *fixture, r broker.Request) string {
	t.Helper()
	resp, err := b.Complete(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Text
}

var roomy = broker.CacheConfig{TTL: time.Minute, Capacity: 100}

func TestCacheHit(t *testing.T) {
	b, srv, now := cached(t, roomy)
	r := scoped("a", "hello")
	r.Caller.Trace = "T"
	for range 3 {
		if got := text(t, b, r); got != "answer 1" {
			t.Errorf("got %q", got)
		}
	}
	recs := b.recorded()
	if len(srv.requests()) != 1 || len(recs) != 3 || !recs[2].Cached || recs[2].TokensIn != 0 || recs[2].Attempt != 0 {
		t.Errorf("%d requests, records %+v", len(srv.requests()), recs)
	}
	if _, run, _ := b.Spent("T", ""); run.TokensIn != 10 {
		t.Errorf("hits were charged: %+v", run)
	}
	*now = now.Add(time.Minute)
	if got := text(t, b, r); got != "answer 2" {
		t.Errorf("after the TTL: %q", got)
	}
}

// TestCacheScopes: the same question by callers with other grants never
// shares an answer, and without a scope nothing is shared at all.
func TestCacheScopes(t *testing.T) {
	b, srv, _ := cached(t, roomy)
	a, c := text(t, b, scoped("a", "hello")), text(t, b, scoped("b", "hello"))
	if a == c {
		t.Error("two scopes shared an answer")
	}
	text(t, b, scoped("", "hello"))
	text(t, b, scoped("", "hello"))
	if n := len(srv.requests()); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}

// TestCacheKey changes one thing at a time; every change must miss, and
// another spelling of the same must hit.
func TestCacheKey(t *testing.T) {
	b, srv, _ := cached(t, roomy)
	b.warm(t, cacheable())
	n := len(srv.requests())
	for name, change := range map[string]func(*broker.Request){
		"scope":   func(r *broker.Request) { r.Caller.CacheScope = "other" },
		"model":   func(r *broker.Request) { r.Model = "srv:m2" },
		"content": func(r *broker.Request) { r.Messages[1].Content += "." },
		"role":    func(r *broker.Request) { r.Messages[1].Role = broker.RoleAssistant },
		"boundary": func(r *broker.Request) {
			r.Messages[0].Content, r.Messages[1].Content = "Be", " terse."+r.Messages[1].Content
		},
		"temperature":  func(r *broker.Request) { r.Params.Temperature = ptr(0.1) },
		"unset":        func(r *broker.Request) { r.Params.Temperature = nil },
		"seed":         func(r *broker.Request) { r.Params.Seed = ptr(int64(8)) },
		"max tokens":   func(r *broker.Request) { r.Params.MaxTokens++ },
		"tool":         func(r *broker.Request) { r.Tools[0].Description = "Finds other facts." },
		"tool schema":  func(r *broker.Request) { r.Tools[0].Parameters = json.RawMessage(`{"a":1}`) },
		"tool choice":  func(r *broker.Request) { r.Params.ToolChoice = "auto" },
		"big integers": func(r *broker.Request) { r.Tools[0].Parameters = json.RawMessage(`{"a":9007199254740993}`) },
	} {
		r := cacheable()
		change(&r)
		b.warm(t, r)
		if n++; len(srv.requests()) != n {
			t.Fatalf("%s: answered from the cache", name)
		}
	}
	r := cacheable()
	r.Tools[0].Parameters = json.RawMessage("{ \"properties\":{\"q\":{\"type\":\"string\"}},\n \"type\":\"object\" }")
	b.warm(t, r)
	if len(srv.requests()) != n {
		t.Error("another order of members missed")
	}
}

// cacheable is the full request in the form that this server can answer.
func cacheable() broker.Request {
	r := full()
	r.Schema = nil
	r.Caller.CacheScope = "a"
	return r
}

func (f *fixture) warm(t *testing.T, r broker.Request) {
	t.Helper()
	text(t, f, r)
}

func TestCacheTTLOfOneCall(t *testing.T) {
	b, srv, now := cached(t, roomy)
	r := scoped("a", "hello")
	r.CacheTTL = ptr(time.Duration(0))
	text(t, b, r)
	text(t, b, r)
	r.CacheTTL = nil
	text(t, b, r) // the calls before left nothing behind
	if n := len(srv.requests()); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
	r = scoped("a", "brief")
	r.CacheTTL = ptr(time.Second)
	text(t, b, r)
	*now = now.Add(2 * time.Second)
	text(t, b, r)
	if n := len(srv.requests()); n != 5 {
		t.Errorf("%d requests, want 5", n)
	}
}

func TestCacheEviction(t *testing.T) {
	b, srv, _ := cached(t, broker.CacheConfig{TTL: time.Hour, Capacity: 2})
	text(t, b, scoped("s", "one"))
	text(t, b, scoped("s", "two"))
	text(t, b, scoped("s", "one")) // now "two" is the oldest
	text(t, b, scoped("s", "three"))
	text(t, b, scoped("s", "one"))
	if n := len(srv.requests()); n != 3 {
		t.Errorf("%d requests: the wrong answer was dropped", n)
	}
	text(t, b, scoped("s", "two"))
	if n := len(srv.requests()); n != 4 {
		t.Errorf("%d requests: more than the capacity was kept", n)
	}
}

func TestCacheBytes(t *testing.T) {
	long := strings.Repeat("z", 3000)
	srv := serve(t, func(x *exchange) { x.words(1, 1, long) })
	b := newBroker(t, srv.url(), func(c *broker.Config) {
		c.Cache = broker.CacheConfig{TTL: time.Hour, Capacity: 100, MaxBytes: 8000}
	})
	for _, q := range []string{"1", "2", "3", "3", "2", "1"} {
		text(t, b, scoped("s", q))
	}
	if n := len(srv.requests()); n != 4 {
		t.Errorf("%d requests, want 4: two answers fit", n)
	}
	tiny := newBroker(t, srv.url(), func(c *broker.Config) {
		c.Cache = broker.CacheConfig{TTL: time.Hour, Capacity: 100, MaxBytes: 1000}
	})
	text(t, tiny, scoped("s", "1"))
	text(t, tiny, scoped("s", "1"))
	if n := len(srv.requests()); n != 6 {
		t.Errorf("%d requests, want 6: an answer over the limit was kept", n)
	}
}

// TestCacheKeepsItsOwnCopy: what a caller does to an answer is no business of
// the next one.
func TestCacheKeepsItsOwnCopy(t *testing.T) {
	srv := serve(t, func(x *exchange) {
		x.say(jsonHead, `{"choices":[{"index":0,"message":{"tool_calls":[{"id":"t","function":{"name":"f","arguments":"[1]"}}]},"finish_reason":"tool_calls"}]}`)
	})
	b := newBroker(t, srv.url(), func(c *broker.Config) { c.Cache = roomy })
	for range 3 {
		resp, err := b.Complete(t.Context(), scoped("s", "x"))
		if err != nil || string(resp.ToolCalls[0].Arguments) != "[1]" {
			t.Fatalf("got %+v, %v", resp, err)
		}
		resp.ToolCalls[0].Arguments[1] = '9'
		resp.ToolCalls[0].Name = "rm"
	}
	if n := len(srv.requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// TestCacheSkipsCutAnswers: an answer that ended too early is asked for again.
func TestCacheSkipsCutAnswers(t *testing.T) {
	srv := serve(t, func(x *exchange) {
		x.say(jsonHead, `{"choices":[{"index":0,"message":{"content":"and then"},"finish_reason":"length"}]}`)
	})
	b := newBroker(t, srv.url(), func(c *broker.Config) { c.Cache = roomy })
	text(t, b, scoped("s", "x"))
	text(t, b, scoped("s", "x"))
	if n := len(srv.requests()); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// TestCacheHammer uses a small cache from many sides; the race detector and
// the answers' own numbers are the check.
func TestCacheHammer(t *testing.T) {
	b, err := broker.New(broker.Config{
		Providers: []broker.ProviderConfig{{ID: "echo", Kind: "null"}},
		Cache:     broker.CacheConfig{TTL: time.Millisecond, Capacity: 3, MaxBytes: 4000},
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 300 {
				q := fmt.Sprintf("question %d", (i*7+g)%10)
				r := ask("echo:x", q)
				r.Caller = broker.Caller{CacheScope: fmt.Sprint(i % 2), Trace: fmt.Sprint(g % 2), Node: "n"}
				if resp, err := b.Complete(t.Context(), r); err != nil || resp.Text != q {
					t.Errorf("got %+v, %v", resp, err)
				}
			}
		})
	}
	wg.Wait()
}
