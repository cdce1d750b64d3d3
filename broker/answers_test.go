package broker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/runloop-os/runloop/broker"
)

// want is the head of a file in testdata/broker/answers: what must come of
// the raw HTTP answer below it.
//
//	want CODE|ok [retry] [key=value…]
//	says TEXT     in the error
//	text TEXT     of the answer
//	tools ID NAME ARGS; …
type want struct {
	code              string
	retry             bool
	keys              map[string]string
	says, text, tools string
	raw               string
}

func readWant(t *testing.T, file string) want {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w := want{keys: map[string]string{}}
	rest := string(data)
	for !strings.HasPrefix(rest, "HTTP/") {
		line, after, ok := strings.Cut(rest, "\n")
		if !ok {
			t.Fatalf("%s: no answer in it", file)
		}
		rest = after
		switch verb, arg, _ := strings.Cut(line, " "); verb {
		case "want":
			w.parse(strings.Fields(arg))
		case "says":
			w.says = arg
		case "text":
			w.text = arg
		case "tools":
			w.tools = arg
		default:
			t.Fatalf("%s: unknown line %q", file, line)
		}
	}
	w.raw = rest
	return w
}

func (w *want) parse(words []string) {
	w.code = words[0]
	for _, f := range words[1:] {
		if f == "retry" {
			w.retry = true
		}
		if k, v, ok := strings.Cut(f, "="); ok {
			w.keys[k] = v
		}
	}
}

// TestAnswers plays every recorded answer to the broker. None may leak the
// key, be retried more often than configured, or lose its charge.
func TestAnswers(t *testing.T) {
	files, err := filepath.Glob("../testdata/broker/answers/*.http")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d answers found, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".http"), func(t *testing.T) {
			t.Parallel()
			w := readWant(t, file)
			srv := serve(t, func(x *exchange) { x.say(w.raw) })
			b := newBroker(t, srv.url(), nil)
			r := ask("m", "What does the tide do?")
			r.Tools = []broker.Tool{{Name: "look_up"}}
			resp, err := b.Complete(t.Context(), r)
			w.check(t, resp, err, b.Count(r))
			if n := strconv.Itoa(len(srv.requests())); n != w.keys["asked"] {
				t.Errorf("asked %s times, want %s", n, w.keys["asked"])
			}
			if recs := b.recorded(); len(recs) != len(srv.requests()) {
				t.Errorf("%d records for %d requests", len(recs), len(srv.requests()))
			}
		})
	}
}

func (w *want) check(t *testing.T, resp *broker.Response, err error, estimate int64) {
	t.Helper()
	if w.code == "ok" {
		if err != nil {
			t.Fatalf("unexpected %v", err)
		}
		w.checkAnswer(t, resp, estimate)
		return
	}
	e, ok := errors.AsType[*broker.Error](err)
	if !ok {
		t.Fatalf("got %v, want an error with code %s", err, w.code)
	}
	if string(e.Code) != w.code || e.Retryable != w.retry || !strings.Contains(e.Error(), w.says) {
		t.Errorf("got %q, retryable %v; want %s, %v, saying %q", e, e.Retryable, w.code, w.retry, w.says)
	}
	if s := w.keys["status"]; s != "" && s != strconv.Itoa(e.Status) {
		t.Errorf("status %d, want %s", e.Status, s)
	}
	if s := w.keys["after"]; s != "" && s != e.RetryAfter.String() {
		t.Errorf("retry after %v, want %s", e.RetryAfter, s)
	}
	asked, _ := strconv.ParseInt(w.keys["asked"], 10, 64)
	w.checkCount(t, "in", e.Usage.TokensIn, asked*estimate)
	if strings.Contains(e.Error(), "test-0") || len(e.Error()) > 400 ||
		strings.ContainsAny(e.Error(), "\x1b\n\u202e") {
		t.Errorf("unfit to show: %q", e.Error())
	}
}

func (w *want) checkAnswer(t *testing.T, resp *broker.Response, estimate int64) {
	t.Helper()
	var tools []string
	for _, c := range resp.ToolCalls {
		tools = append(tools, fmt.Sprintf("%s %s %s", c.ID, c.Name, c.Arguments))
	}
	if resp.Text != w.text || resp.Finish != w.keys["finish"] || strings.Join(tools, "; ") != w.tools {
		t.Errorf("got %q, %s, %q; want %q, %s, %q", resp.Text, resp.Finish, tools,
			w.text, w.keys["finish"], w.tools)
	}
	w.checkCount(t, "in", resp.Usage.TokensIn, estimate)
	w.checkCount(t, "out", resp.Usage.TokensOut, 6)
}

// checkCount compares a token count with the one the file wants; "est" stands
// for the broker's own estimate.
func (w *want) checkCount(t *testing.T, key string, got, estimate int64) {
	t.Helper()
	s := w.keys[key]
	if s == "" {
		return
	}
	if s == "est" {
		s = strconv.FormatInt(estimate, 10)
	}
	if s != strconv.FormatInt(got, 10) {
		t.Errorf("charged %s=%d, want %s", key, got, s)
	}
}

// TestFaults are the misbehaviours that do not fit into a file.
func TestFaults(t *testing.T) {
	head := strings.Repeat("x", 1000)
	for _, c := range []struct {
		name  string
		play  func(*exchange)
		code  broker.Code
		retry bool
		asked int
		says  string
	}{
		{"closes unread", func(x *exchange) {}, broker.CodeProvider, true, 2, "EOF"},
		{"resets", func(x *exchange) { x.conn.(*net.TCPConn).SetLinger(0) },
			broker.CodeProvider, true, 2, "connection"},
		{"not http", func(x *exchange) { x.say("220 mail.example ESMTP\r\n") },
			broker.CodeProvider, true, 2, "malformed"},
		{"100 MiB line", func(x *exchange) { x.flood(sseHead+"data: ", head, 100<<20) },
			broker.CodeProvider, false, 1, "longer than"},
		{"100 MiB of JSON", func(x *exchange) { x.flood(jsonHead+`{"x":"`, head, 100<<20) },
			broker.CodeProvider, false, 1, "larger than the limit"},
		{"endless events", func(x *exchange) { x.flood(sseHead, "data: {\"choices\":[]}\n\n", 1<<40) },
			broker.CodeProvider, false, 1, "larger than the limit"},
		{"endless comments", func(x *exchange) { x.flood(sseHead, ": still here\n", 1<<40) },
			broker.CodeProvider, false, 1, "larger than the limit"},
		{"event of many lines", func(x *exchange) { x.flood(sseHead, "data: "+head+"\n", 1<<40) },
			broker.CodeProvider, false, 1, "longer than"},
		{"endless header", func(x *exchange) { x.flood("HTTP/1.1 200 OK\r\n", "X: "+head+"\r\n", 1<<40) },
			broker.CodeProvider, true, 2, "header"},
		{"endless error", func(x *exchange) { x.flood("HTTP/1.1 400 No\r\n\r\n", head, 1<<40) },
			broker.CodeProvider, false, 1, "status 400"},
		{"endless 1xx", func(x *exchange) { x.flood("", "HTTP/1.1 103 Early Hints\r\nX: "+head+"\r\n\r\n", 1<<40) },
			broker.CodeProvider, true, 2, "headers exceeded"},
		{"invalid utf-8", func(x *exchange) {
			x.say(sseHead, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xff\xfe\"}}]}\n\n")
		}, broker.CodeProvider, false, 1, "UTF-8"},
		{"deep json", func(x *exchange) { x.say(sseHead, "data: {\"choices\":", strings.Repeat("[", 500_000), "\n\n") },
			broker.CodeProvider, false, 1, "malformed"},
		{"silence", func(x *exchange) { x.say(sseHead, ": hold on\n"); x.linger() },
			broker.CodeProvider, true, 2, "silent for"},
		{"never answers", func(x *exchange) { x.linger() }, broker.CodeDeadline, true, 1, "in time"},
		{"slow drip", func(x *exchange) { x.drip() }, broker.CodeDeadline, true, 1, "in time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, c.play)
			b := newBroker(t, srv.url(), func(cfg *broker.Config) {
				cfg.Providers[0].MaxResponseBytes = 3 << 19
				if c.name == "silence" {
					cfg.Providers[0].IdleTimeout = 100 * time.Millisecond
				}
				cfg.Timeout = 30 * time.Second
			})
			ctx := t.Context()
			if c.code == broker.CodeDeadline {
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
			}
			_, err := b.Complete(ctx, ask("m", "hello there"))
			e, ok := errors.AsType[*broker.Error](err)
			if !ok || e.Code != c.code || e.Retryable != c.retry || !strings.Contains(e.Error(), c.says) {
				t.Errorf("got %v; want %s, retryable %v, saying %q", err, c.code, c.retry, c.says)
			}
			if n := len(srv.requests()); n != c.asked {
				t.Errorf("asked %d times, want %d", n, c.asked)
			}
		})
	}
}

// flood repeats a piece until n bytes are out or the client leaves.
func (x *exchange) flood(head, piece string, n int) {
	x.say(head)
	w := bufio.NewWriterSize(x.conn, 1<<16)
	for n > 0 {
		m, err := w.WriteString(piece)
		if err != nil {
			return
		}
		n -= m
	}
	w.Flush()
}

func (x *exchange) linger() {
	select {
	case <-x.gone:
	case <-x.closed:
	}
}

// drip sends a byte whenever the reader would be about to lose patience.
func (x *exchange) drip() {
	x.say(sseHead)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			x.say(":")
		case <-x.gone:
			return
		case <-x.closed:
			return
		}
	}
}

// TestBoundedMemory reads answers that would fill the memory if they were
// believed.
func TestBoundedMemory(t *testing.T) {
	srv := serve(t, func(x *exchange) { x.flood(sseHead+"data: ", strings.Repeat("y", 1<<16), 100<<20) })
	b := newBroker(t, srv.url(), nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := b.Complete(t.Context(), ask("m", "hello"))
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 16<<20 {
		t.Errorf("allocated %d bytes, error %v", got, err)
	}
}

// TestCancelStopsSpending checks that giving up reaches the provider: it must
// see its connection close while it still has much to say.
func TestCancelStopsSpending(t *testing.T) {
	started := make(chan struct{}, 1)
	left := make(chan struct{}, 1)
	srv := serve(t, func(x *exchange) {
		x.say(sseHead, delta("Once upon"))
		started <- struct{}{}
		<-x.gone
		left <- struct{}{}
	})
	b := newBroker(t, srv.url(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		// The words must have arrived before the caller changes his mind.
		time.Sleep(50 * time.Millisecond)
		cancel()
	}()
	_, err := b.Complete(ctx, ask("m", "tell me a long story"))
	if broker.CodeOf(err) != broker.CodeCancelled || broker.Retryable(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	select {
	case <-left:
	case <-time.After(5 * time.Second):
		t.Error("the connection stayed open")
	}
	recs := b.recorded()
	if len(recs) != 1 || recs[0].ErrorKind != broker.CodeCancelled ||
		recs[0].TokensIn == 0 || recs[0].TokensOut == 0 {
		t.Errorf("records %+v: want one, charged for what was said", recs)
	}
}

// TestRunaway stops a provider that does not heed the length it was given.
func TestRunaway(t *testing.T) {
	gone := make(chan struct{})
	srv := serve(t, func(x *exchange) {
		x.say(sseHead)
		for {
			if _, err := io.WriteString(x.conn, delta("blah blah ")); err != nil {
				close(gone)
				return
			}
		}
	})
	b := newBroker(t, srv.url(), nil)
	r := ask("m", "one word please")
	r.Params.MaxTokens = 50
	resp, err := b.Complete(t.Context(), r)
	if err != nil || resp.Finish != broker.FinishLength || resp.Usage.TokensOut > 300 {
		t.Fatalf("got %+v, %v", resp, err)
	}
	<-gone
}
