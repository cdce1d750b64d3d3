package broker

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestNewRefuses checks that every mistake in a configuration is found when
// the broker is made, with a message that says where.
func TestNewRefuses(t *testing.T) {
	web := ProviderConfig{ID: "web", Kind: "http", BaseURL: "https://models.example"}
	with := func(change func(*ProviderConfig)) Config {
		p := web
		change(&p)
		return Config{Providers: []ProviderConfig{p}}
	}
	for _, c := range []struct {
		name string
		cfg  Config
		says string
	}{
		{"kind", with(func(p *ProviderConfig) { p.Kind = "htpp" }), `did you mean "http"?`},
		{"kind unlike any", with(func(p *ProviderConfig) { p.Kind = "smoke signals" }), `kinds: ["http" "null"]`},
		{"kind empty", with(func(p *ProviderConfig) { p.Kind = "" }), "unknown kind"},
		{"id", with(func(p *ProviderConfig) { p.ID = "a:b" }), "malformed"},
		{"id empty", with(func(p *ProviderConfig) { p.ID = "" }), "malformed"},
		{"id twice", Config{Providers: []ProviderConfig{web, web}}, "providers[1]"},
		{"null with url", Config{Providers: []ProviderConfig{{ID: "n", Kind: "null", BaseURL: "https://x"}}}, "takes no"},
		{"secret without resolver", with(func(p *ProviderConfig) { p.SecretID = "s" }), "secret_id"},
		{"url", with(func(p *ProviderConfig) { p.BaseURL = "models.example" }), "not a URL"},
		{"url empty", with(func(p *ProviderConfig) { p.BaseURL = "" }), "not a URL"},
		{"url without host", with(func(p *ProviderConfig) { p.BaseURL = "https://:443/" }), "not a URL"},
		{"url opaque", with(func(p *ProviderConfig) { p.BaseURL = "https:models.example" }), "not a URL"},
		{"url with control", with(func(p *ProviderConfig) { p.BaseURL = "https://x\x1b[2J/" }), "not a URL"},
		{"scheme", with(func(p *ProviderConfig) { p.BaseURL = "file://host/etc/passwd" }), "scheme"},
		{"password", with(func(p *ProviderConfig) { p.BaseURL = "https://u:hunter2@host/" }), "use secret_id"},
		{"query", with(func(p *ProviderConfig) { p.BaseURL = "https://host/?key=1" }), "query"},
		{"plain http", with(func(p *ProviderConfig) { p.BaseURL = "http://models.example" }), "allow_http"},
		{"http to a short loopback", with(func(p *ProviderConfig) { p.BaseURL = "http://127.1/" }), "allow_http"},
		{"http to metadata", with(func(p *ProviderConfig) { p.BaseURL = "http://169.254.169.254/" }), "allow_http"},
		{"http to a lookalike", with(func(p *ProviderConfig) { p.BaseURL = "http://localhost.evil.example" }), "allow_http"},
		{"proxy", with(func(p *ProviderConfig) { p.Proxy = "yes" }), "proxy"},
		{"proxy scheme", with(func(p *ProviderConfig) { p.Proxy = "gopher://x:1" }), "schemes"},
		{"route provider", Config{Providers: []ProviderConfig{web},
			Routes: []Route{{Pattern: "*", Provider: "wep"}}}, `route[0]: no provider "wep" (did you mean "web"?)`},
		{"route pattern", Config{Providers: []ProviderConfig{web}, Routes: []Route{{Provider: "web"}}}, "use * for every model"},
		{"route target", Config{Providers: []ProviderConfig{web},
			Routes: []Route{{Pattern: "*", Provider: "web", TargetModel: "a b"}}}, "target_model"},
		{"routes", Config{Routes: make([]Route, 5000)}, "limit 1024"},
		{"price", Config{Prices: []Price{{Model: "m", In: -1}}}, "prices[0]"},
		{"price without model", Config{Prices: []Price{{In: 1}}}, "prices[0]"},
		{"limits", Config{Defaults: Limits{Run: Limit{Tokens: -1}}}, "default"},
		{"caps", Config{Caps: Limits{Day: Limit{USD: -1}}}, "cap"},
	} {
		_, err := New(c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.says)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") || strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("%s: unfit to show: %q", c.name, err)
		}
	}
}

func TestBaseURL(t *testing.T) {
	for raw, want := range map[string]struct {
		base  string
		local bool
	}{
		"https://api.example.com":         {"https://api.example.com", false},
		"https://api.example.com/v1":      {"https://api.example.com", false},
		"https://api.example.com/a/v1//":  {"https://api.example.com/a", false},
		"http://127.0.0.1:8080":           {"http://127.0.0.1:8080", true},
		"http://[::1]:8080/v1":            {"http://[::1]:8080", true},
		"http://localhost:1234/v1":        {"http://localhost:1234", true},
		"http://192.168.1.5":              {"http://192.168.1.5", true},
		"http://[::ffff:10.0.0.1]":        {"http://[::ffff:10.0.0.1]", true},
		"https://10.1.2.3/v1":             {"https://10.1.2.3", true},
		"https://192.168.1.5.example.com": {"https://192.168.1.5.example.com", false},
	} {
		u, local, err := parseBase(raw, false)
		if err != nil || u.String() != want.base || local != want.local {
			t.Errorf("%s: got %v, %v, %v", raw, u, local, err)
		}
	}
	if _, _, err := parseBase("http://models.example", true); err != nil {
		t.Errorf("allowed plain http: %v", err)
	}
}

// TestProxyFromEnvironment looks at the transport, because net/http reads the
// environment once a process.
func TestProxyFromEnvironment(t *testing.T) {
	for proxy, want := range map[string]bool{"": false, "env": true, "http://p:1": true} {
		c, err := newClient(ProviderConfig{Proxy: proxy})
		if err != nil || (c.Transport.(*http.Transport).Proxy != nil) != want {
			t.Errorf("proxy %q: %+v, %v", proxy, c, err)
		}
	}
}

// TestMaxTokensField: OpenAI's own host wants another name than its clones.
func TestMaxTokensField(t *testing.T) {
	for url, want := range map[string]string{
		"https://api.openai.com/v1": "max_completion_tokens", "https://openrouter.ai/api/v1": "max_tokens",
	} {
		p, err := newHTTPProvider(ProviderConfig{ID: "x", Kind: "http", BaseURL: url}, nil)
		if err != nil || p.maxTokensField != want {
			t.Errorf("%s: %+v, %v", url, p, err)
		}
	}
}

func TestResolve(t *testing.T) {
	table, err := newRouteTable([]Route{
		{Pattern: "gpt-*", Provider: "openai"},
		{Pattern: "openai:gpt-4*", Provider: "spare", TargetModel: "llama"},
		{Pattern: "fast", Provider: "spare", TargetModel: "tiny"},
		{Pattern: "fast", Provider: "spare", TargetModel: "tiny"},
		{Pattern: "local:*", Provider: "spare"},
		{Pattern: "*b", Provider: "spare"},
	}, []string{"openai", "spare"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"gpt-4o":         "openai/gpt-4o",
		"openai:gpt-4o":  "openai/gpt-4o spare/llama",
		"openai:o3":      "openai/o3",
		"fast":           "spare/tiny",
		"local:llama3":   "spare/llama3",
		"qwen2:7b":       "spare/qwen2:7b",
		"gpt-b":          "openai/gpt-b spare/gpt-b",
		"exec:thingb":    "spare/thingb", // a wish that a route takes
		"exec:thing":     "provider_unavailable",
		"nobody":         "invalid",
		"openai:":        "invalid",
		"":               "invalid",
		"null:x":         "provider_unavailable",
		"anything:at:0b": "spare/anything:at:0b",
	} {
		targets, err := table.resolve(name)
		var got []string
		for _, target := range targets {
			got = append(got, target.Provider+"/"+target.Model)
		}
		if err != nil {
			got = []string{string(err.Code)}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q leads to %v, want %s", name, got, want)
		}
	}
	sole, err := newRouteTable(nil, []string{"one"})
	if err != nil {
		t.Fatal(err)
	}
	if targets, err := sole.resolve("m"); err != nil || targets[0] != (Target{"one", "m"}) {
		t.Errorf("a sole provider: %v, %v", targets, err)
	}
	pair, err := newRouteTable(nil, []string{"one", "two"})
	if err != nil {
		t.Fatal(err)
	}
	if targets, err := pair.resolve("m"); err == nil {
		t.Errorf("no route and a choice: %v", targets)
	}
}

func TestResolveAndList(t *testing.T) {
	b, err := New(Config{Default: "m", Providers: []ProviderConfig{{ID: "b", Kind: "null"}, {ID: "a", Kind: "null"}},
		Routes: []Route{{Pattern: "m", Provider: "a"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Providers(); strings.Join(got, " ") != "b a" {
		t.Errorf("providers %v", got)
	}
	if got, err := b.Resolve(""); err != nil || got[0] != (Target{"a", "m"}) {
		t.Errorf("default: %v, %v", got, err)
	}
	if _, err := b.Resolve("zzz"); CodeOf(err) != CodeInvalid {
		t.Errorf("unknown: %v", err)
	}
}

// TestMatches compares the walk with the definition, by recursion.
func TestMatches(t *testing.T) {
	var define func(p, s string) bool
	define = func(p, s string) bool {
		switch {
		case p == "":
			return s == ""
		case p[0] == '*':
			return define(p[1:], s) || s != "" && define(p, s[1:])
		}
		return s != "" && p[0] == s[0] && define(p[1:], s[1:])
	}
	word := rapid.StringMatching(`[ab*]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		p, s := word.Draw(t, "pattern"), strings.ReplaceAll(word.Draw(t, "name"), "*", "")
		if matches(p, s) != define(p, s) {
			t.Fatalf("matches(%q, %q) = %v", p, s, !define(p, s))
		}
	})
	hostile := strings.Repeat("*a", 100) + "b"
	if matches(hostile, strings.Repeat("a", 10_000)) {
		t.Error("matched without the b")
	}
}

func TestRates(t *testing.T) {
	table, err := newPriceTable([]Price{{"mine:*", 1, 2}, {"gpt-4o", 0, 0}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		target Target
		local  bool
		want   rate
	}{
		{Target{"x", "gpt-4o-mini-2024"}, false, rate{150, 600}},
		{Target{"x", "openai/gpt-4.1-nano"}, false, rate{100, 400}},
		{Target{"x", "text-embedding-3-small"}, false, rate{20, 0}},
		{Target{"x", "gemini-1.5-flash"}, false, rate{75, 300}},
		{Target{"x", "gpt-4o"}, false, rate{}},
		{Target{"mine", "whatever"}, true, rate{1000, 2000}},
		{Target{"x", "gpt-4o-mini"}, true, rate{}},
		{Target{"x", "never-heard-of"}, false, rate{30000, 75000}},
	} {
		if got := table.rate(c.target, c.local); got != c.want {
			t.Errorf("%v, local %v: %v, want %v", c.target, c.local, got, c.want)
		}
	}
	for i, p := range shippedPrices {
		if first, _ := find(shippedPrices, Target{"x", strings.ReplaceAll(p.Model, "*", "")}); first != p {
			t.Errorf("shippedPrices[%d] %q is hidden by %q", i, p.Model, first.Model)
		}
	}
	if got := (rate{30000, 75000}).cost(1<<60, 1<<60); got <= 0 {
		t.Errorf("cost overflows to %d", got)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"7":                             7 * time.Second,
		" 1.5 ":                         1500 * time.Millisecond,
		"-3":                            0,
		"NaN":                           0,
		"1e9":                           24 * time.Hour,
		"1e999":                         0,
		"99999999999999999999":          24 * time.Hour,
		"Thu, 01 Jan 2026 12:00:30 GMT": 30 * time.Second,
		"Thu, 01 Jan 2099 12:00:30 GMT": 24 * time.Hour,
		"Thu, 01 Jan 1970 12:00:30 GMT": 0,
		"tomorrow":                      0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {v}}, now); got != want {
			t.Errorf("%q: %v, want %v", v, got, want)
		}
	}
}

// TestBackoff checks the pauses: growing, jittered, bounded, obedient.
func TestBackoff(t *testing.T) {
	r := Retry{Attempts: 5, Initial: 100 * time.Millisecond, Max: 300 * time.Millisecond}.withDefaults()
	within := func(n int, err *Error, lo, hi time.Duration) {
		t.Helper()
		for range 100 {
			pause, again := r.next(t.Context(), n, err)
			if !again || pause < lo || pause > hi {
				t.Fatalf("attempt %d: %v, %v; want %v to %v", n, pause, again, lo, hi)
			}
		}
	}
	soft := fault(true, "x")
	within(1, soft, 80*time.Millisecond, 120*time.Millisecond)
	within(2, soft, 160*time.Millisecond, 240*time.Millisecond)
	within(4, soft, 240*time.Millisecond, 360*time.Millisecond)
	told := &Error{Code: CodeRateLimited, Retryable: true, RetryAfter: 2 * time.Second}
	within(1, told, 2*time.Second, 2*time.Second)

	never := func(name string, n int, err *Error) {
		t.Helper()
		if _, again := r.next(t.Context(), n, err); again {
			t.Errorf("%s: retried", name)
		}
	}
	never("last attempt", 5, soft)
	never("hard error", 1, fault(false, "x"))
	never("nobody there", 1, unavailable(0, "x"))
	never("asked to wait too long", 1, &Error{Code: CodeRateLimited, Retryable: true, RetryAfter: time.Hour})
	if got := (Retry{Attempts: 1000}).withDefaults().Attempts; got != maxAttempts {
		t.Errorf("%d attempts allowed", got)
	}
}
