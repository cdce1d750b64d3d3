package broker_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runloop-os/runloop/broker"
)

// deadURL is where nobody listens.
func deadURL(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func TestNoProvider(t *testing.T) {
	b, err := broker.New(broker.Config{Default: "local:llama"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Complete(t.Context(), ask("", "hi"))
	if broker.CodeOf(err) != broker.CodeUnavailable || !broker.Retryable(err) {
		t.Errorf("got %v", err)
	}
	_, err = b.Embed(t.Context(), broker.EmbedRequest{Input: []string{"x"}})
	if broker.CodeOf(err) != broker.CodeUnavailable {
		t.Errorf("got %v", err)
	}
}

// TestOfflineIsRemembered: one probe finds that nobody is there; until the
// memory runs out nobody is asked, even if somebody has come.
func TestOfflineIsRemembered(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	url := deadURL(t)
	b := newBroker(t, url, func(c *broker.Config) { c.Now = func() time.Time { return now } })
	fails := func(says string) {
		t.Helper()
		_, err := b.Complete(t.Context(), ask("m", "hi"))
		if broker.CodeOf(err) != broker.CodeUnavailable || !broker.Retryable(err) ||
			!strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
	fails("refused")
	fails("next try in 30s")
	srv := serveAt(t, strings.TrimPrefix(url, "http://"), func(x *exchange) { x.words(1, 1, "back") })
	now = now.Add(29 * time.Second)
	fails("next try in 1s")
	if n := len(srv.requests()); n != 0 {
		t.Errorf("asked %d times while the provider was known to be away", n)
	}
	now = now.Add(2 * time.Second)
	if _, err := b.Complete(t.Context(), ask("m", "hi")); err != nil {
		t.Errorf("after the memory ran out: %v", err)
	}
	for _, r := range b.recorded()[:3] {
		if r.TokensIn != 0 || r.ErrorKind != broker.CodeUnavailable {
			t.Errorf("recorded %+v", r)
		}
	}
}

// TestOneProbe: when the memory runs out, one of many callers goes to look
// and the others are answered at once.
func TestOneProbe(t *testing.T) {
	var clock atomic.Int64
	release := make(chan struct{})
	var once sync.Once
	url := deadURL(t)
	b := newBroker(t, url, func(c *broker.Config) {
		c.Now = func() time.Time { return time.Unix(clock.Load(), 0) }
	})
	b.Complete(t.Context(), ask("m", "hi"))
	clock.Add(60)
	srv := serveAt(t, strings.TrimPrefix(url, "http://"), func(x *exchange) {
		<-release
		x.words(1, 1, "back")
	})
	var wg sync.WaitGroup
	var away atomic.Int32
	for range 20 {
		wg.Go(func() {
			_, err := b.Complete(t.Context(), ask("m", "hi"))
			if broker.CodeOf(err) == broker.CodeUnavailable && away.Add(1) == 19 {
				once.Do(func() { close(release) })
			} else if err != nil && broker.CodeOf(err) != broker.CodeUnavailable {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(srv.requests()); n != 1 {
		t.Errorf("%d probes, want 1", n)
	}
}

// TestFallback walks down the routes on errors that may pass, and only then.
func TestFallback(t *testing.T) {
	good := serve(t, func(x *exchange) { x.words(1, 1, "from the second") })
	for _, c := range []struct {
		name, first string
		model       string
		fallsBack   bool
	}{
		{"500", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "m", true},
		{"429 for ever", "HTTP/1.1 429 No\r\nRetry-After: 99999\r\nContent-Length: 0\r\n\r\n", "m", true},
		{"400", "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n", "m", false},
		{"401", "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "m", false},
		{"named provider", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "srv:m", false},
		{"named with a route", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "srv:special", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := serve(t, func(x *exchange) { x.say(c.first) })
			b := newBroker(t, bad.url(), func(cfg *broker.Config) {
				second := broker.ProviderConfig{ID: "second", Kind: "http", BaseURL: good.url()}
				cfg.Providers = append(cfg.Providers, second)
				cfg.Routes = []broker.Route{
					{Pattern: "srv:special", Provider: "second", TargetModel: "other"},
					{Pattern: "*", Provider: "srv"}, {Pattern: "*", Provider: "second"},
				}
			})
			resp, err := b.Complete(t.Context(), ask(c.model, "hi"))
			if c.fallsBack != (err == nil) || err == nil && resp.Provider != "second" {
				t.Errorf("got %+v, %v", resp, err)
			}
		})
	}
}

// TestProbe is what `rlp model test` does.
func TestProbe(t *testing.T) {
	srv := serve(t, func(x *exchange) { x.say(jsonHead, `{"data":[]}`) })
	b := newBroker(t, srv.url(), nil)
	if d, err := b.Probe(t.Context(), "srv"); err != nil || d <= 0 {
		t.Errorf("%v, %v", d, err)
	}
	if x := srv.requests()[0]; x.Method != "GET" || x.URL.Path != "/v1/models" {
		t.Errorf("asked %s %s", x.Method, x.URL)
	}
	_, err := b.Probe(t.Context(), "srw")
	if broker.CodeOf(err) != broker.CodeInvalid || !strings.Contains(err.Error(), `"srv"?`) {
		t.Errorf("got %v", err)
	}
	dead := newBroker(t, deadURL(t), nil)
	if _, err := dead.Probe(t.Context(), "srv"); broker.CodeOf(err) != broker.CodeUnavailable {
		t.Errorf("got %v", err)
	}
	if _, err := dead.Complete(t.Context(), ask("m", "x")); err == nil || !strings.Contains(err.Error(), "next try") {
		t.Errorf("what the probe found was forgotten: %v", err)
	}
}

// TestRedirectsAreNotFollowed: neither the key nor the prompt goes to where
// an answer points.
func TestRedirectsAreNotFollowed(t *testing.T) {
	thief := serve(t, func(x *exchange) { t.Errorf("followed, with %v", x.Header) })
	for _, status := range []string{"301", "302", "303", "307", "308"} {
		srv := serve(t, func(x *exchange) {
			x.say("HTTP/1.1 ", status, " Moved\r\nLocation: ", thief.url(), "/x\r\nContent-Length: 0\r\n\r\n")
		})
		b := newBroker(t, srv.url(), nil)
		_, err := b.Complete(t.Context(), ask("m", "hi"))
		if broker.CodeOf(err) != broker.CodeProvider || broker.Retryable(err) {
			t.Errorf("%s: %v", status, err)
		}
	}
}

// TestProxy: a proxy is used only when configured. The name under .onion is
// one that Go's resolver refuses without asking anybody.
func TestProxy(t *testing.T) {
	proxy := serve(t, func(x *exchange) { x.words(1, 1, "through ", x.URL.Host) })
	t.Setenv("HTTP_PROXY", proxy.url())
	t.Setenv("NO_PROXY", "")
	const hidden = "http://model.onion"
	for _, c := range []struct {
		proxy string
		asked int
	}{{"", 0}, {proxy.url(), 1}} {
		b := newBroker(t, hidden, func(cfg *broker.Config) {
			cfg.Providers[0].AllowHTTP = true
			cfg.Providers[0].Proxy = c.proxy
		})
		_, err := b.Complete(t.Context(), ask("m", "hi"))
		if n := len(proxy.requests()); n != c.asked || (err == nil) != (c.proxy != "") {
			t.Errorf("proxy %q: asked %d times, %v", c.proxy, n, err)
		}
	}
}

// TestTLS speaks HTTP/2 to a server whose certificate is trusted for its
// address, and refuses it under a name the certificate does not have.
func TestTLS(t *testing.T) {
	gone := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, delta("via "+r.Proto))
		if strings.HasPrefix(r.URL.Path, "/slow") {
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			close(gone)
			return
		}
		io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{}
	srv.StartTLS()
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "roots.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(file, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file)

	b := newBroker(t, srv.URL, nil)
	resp, err := b.Complete(t.Context(), ask("m", "hi"))
	if err != nil || resp.Text != "via HTTP/2.0" {
		t.Errorf("got %+v, %v", resp, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	slow := newBroker(t, srv.URL+"/slow", nil)
	if _, err := slow.Complete(ctx, ask("m", "hi")); broker.CodeOf(err) != broker.CodeDeadline {
		t.Errorf("got %v", err)
	}
	<-gone
	other := newBroker(t, strings.Replace(srv.URL, "127.0.0.1", "localhost", 1), nil)
	_, err = other.Complete(t.Context(), ask("m", "hi"))
	if broker.CodeOf(err) != broker.CodeProvider || broker.Retryable(err) ||
		!strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
	if r := other.recorded(); len(r) != 1 || r[0].TokensIn != 0 {
		t.Errorf("recorded %+v", r)
	}
}
