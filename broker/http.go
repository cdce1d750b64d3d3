package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
)

// httpProvider speaks the part of OpenAI's API that vLLM, the llama.cpp
// server, LM Studio, OpenRouter and others share: chat completions and
// embeddings (platform.openai.com/docs/api-reference).
type httpProvider struct {
	cfg     ProviderConfig
	base    *url.URL
	local   bool
	client  *http.Client
	secrets SecretFunc
	// maxTokensField is how the length limit is spelt. OpenAI's own newer
	// models refuse the older name, which is all that other servers know.
	maxTokensField string
}

// newHTTPProvider checks the configuration and connects to nothing.
func newHTTPProvider(cfg ProviderConfig, secrets SecretFunc) (*httpProvider, error) {
	if cfg.DialTimeout <= 0 {
		cfg.DialTimeout = defaultDialTimeout
	}
	if cfg.IdleTimeout <= 0 {
		cfg.IdleTimeout = defaultIdleTimeout
	}
	if cfg.MaxResponseBytes <= 0 {
		cfg.MaxResponseBytes = defaultMaxResponse
	}
	if cfg.SecretID != "" && secrets == nil {
		return nil, fmt.Errorf("secret_id is set but there is no way to resolve secrets")
	}
	base, local, err := parseBase(cfg.BaseURL, cfg.AllowHTTP)
	if err != nil {
		return nil, err
	}
	client, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	p := &httpProvider{cfg: cfg, base: base, local: local, client: client, secrets: secrets,
		maxTokensField: "max_tokens"}
	if base.Hostname() == "api.openai.com" {
		p.maxTokensField = "max_completion_tokens"
	}
	return p, nil
}

// Complete asks for a stream and reads it to its end. From the moment the
// request has gone out its prompt counts as used: a provider charges for what
// it was sent, whether or not anybody waits for the answer.
func (p *httpProvider) Complete(ctx context.Context, r *Request) (Response, error) {
	body, err := encodeChat(r, p.maxTokensField)
	if err != nil {
		return Response{}, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	resp, sent, err := p.send(ctx, "/v1/chat/completions", body)
	if err != nil {
		return Response{Usage: assumed(sent, r.estimate())}, err
	}
	defer resp.Body.Close()
	in := p.guard(resp.Body, stop)
	defer in.stop()
	a := &answer{maxOut: r.Params.MaxTokens}
	if contentType(resp) == "text/event-stream" {
		err = a.readStream(in)
	} else {
		err = a.readWhole(in)
	}
	return a.finish(r.estimate(), in.explain(err))
}

// Embed asks for one vector per input.
func (p *httpProvider) Embed(ctx context.Context, r *EmbedRequest) (Vectors, error) {
	body, err := encodeEmbed(r)
	if err != nil {
		return Vectors{}, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	resp, sent, err := p.send(ctx, "/v1/embeddings", body)
	if err != nil {
		return Vectors{Usage: assumed(sent, r.estimate())}, err
	}
	defer resp.Body.Close()
	in := p.guard(resp.Body, stop)
	defer in.stop()
	out, err := readVectors(in, len(r.Input))
	if out.Usage.TokensIn == 0 {
		out.Usage.TokensIn = r.estimate()
	}
	return out, in.explain(err)
}

// probe lists the models, which no provider charges for.
func (p *httpProvider) probe(ctx context.Context) error {
	resp, _, err := p.send(ctx, "/v1/models", nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// assumed is the usage to charge when no answer came: the prompt, if it went
// out and was not turned away.
func assumed(sent bool, prompt int64) Usage {
	if !sent {
		return Usage{}
	}
	return Usage{TokensIn: prompt}
}

// send makes a request and returns its answer if that is a 200 of a type we
// read; a nil body makes it a GET. With an error, sent says whether the
// provider may have begun to work on it.
func (p *httpProvider) send(
	ctx context.Context, path string, body []byte,
) (resp *http.Response, sent bool, err error) {
	secret, err := p.credential(ctx)
	if err != nil {
		return nil, false, err
	}
	var wrote atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { wrote.Store(true) },
	})
	req, err := p.request(ctx, path, body, secret)
	if err != nil {
		return nil, false, err
	}
	resp, err = p.client.Do(req)
	if err != nil {
		return nil, wrote.Load(), transportError(err, wrote.Load())
	}
	if err := p.refusal(resp, secret); err != nil {
		resp.Body.Close()
		return nil, false, err
	}
	return resp, true, nil
}

// request builds one request. No header but the credential differs from one
// user to the next.
func (p *httpProvider) request(
	ctx context.Context, path string, body []byte, secret string,
) (*http.Request, error) {
	method, reader := http.MethodGet, io.Reader(nil)
	if body != nil {
		method, reader = http.MethodPost, bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.base.JoinPath(path).String(), reader)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream, application/json")
	req.Header.Set("User-Agent", "runloop")
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	return req, nil
}

// credential fetches the secret. What the resolver says about a failure is
// not repeated, in case it says too much.
func (p *httpProvider) credential(ctx context.Context) (string, error) {
	if p.cfg.SecretID == "" {
		return "", nil
	}
	s, err := p.secrets(ctx, p.cfg.SecretID)
	if err != nil {
		return "", &Error{Code: CodeSecret, Err: err,
			Msg: fmt.Sprintf("secret %s could not be read; see `rlp secrets get`", p.cfg.SecretID)}
	}
	s = strings.TrimSpace(s)
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", &Error{Code: CodeSecret,
			Msg: fmt.Sprintf("secret %s is empty or cannot stand in a header", p.cfg.SecretID)}
	}
	return s, nil
}

// refusal turns everything but a 200 with JSON or events into an error.
func (p *httpProvider) refusal(resp *http.Response, secret string) error {
	if resp.StatusCode == http.StatusOK {
		switch ct := contentType(resp); ct {
		case "text/event-stream", "application/json":
			return nil
		default:
			return fault(false, "answered with content type %q; is base_url right?",
				printable(ct, 64))
		}
	}
	e := &Error{Code: CodeProvider, Status: resp.StatusCode}
	msg, code := errorBody(resp.Body)
	switch s := resp.StatusCode; {
	case s >= 300 && s < 400:
		e.Msg = "a redirect, which is not followed; put its target into base_url"
		return e
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		e.Msg = "the credential was refused; check secret " + p.cfg.SecretID
		return e
	case s == http.StatusTooManyRequests:
		e.Code = CodeRateLimited
		// An empty account answers 429 as well, and no waiting will fill it.
		e.Retryable = code != "insufficient_quota"
	case s == http.StatusRequestTimeout || s >= 500 && s != http.StatusNotImplemented:
		e.Retryable = true
	}
	e.RetryAfter = retryAfter(resp.Header, time.Now())
	e.Msg = withhold(msg, secret)
	return e
}

// contentType is the media type without its parameters.
func contentType(resp *http.Response) string {
	ct := resp.Header.Get("Content-Type")
	if t, _, err := mime.ParseMediaType(ct); err == nil {
		return t
	}
	return ct
}

// maxErrorBody is how much of an error's body is read to find its message.
const maxErrorBody = 16 << 10

// errorBody finds the message and code in the forms that servers give them:
// {"error":{"message","code"}}, {"error":"…"}, {"message":"…"}.
func errorBody(body io.Reader) (msg, code string) {
	raw, _ := io.ReadAll(io.LimitReader(body, maxErrorBody)) // a broken body has no message
	var outer struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
	}
	if jsonv2.Unmarshal(raw, &outer) != nil {
		return "", ""
	}
	w := parseWireError(outer.Error)
	if w.Message == "" {
		w.Message = outer.Message
	}
	return printable(w.Message, maxErrText), w.code()
}
