package wasm

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of http.request.
const (
	httpHeadersMax    = 64       // fields
	httpHeaderLenMax  = 32 << 10 // bytes of all names and values
	httpBodyMax       = responseMax - 256<<10
	httpHopsMax       = 5
	defaultOpTimeout  = 30 * time.Second
	headerIdempotency = "Idempotency-Key"
)

// httpMethods are those that http.request knows. CONNECT and TRACE would make
// something else of it (RFC 9110, 9.3).
var httpMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// ownHeaders are fields that belong to the connection, and with that to the
// host: a guest that set them could make two requests of one (RFC 9110, 7.6.1).
var ownHeaders = []string{
	"Accept-Encoding", "Connection", "Content-Length", "Expect", "Host", "Keep-Alive",
	"Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Via",
}

// HTTPRequest are the arguments of http.request. Body is text, or base64 with
// Encoding "base64". A value of Headers is a string or a list of strings, in
// which handles of secret.get stand for what they name.
type HTTPRequest struct {
	Method    string           `json:"method"`
	URL       string           `json:"url"`
	Headers   map[string]Texts `json:"headers"`
	Body      string           `json:"body"`
	Encoding  string           `json:"encoding"`
	TimeoutMS int64            `json:"timeout_ms"`
}

// HTTPResponse is the answer to http.request. Names of Headers are in lower
// case. Body is text, or base64 with Encoding "base64" if it is no valid UTF-8.
type HTTPResponse struct {
	Status   int                 `json:"status"`
	Headers  map[string][]string `json:"headers"`
	Body     string              `json:"body"`
	Encoding string              `json:"encoding,omitempty"`
	URL      string              `json:"url"` // that answered, after redirects
}

// Texts are one text or several: in JSON a string, or a list of strings.
type Texts []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *Texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = Texts{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return fmt.Errorf("want a string or a list of strings")
	}
	*t = many
	return nil
}

func doHTTPRequest(ctx context.Context, d *door, args []byte) (any, error) {
	const op = "http.request"
	var req HTTPRequest
	if err := unmarshalArgs(op, args, &req); err != nil {
		return nil, err
	}
	call, err := d.newHTTPCall(ctx, op, &req, args)
	if err != nil {
		return nil, err
	}
	if call.method == http.MethodGet || call.method == http.MethodHead {
		return call.do(ctx)
	}
	e := Effect{Op: op, Target: call.target.String(), Idempotent: call.header.Get(headerIdempotency) != ""}
	return d.effect(ctx, e, args, func(ctx context.Context, _ string) (any, error) { return call.do(ctx) })
}

// httpCall is one http.request that was checked and may go out.
type httpCall struct {
	d       *door
	op      string
	args    []byte // as the guest sent them, for audits
	method  string
	url     string
	target  target
	header  http.Header
	body    []byte
	timeout time.Duration
	// idempotent says that the server may get it twice, answered that a server
	// got the request and said something.
	idempotent, answered bool
}

// newHTTPCall checks a request and that its target is granted; nothing has
// left the host yet, not even a question to a name server.
func (d *door) newHTTPCall(ctx context.Context, op string, req *HTTPRequest, args []byte) (*httpCall, error) {
	c := &httpCall{d: d, op: op, args: args, method: req.Method}
	if c.method == "" {
		c.method = http.MethodGet
	}
	if !slices.Contains(httpMethods, c.method) {
		return nil, errorf(CodeInvalid, "%s: method %q (one of %s)", op, req.Method, strings.Join(httpMethods, ", "))
	}
	var err error
	if c.body, err = decodeText(op, "body", req.Body, req.Encoding); err != nil {
		return nil, err
	}
	if c.timeout, err = opTimeout(op, req.TimeoutMS); err != nil {
		return nil, err
	}
	u, t, err := parseURL(req.URL)
	if err != nil {
		return nil, d.refuse(ctx, refusal{
			family: capNet, op: op, target: printable(clipText(req.URL, 128)), reason: "the URL: " + err.Error(),
		}, args)
	}
	c.url, c.target = u.String(), t
	if !d.caller.Caps.mayReach(t) {
		return nil, d.deny(ctx, capNet, op, t.String(), args)
	}
	if c.header, err = d.httpHeader(ctx, op, req.Headers); err != nil {
		return nil, err
	}
	d.allow(ctx, capNet, op, t.String(), args)
	return c, nil
}

// opTimeout is the time that a call asks for, or the default.
func opTimeout(op string, ms int64) (time.Duration, error) {
	switch {
	case ms < 0 || ms > int64(24*time.Hour/time.Millisecond):
		return 0, errorf(CodeInvalid, "%s: timeout_ms is not between 0 and a day", op)
	case ms == 0:
		return defaultOpTimeout, nil
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// decodeText is text of a guest that may be base64.
func decodeText(op, field, text, encoding string) ([]byte, error) {
	switch encoding {
	case "":
		return []byte(text), nil
	case "base64":
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, errorf(CodeInvalid, "%s: %s: %v", op, field, err)
		}
		return b, nil
	}
	return nil, errorf(CodeInvalid, "%s: encoding %q (base64, or none)", op, encoding)
}

// encodeText is the other way: text as it is, all else as base64.
func encodeText(b []byte) (text, encoding string) {
	if utf8.Valid(b) {
		return string(b), ""
	}
	return base64.StdEncoding.EncodeToString(b), "base64"
}

// httpHeader checks header fields and puts secrets in the place of handles.
func (d *door) httpHeader(ctx context.Context, op string, in map[string]Texts) (http.Header, error) {
	out, total := http.Header{}, 0
	for _, name := range sortedKeys(in) {
		key := http.CanonicalHeaderKey(name)
		if !isToken(name) || slices.Contains(ownHeaders, key) {
			return nil, errorf(CodeInvalid, "%s: header %q cannot be set", op, clipText(name, 64))
		}
		for _, value := range in[name] {
			value, err := d.revealSecrets(ctx, op, value)
			if err != nil {
				return nil, err
			}
			if !isFieldValue(value) {
				return nil, errorf(CodeInvalid, "%s: header %s holds a control character", op, key)
			}
			out.Add(key, value)
			total += len(key) + len(value)
		}
	}
	if len(out) > httpHeadersMax || total > httpHeaderLenMax {
		return nil, errorf(CodeInvalid, "%s: more than %d headers, or %d bytes of them", op, httpHeadersMax, httpHeaderLenMax)
	}
	if out.Get("User-Agent") == "" {
		out.Set("User-Agent", "runloop")
	}
	return out, nil
}

// isToken reports whether s can name a header field (RFC 9110, 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// isFieldValue reports whether s can stand behind a header field's name.
func isFieldValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// clipText is the first n bytes of s, whole runes.
func clipText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:wholeRunes([]byte(s[:n]))] + "…"
}
