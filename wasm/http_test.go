package wasm

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// testDoor is a door of its own with the capabilities of a policy.caps text.
func testDoor(t testing.TB, caps string, s Services) *door {
	t.Helper()
	c, err := ParseCaps("policy.caps", []byte("[capabilities]\n"+caps))
	if err != nil {
		t.Fatal(err)
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	ctx, watch := newStopwatch(context.Background(), time.Minute)
	_ = ctx
	t.Cleanup(watch.stop)
	return &door{
		open: true, services: &s, tape: &tape{}, watch: watch,
		emit:   func(level, message string, _ []byte) { t.Logf("%s: %s", level, message) },
		caller: Caller{Agent: "probe", TraceID: "trace:1", Node: "n", Attempt: 1, Caps: c},
	}
}

// ask makes one hostcall as a guest would and returns the answer as JSON, or
// its error as "code: message".
func ask(t testing.TB, d *door, op string, args any) string {
	t.Helper()
	js, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	call, ok := d.answer(context.Background(), op, pack(t, string(js)))
	if !ok {
		t.Fatal("the guest was ended")
	}
	if call.Err != nil {
		return call.Err.Code + ": " + call.Err.Message
	}
	var v any
	if err := unmarshalMsgpack(call.OK, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// auditsOf collects what is audited, as "decision cap target: reason".
func auditsOf(s *Services) *[]string {
	var all []string
	s.Audit = func(_ context.Context, a CapAudit) {
		all = append(all, fmt.Sprintf("%s %s %s: %s", a.Decision, a.Cap, a.Target, a.Reason))
	}
	return &all
}

func hostPort(t testing.TB, url string) string {
	t.Helper()
	return strings.TrimPrefix(strings.TrimPrefix(url, "http://"), "https://")
}

func portOf(t testing.TB, url string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(hostPort(t, url))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestHTTPRequest(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Add("X-Two", "a")
		w.Header().Add("X-Two", "b")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s %q %s", r.Method, r.URL, r.Header.Get("X-In"), body, r.Header.Get("User-Agent"))
	}))
	defer srv.Close()
	d := testDoor(t, fmt.Sprintf("net = [%q]\nallow_http = true", hostPort(t, srv.URL)), Services{})
	got := ask(t, d, "http.request", map[string]any{
		"method": "POST", "url": srv.URL + "/a/../b?c=d#e", "body": "aGk=", "encoding": "base64",
		"headers": map[string]any{"x-in": []string{"1"}},
	})
	var res HTTPResponse
	if err := json.Unmarshal([]byte(got), &res); err != nil {
		t.Fatal(got)
	}
	if res.Status != 418 || res.Body != `POST /a/../b?c=d 1 "hi" runloop` || len(res.Headers["x-two"]) != 2 {
		t.Errorf("%+v", res)
	}
}

func TestHTTPRequestsThatAreRefused(t *testing.T) {
	var reached atomic.Int64
	count := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	granted, other := httptest.NewServer(count), httptest.NewServer(count)
	defer granted.Close()
	defer other.Close()
	lookups := 0
	s := Services{Network: Network{Lookup: func(context.Context, string) ([]netip.Addr, error) {
		lookups++
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}}}
	audits := auditsOf(&s)
	caps := fmt.Sprintf("net = [\"ok.example\", %q]\nallow_http = true", hostPort(t, granted.URL))
	text, err := os.ReadFile(filepath.Join("testdata", "hostile", "vectors", "ssrf_urls.txt"))
	if err != nil {
		t.Fatal(err)
	}
	ports := strings.NewReplacer("$TESTPORT", portOf(t, granted.URL), "$OTHERPORT", portOf(t, other.URL),
		`\r\n`, "\r\n", `\x00`, "\x00")
	allow, allowed, denied := false, 0, 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			allow = strings.HasPrefix(line, "# ALLOW") || allow && !strings.HasPrefix(line, "# DENY")
			continue
		}
		d := testDoor(t, caps, s)
		*audits = nil
		got := ask(t, d, "http.request", map[string]any{"url": ports.Replace(line)})
		switch {
		case allow && strings.Contains(got, `"status":200`):
			allowed++
		case allow:
			t.Errorf("%s: %s", line, got)
		case !strings.HasPrefix(got, "denied: denied:net:") || len(*audits) != 1 || !strings.HasPrefix((*audits)[0], "deny net"):
			t.Errorf("%s: %s, audits %v", line, got, *audits)
		default:
			denied++
		}
	}
	if allowed != 3 || denied < 74 || int(reached.Load()) != allowed || lookups != 0 {
		t.Errorf("%d allowed, %d denied, %d requests arrived, %d names looked up", allowed, denied, reached.Load(), lookups)
	}
}

func TestClosedAddresses(t *testing.T) {
	for _, a := range strings.Fields(`127.0.0.1 127.255.0.1 ::1 0.0.0.0 0.1.2.3 :: 10.1.2.3 172.31.0.1 192.168.1.1
		100.64.0.1 100.100.100.200 169.254.169.254 fe80::1 fd00:ec2::254 fec0::1 224.0.0.1 ff02::1 255.255.255.255
		240.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.9 2001:db8::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8
		::127.0.0.1 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 2002:7f00:1:: 2001::1 100::1 5f00::1 4000::1 192.0.0.1`) {
		if closedAddress(netip.MustParseAddr(a)) == "" {
			t.Errorf("%s is open", a)
		}
	}
	for _, a := range strings.Fields("8.8.8.8 1.1.1.1 172.15.0.1 172.32.0.1 100.128.0.1 2606:4700::1111 2a00:1450::1") {
		if why := closedAddress(netip.MustParseAddr(a)); why != "" {
			t.Errorf("%s is %s", a, why)
		}
	}
}

// TestNamesThatLeadInside resolves a granted name to what is not granted, at
// once or at the second time.
func TestNamesThatLeadInside(t *testing.T) {
	var reached atomic.Int64
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer srv.Close()
	public := netip.MustParseAddr("8.8.8.8")
	for _, bad := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "64:ff9b::7f00:1"} {
		for _, mixed := range []bool{false, true} {
			lookups := 0
			s := Services{Network: Network{Lookup: func(context.Context, string) ([]netip.Addr, error) {
				lookups++
				addrs := []netip.Addr{netip.MustParseAddr(bad)}
				if mixed {
					addrs = []netip.Addr{public, addrs[0]}
				}
				return addrs, nil
			}}}
			audits := auditsOf(&s)
			d := testDoor(t, `net = ["ok.example:`+portOf(t, srv.URL)+`"]`, s)
			got := ask(t, d, "http.request", map[string]any{"url": "https://ok.example:" + portOf(t, srv.URL) + "/"})
			if !strings.Contains(got, "leads to an address that is not granted") || strings.Contains(got, bad) || lookups != 1 {
				t.Errorf("%s: %s", bad, got)
			}
			if len(*audits) != 1 || !strings.Contains((*audits)[0], "not granted: ") {
				t.Errorf("audits %v", *audits)
			}
		}
	}
	if reached.Load() != 0 {
		t.Error("it got there")
	}
}

// TestAddressIsTheOneThatWasChecked: the name leads elsewhere when it is asked
// for again, and is not asked for again.
func TestAddressIsTheOneThatWasChecked(t *testing.T) {
	lookups := 0
	n := Network{Lookup: func(context.Context, string) ([]netip.Addr, error) {
		lookups++
		if lookups > 1 {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil
	}}
	target := target{scheme: "https", host: "ok.example", port: 443}
	addrs, closed, err := n.addresses(context.Background(), target)
	if err != nil || closed != "" || addrs[0].String() != "8.8.8.8" {
		t.Fatal(addrs, closed, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // it is enough to see where it would go
	_, err = n.transport(target, addrs).DialContext(ctx, "tcp", "ok.example:443")
	if err == nil || !strings.Contains(err.Error(), "8.8.8.8") || lookups != 1 {
		t.Error(err, lookups)
	}
}

func TestRedirects(t *testing.T) {
	var inside atomic.Int64
	closed := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside.Add(1) }))
	defer closed.Close()
	var seen http.Header
	var seenBody string
	second := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		seen, seenBody = r.Header, string(b)
	}))
	defer second.Close()
	var location string
	var status int
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/end" {
			fmt.Fprint(w, r.Method, r.Header.Get("X-Api-Key"))
			return
		}
		w.Header().Set("Location", location)
		w.WriteHeader(status)
	}))
	defer first.Close()
	caps := fmt.Sprintf("net = [%q, %q, \"inside.example\"]\nallow_http = true", hostPort(t, first.URL), hostPort(t, second.URL))
	s := Services{Network: Network{Lookup: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
	}}}
	post := func(method string) string {
		return ask(t, testDoor(t, caps, s), "http.request", map[string]any{
			"method": method, "url": first.URL + "/", "body": "private",
			"headers": map[string]any{"X-Api-Key": "k", "Authorization": "Bearer b", "Cookie": "c=d", "Accept": "a/b"},
		})
	}
	for _, status = range []int{301, 302, 303, 307, 308} {
		for _, location = range []string{
			closed.URL, "http://localhost:" + portOf(t, closed.URL), "http://127.1:" + portOf(t, closed.URL),
			"//" + hostPort(t, closed.URL) + "/x", "file:///etc/passwd", "http://[::1]/", "http://10.0.0.1/",
			"https://inside.example/", "http://u:p@" + hostPort(t, second.URL) + "/", "gopher://x/", "http://a b/",
		} {
			for _, method := range []string{"GET", "POST"} {
				got := post(method)
				// A redirect that would carry the body away is refused before where it goes is looked up.
				if !strings.HasPrefix(got, "denied: ") && !strings.HasPrefix(got, "redirect_refused: ") {
					t.Errorf("%d to %s: %s", status, location, got)
				}
			}
		}
		location = second.URL
		got := post("POST")
		carried := status == 307 || status == 308
		if carried != strings.HasPrefix(got, "redirect_refused") {
			t.Errorf("%d to another origin: %s", status, got)
		}
		if len(seen["X-Api-Key"])+len(seen["Authorization"])+len(seen["Cookie"]) > 0 || seenBody != "" {
			t.Errorf("%d carried %v %q to another origin", status, seen, seenBody)
		}
		location = "/end"
		want := map[bool]string{true: `"POSTk"`, false: `"GETk"`}[carried]
		if got := post("POST"); !strings.Contains(got, want) {
			t.Errorf("%d within the origin: %s", status, got)
		}
	}
	location = "/"
	if got := post("GET"); !strings.Contains(got, "more than 5 redirects") {
		t.Error(got)
	}
	if inside.Load() != 0 {
		t.Errorf("%d requests got inside", inside.Load())
	}
}

func TestHTTPFields(t *testing.T) {
	d := testDoor(t, "net = [\"127.0.0.1:1\"]\nallow_http = true", Services{})
	long := strings.Repeat("x", httpHeaderLenMax)
	for _, tt := range []struct {
		args map[string]any
		want string
	}{
		{map[string]any{"method": "GET\r\nHost: evil"}, "invalid: http.request: method"},
		{map[string]any{"method": "CONNECT"}, "invalid: http.request: method"},
		{map[string]any{"headers": map[string]any{"A\r\nB": "x"}}, "cannot be set"},
		{map[string]any{"headers": map[string]any{"A": "x\r\nB: y"}}, "control character"},
		{map[string]any{"headers": map[string]any{"A": "x\x00"}}, "control character"},
		{map[string]any{"headers": map[string]any{"host": "evil"}}, "cannot be set"},
		{map[string]any{"headers": map[string]any{"transfer-encoding": "chunked"}}, "cannot be set"},
		{map[string]any{"headers": map[string]any{"": "x"}}, "cannot be set"},
		{map[string]any{"headers": map[string]any{"A": 1}}, "a string or a list"},
		{map[string]any{"headers": map[string]any{"A": long}}, "bytes of them"},
		{map[string]any{"headers": map[string]any{"A": "{{secret:00}}"}}, "no handle"},
		{map[string]any{"body": "*", "encoding": "base64"}, "invalid: http.request: body"},
		{map[string]any{"body": "x", "encoding": "rot13"}, "invalid: http.request: encoding"},
		{map[string]any{"timeout_ms": -1}, "timeout_ms"},
		{map[string]any{"uri": "x"}, "unknown field"},
		{map[string]any{}, "connect_failed: http.request: no connection to 127.0.0.1:1"},
	} {
		tt.args["url"] = "http://127.0.0.1:1/"
		if got := ask(t, d, "http.request", tt.args); !strings.Contains(got, tt.want) {
			t.Errorf("%v: %s", tt.args, got)
		}
	}
}

func TestServersThatDoHarm(t *testing.T) {
	stop := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/endless":
			for chunk := make([]byte, 64<<10); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for chunk := make([]byte, 1<<20); ; {
				if _, err := z.Write(chunk); err != nil {
					return
				}
			}
		case "/headers":
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		case "/slow":
			w.(http.Flusher).Flush()
			<-stop
		case "/early":
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "x")
		}
	}))
	srv.Config.ErrorLog = discardLog()
	srv.Start()
	defer srv.Close()
	defer close(stop)
	d := testDoor(t, fmt.Sprintf("net = [%q]\nallow_http = true", hostPort(t, srv.URL)), Services{})
	for path, want := range map[string]string{
		"/endless": "response_too_large", "/bomb": "response_too_large", "/headers": "protocol_error",
		"/slow": "timeout", "/early": "protocol_error",
	} {
		args := map[string]any{"url": srv.URL + path}
		if path == "/slow" {
			args["timeout_ms"] = 100
		}
		if got := ask(t, d, "http.request", args); !strings.HasPrefix(got, want+": ") {
			t.Errorf("%s: %.200s", path, got)
		}
	}
}

func TestCertificates(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.Config.ErrorLog = discardLog()
	srv.StartTLS()
	defer srv.Close()
	caps := fmt.Sprintf("net = [%q]", hostPort(t, srv.URL))
	url := map[string]any{"url": srv.URL}
	if got := ask(t, testDoor(t, caps, Services{}), "http.request", url); !strings.HasPrefix(got, "tls_failed") {
		t.Errorf("a certificate of nobody: %s", got)
	}
	s := Services{Network: Network{Roots: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}
	if got := ask(t, testDoor(t, caps, s), "http.request", url); !strings.Contains(got, `"status":200`) {
		t.Error(got)
	}
	plain := map[string]any{"url": strings.Replace(srv.URL, "https", "http", 1)}
	if got := ask(t, testDoor(t, caps, s), "http.request", plain); !strings.HasPrefix(got, "denied:") {
		t.Errorf("http without allow_http: %s", got)
	}
}

func TestEnvironmentHasNoSayInRequests(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") }))
	defer proxy.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	t.Setenv("REQUEST_METHOD", "")
	d := testDoor(t, fmt.Sprintf("net = [%q]\nallow_http = true", hostPort(t, srv.URL)), Services{})
	if got := ask(t, d, "http.request", map[string]any{"url": srv.URL}); !strings.Contains(got, `"status":200`) {
		t.Error(got)
	}
}

func TestFailureTellsNoAddress(t *testing.T) {
	c := httpCall{op: "http.request", target: target{host: "ok.example", port: 443}}
	err := c.failure(context.Background(), errors.New("read tcp 10.0.0.7:5432->10.0.0.8:1: reset"), true)
	if strings.Contains(err.Error(), "10.0.0") {
		t.Error(err)
	}
}

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
