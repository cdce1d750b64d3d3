package runloop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/broker"
	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// newBroker makes the broker of the configuration. Every call that it makes
// becomes an event.
func (s *session) newBroker() (*broker.Broker, error) {
	cfg := brokerConfig(&s.cfg.Models)
	cfg.Secrets, cfg.OnRecord = masking(&s.secrets, s.io.secret), s.recordCall
	return openBroker(cfg)
}

func openBroker(cfg broker.Config) (*broker.Broker, error) {
	b, err := broker.New(cfg)
	if err != nil {
		return nil, usageErrorf("config: models.broker: %v", err)
	}
	return b, nil
}

// brokerConfig is the part of the configuration that the broker knows.
func brokerConfig(m *ModelsConfig) broker.Config {
	cfg := broker.Config{
		Default: m.Default,
		Defaults: broker.Limits{
			Run: broker.Limit{Tokens: int64(m.Broker.Budgets.DefaultTokens)},
		},
		Caps: broker.Limits{
			Request: broker.Limit{Tokens: int64(m.Broker.Budgets.PerRequestTokensCap)},
			Run:     broker.Limit{USD: m.Broker.Budgets.HardCapUSD},
		},
		Cache: broker.CacheConfig{
			TTL:      time.Duration(m.Broker.Cache.TTLMS) * time.Millisecond,
			Capacity: m.Broker.Cache.Capacity,
		},
	}
	for _, p := range m.Broker.Providers {
		cfg.Providers = append(cfg.Providers, broker.ProviderConfig{
			ID: p.ID, Kind: p.Kind, BaseURL: p.BaseURL, SecretID: p.SecretID,
		})
	}
	for _, r := range m.Broker.Route {
		cfg.Routes = append(cfg.Routes, broker.Route{
			Pattern: r.Pattern, Provider: r.Provider, TargetModel: r.TargetModel,
		})
	}
	for _, p := range m.Broker.Prices {
		cfg.Prices = append(cfg.Prices, broker.Price{Model: p.Model, In: p.In, Out: p.Out})
	}
	return cfg
}

// secret reads a secret from the environment: under its id, or under the id in
// capitals with everything but letters and digits as an underscore.
func (o *IO) secret(_ context.Context, id string) (string, error) {
	upper := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToUpper(r)
		}
		return '_'
	}, id)
	for _, name := range []string{id, upper} {
		if v := o.getenv(name); v != "" {
			return v, nil
		}
	}
	return "", fmt.Errorf("no secret %s in the environment (set %s)", id, upper)
}

// recordCall puts the metering of one call to a provider into the ledger.
func (s *session) recordCall(r broker.Record) {
	s.calls.add(r)
	d, err := pog.NewDelta("broker.call", map[string]any{
		"op": r.Op, "provider": r.Provider, "model": r.Model, "agent": r.Agent, "node": r.Node,
		"attempt": r.Attempt, "tokens_in": r.TokensIn, "tokens_out": r.TokensOut, "usd": r.USD,
		"latency_ms": r.Latency.Milliseconds(), "cached": r.Cached, "error_kind": string(r.ErrorKind),
		"status": r.Status, "outer": r.Outer,
	})
	if err == nil {
		d.Provenance = pog.Provenance{TraceID: r.Trace, NodeID: r.Node, Nonce: uuid.NewString()}
		_, err = s.store.Propose(context.Background(), pog.System(), d)
	}
	if err != nil {
		s.warn(fmt.Errorf("recording a call to a model: %w", err))
	}
}

// modelService lets agents ask models through the broker.
type modelService struct{ broker *broker.Broker }

// Complete implements wasm.Models.
func (m modelService) Complete(ctx context.Context, c wasm.Caller, q wasm.ModelRequest) (*wasm.ModelResponse, error) {
	req, err := completion(c, q)
	if err != nil {
		return nil, &wasm.Error{Code: wasm.CodeInvalid, Message: "model.complete: " + err.Error()}
	}
	res, err := m.broker.Complete(ctx, *req)
	if err != nil {
		return nil, modelError(err)
	}
	calls, err := json.Marshal(res.ToolCalls)
	if err != nil {
		return nil, err
	}
	if len(res.ToolCalls) == 0 {
		calls = nil
	}
	return &wasm.ModelResponse{
		Text: res.Text, ToolCalls: calls, Model: res.Model, Provider: res.Provider, Cached: res.Cached,
		Usage: usageOf(res.Usage),
	}, nil
}

// Embed implements wasm.Models.
func (m modelService) Embed(ctx context.Context, c wasm.Caller, q wasm.EmbedRequest) (*wasm.EmbedResponse, error) {
	res, err := m.broker.Embed(ctx, broker.EmbedRequest{Model: q.Model, Input: q.Input, Caller: modelCaller(c)})
	if err != nil {
		return nil, modelError(err)
	}
	return &wasm.EmbedResponse{
		Vectors: res.Vectors, Model: res.Model, Provider: res.Provider, Usage: usageOf(res.Usage),
	}, nil
}

func usageOf(u broker.Usage) rmp.Usage {
	return rmp.Usage{TokensIn: u.TokensIn, TokensOut: u.TokensOut, USD: u.USD}
}

// modelCaller is for whom the broker works. Answers are shared only between
// attempts of the same agent with the same capabilities.
func modelCaller(c wasm.Caller) broker.Caller {
	out := broker.Caller{
		Trace: c.TraceID, Node: c.Node, Agent: c.Agent,
		CacheScope: c.Agent + "\x00" + c.Caps.Digest(),
		Limits:     budgetLimits(c.Budget, c.RunBudget),
	}
	for _, o := range c.Outer {
		out.Outer = append(out.Outer, broker.Outer{Trace: o.TraceID, Node: o.Node, Limits: budgetLimits(o.Budget, o.RunBudget)})
	}
	return out
}

func budgetLimits(node, run rmp.Budget) broker.Limits {
	return broker.Limits{
		Node: broker.Limit{Tokens: node.Tokens, USD: node.USD},
		Run:  broker.Limit{Tokens: run.Tokens, USD: run.USD},
	}
}

// completion puts an agent's request into the broker's form.
func completion(c wasm.Caller, q wasm.ModelRequest) (*broker.Request, error) {
	req := &broker.Request{Model: q.Model, Schema: q.Schema, Caller: modelCaller(c)}
	for _, part := range []struct {
		name string
		raw  json.RawMessage
		into any
	}{{"messages", q.Messages, &req.Messages}, {"params", q.Params, &req.Params}, {"tools", q.Tools, &req.Tools}} {
		if err := strictJSON(part.raw, part.into); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if q.Prompt != "" {
		req.Messages = append(req.Messages, broker.Message{Role: broker.RoleUser, Content: q.Prompt})
	}
	if q.CacheTTLMS != nil {
		ttl := time.Duration(*q.CacheTTLMS) * time.Millisecond
		req.CacheTTL = &ttl
	}
	return req, nil
}

func modelError(err error) error {
	var e *broker.Error
	if !errors.As(err, &e) {
		return err
	}
	return agentError(string(e.Code), e, e.Retryable)
}

// strictJSON reads raw, which may be empty or a value that is not JSON yet,
// into v and refuses keys that v does not have.
func strictJSON(raw any, v any) error {
	b, ok := raw.(json.RawMessage)
	if !ok {
		var err error
		if b, err = json.Marshal(raw); err != nil {
			return err
		}
	}
	if len(b) == 0 || string(b) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}
