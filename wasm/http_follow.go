package wasm

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// plainHeaders are the only fields that go along to another origin. It is a
// list of what may pass, because secrets stand under any name.
var plainHeaders = []string{"Accept", "Accept-Language", "User-Agent"}

// do sends the request and follows redirects, each checked like the first.
func (c *httpCall) do(ctx context.Context) (any, error) {
	ctx, stop := context.WithTimeout(ctx, c.timeout)
	defer stop()
	for range httpHopsMax + 1 {
		res, next, err := c.hop(ctx)
		if err != nil {
			return nil, err
		}
		if next == "" {
			return res, nil
		}
		if err := c.redirect(ctx, res.Status, next); err != nil {
			return nil, err
		}
	}
	return nil, errorf(CodeRedirect, "%s: more than %d redirects", c.op, httpHopsMax)
}

// hop sends the request to where it points now. next is where the answer
// wants it to go, "" if it is the end.
func (c *httpCall) hop(ctx context.Context) (res *HTTPResponse, next string, err error) {
	network := &c.d.services.Network
	addrs, closed, err := network.addresses(ctx, c.target)
	switch {
	case ctx.Err() != nil:
		return nil, "", c.failure(ctx, ctx.Err(), false)
	case err != nil:
		return nil, "", c.settle(err, false)
	case closed != "":
		return nil, "", c.settle(c.d.refuse(ctx, refusal{
			family: capNet, op: c.op, target: c.target.String(),
			reason: "it leads to an address that is not granted", detail: closed,
		}, c.args), false)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, c.url, bytes.NewReader(c.body))
	if err != nil {
		return nil, "", errorf(CodeInvalid, "%s: the URL is malformed", c.op)
	}
	req.Header = c.header.Clone()
	transport := network.transport(c.target, addrs)
	defer transport.CloseIdleConnections()
	raw, err := transport.RoundTrip(req)
	if err != nil {
		return nil, "", c.failure(ctx, err, true)
	}
	defer raw.Body.Close()
	c.answered = true
	if at := raw.Header.Get("Location"); at != "" && isRedirect(raw.StatusCode) {
		return &HTTPResponse{Status: raw.StatusCode}, at, nil
	}
	res, err = c.read(ctx, raw)
	return res, "", err
}

func isRedirect(status int) bool {
	return slices.Contains([]int{
		http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect,
	}, status)
}

// redirect points the request at where a redirect leads, if it may go there.
func (c *httpCall) redirect(ctx context.Context, status int, location string) error {
	u, t, err := c.resolve(location)
	if err != nil {
		return c.d.refuse(ctx, refusal{
			family: capNet, op: c.op, target: printable(clipText(location, 128)), reason: "a redirect: " + err.Error(),
		}, c.args)
	}
	if !c.d.caller.Caps.mayReach(t) || c.target.scheme == "https" && t.scheme != "https" {
		return c.d.refuse(ctx, refusal{
			family: capNet, op: c.op, target: t.String(), reason: "a redirect there is not granted",
		}, c.args)
	}
	away := t.origin() != c.target.origin()
	c.url, c.target = u.String(), t
	if status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect {
		if away && len(c.body) > 0 {
			return errorf(CodeRedirect, "%s: a redirect to %s would take the body along", c.op, t)
		}
	} else if c.method != http.MethodHead {
		c.method, c.body = http.MethodGet, nil // RFC 9110, 15.4
		c.header.Del("Content-Type")
	}
	if away {
		for name := range c.header {
			if !slices.Contains(plainHeaders, name) {
				c.header.Del(name)
			}
		}
	}
	return nil
}

func (c *httpCall) resolve(location string) (*url.URL, target, error) {
	base, err := url.Parse(c.url)
	if err != nil {
		return nil, target{}, err
	}
	ref, err := url.Parse(location)
	if err != nil {
		return nil, target{}, errors.New("its target is malformed")
	}
	return parseURL(base.ResolveReference(ref).String())
}

// read takes the answer in, unpacked, up to the limit.
func (c *httpCall) read(ctx context.Context, raw *http.Response) (*HTTPResponse, error) {
	body, err := io.ReadAll(io.LimitReader(raw.Body, httpBodyMax+1))
	if err != nil {
		return nil, c.failure(ctx, err, true)
	}
	if len(body) > httpBodyMax {
		return nil, errorf(CodeResponseSize, "%s: the answer is over %d bytes", c.op, httpBodyMax)
	}
	res := &HTTPResponse{Status: raw.StatusCode, Headers: map[string][]string{}, URL: c.url}
	for name, values := range raw.Header {
		for _, v := range values {
			name := strings.ToLower(name)
			res.Headers[name] = append(res.Headers[name], strings.ToValidUTF8(v, "\uFFFD"))
		}
	}
	res.Body, res.Encoding = encodeText(body)
	return res, nil
}

// failure names what went wrong on the way. It tells nothing of addresses: the
// guest knows the name it asked for, and no more.
func (c *httpCall) failure(ctx context.Context, err error, sent bool) error {
	var dial *dialError
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	e := errorf(CodeProtocol, "%s: %s did not answer as a server should", c.op, c.target)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		e = errorf(CodeTimeout, "%s: no whole answer from %s in time", c.op, c.target)
		e.Retryable = !sent || c.repeatable()
	case errors.As(err, &dial):
		e, sent = errorf(CodeConnect, "%s: no connection to %s", c.op, c.target), false
		e.Retryable = true
	case errors.As(err, &cert), errors.As(err, &record):
		e, sent = errorf(CodeTLS, "%s: %s has no certificate that counts", c.op, c.target), false
	}
	return c.settle(e, sent)
}

// settle says to the journal of effects what an error means: that nothing was
// carried out before the first server had anything, and that nobody knows once
// a request is under way.
func (c *httpCall) settle(err error, sent bool) error {
	switch {
	case !sent && !c.answered:
		return &untouched{err}
	case sent:
		return &uncertain{err}
	}
	return err
}

// repeatable reports whether the request may go out twice (RFC 9110, 9.2.1,
// and the Idempotency-Key header).
func (c *httpCall) repeatable() bool {
	return c.idempotent || c.method == http.MethodGet || c.method == http.MethodHead ||
		c.header.Get(headerIdempotency) != ""
}
