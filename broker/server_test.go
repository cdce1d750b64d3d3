package broker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/runloop-os/runloop/broker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSecret = "sk-test-0123456789abcdef"

// server is a model server made of nothing but a listener, so that it can
// misbehave at every level. Each connection serves one request.
type server struct {
	t      *testing.T
	l      net.Listener
	handle func(*exchange)
	wg     sync.WaitGroup

	mu     sync.Mutex
	asked  []*exchange
	closed chan struct{} // at the end of the test
}

// exchange is one request and the connection to answer it on.
type exchange struct {
	*http.Request
	body   []byte
	conn   net.Conn
	n      int           // from 1
	gone   chan struct{} // closed when the client hung up
	closed chan struct{} // closed when the test ends
}

func serve(t *testing.T, handle func(*exchange)) *server {
	t.Helper()
	return serveAt(t, "127.0.0.1:0", handle)
}

func serveAt(t *testing.T, addr string, handle func(*exchange)) *server {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, l: l, handle: handle, closed: make(chan struct{})}
	s.wg.Go(s.accept)
	t.Cleanup(func() {
		close(s.closed)
		l.Close()
		s.wg.Wait()
	})
	return s
}

func (s *server) accept() {
	for {
		conn, err := s.l.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { s.serveConn(conn) })
	}
}

func (s *server) serveConn(conn net.Conn) {
	defer conn.Close()
	br := bufio.NewReader(conn)
	req, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	x := &exchange{Request: req, body: body, conn: conn, closed: s.closed}
	x.gone = make(chan struct{})
	s.mu.Lock()
	s.asked = append(s.asked, x)
	x.n = len(s.asked)
	s.mu.Unlock()
	s.wg.Go(func() {
		defer close(x.gone)
		io.Copy(io.Discard, br)
	})
	s.handle(x)
}

// requests returns what was asked so far.
func (s *server) requests() []*exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*exchange(nil), s.asked...)
}

func (s *server) url() string { return "http://" + s.l.Addr().String() }

// say writes raw text; failures mean that the client left, which is its right.
func (x *exchange) say(parts ...string) {
	io.WriteString(x.conn, strings.Join(parts, ""))
}

const (
	sseHead  = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
	jsonHead = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
)

// words answers with a text in pieces, and usage.
func (x *exchange) words(in, out int, words ...string) {
	x.say(sseHead)
	for _, w := range words {
		x.say(delta(w))
	}
	x.say("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
		fmt.Sprintf("data: {\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d}}\n\n", in, out),
		"data: [DONE]\n\n")
}

// delta is one event with a piece of text.
func delta(text string) string {
	return fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", text)
}

// fixture is a broker for one server, with what it recorded.
type fixture struct {
	*broker.Broker
	mu      sync.Mutex
	records []broker.Record
}

// quick are retries that do not slow a test down.
var quick = broker.Retry{Attempts: 2, Initial: time.Millisecond, Max: 2 * time.Millisecond}

// newBroker makes a broker whose provider "srv" is at url; change edits its
// configuration first.
func newBroker(t *testing.T, url string, change func(*broker.Config)) *fixture {
	t.Helper()
	f := new(fixture)
	cfg := broker.Config{
		Providers: []broker.ProviderConfig{
			{ID: "srv", Kind: "http", BaseURL: url, SecretID: "runloop/models/test"},
		},
		Retry:   quick,
		Timeout: 5 * time.Second,
		Secrets: func(context.Context, string) (string, error) { return testSecret + "\n", nil },
		OnRecord: func(r broker.Record) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.records = append(f.records, r)
		},
	}
	if change != nil {
		change(&cfg)
	}
	b, err := broker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	f.Broker = b
	return f
}

func (f *fixture) recorded() []broker.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]broker.Record(nil), f.records...)
}

// ask is a request with one question.
func ask(model, text string) broker.Request {
	return broker.Request{
		Model:    model,
		Messages: []broker.Message{{Role: broker.RoleUser, Content: text}},
	}
}
