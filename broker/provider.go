package broker

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Provider is one source of answers. Both methods return what the call used
// in the Usage tokens even when they fail half-way, and errors that are
// *Error where the provider knows more than "it broke". They must end soon
// after their context does.
//
// The model in a request is already the provider's own name for it, and
// Params.MaxTokens the longest answer that the budget allows.
type Provider interface {
	Complete(ctx context.Context, r *Request) (Response, error)
	Embed(ctx context.Context, r *EmbedRequest) (Vectors, error)
}

// prober is a Provider that can say whether it is there without being paid.
type prober interface {
	probe(ctx context.Context) error
}

// ProviderConfig describes one provider. Fields that a kind has no use for
// must be empty.
type ProviderConfig struct {
	ID   string // how routes and model names refer to it: [a-z0-9_-]{1,64}
	Kind string // "http" or "null"
	// BaseURL is where an http provider answers, with or without its final
	// "/v1".
	BaseURL string
	// SecretID names the credential that Secrets is asked for, "" for none.
	SecretID string
	// AllowHTTP permits plain http to hosts that are not loopback or private
	// addresses.
	AllowHTTP bool
	// Proxy is "" for none, "env" for the environment's, or a URL.
	Proxy string
	// IdleTimeout is the longest silence within an answer, 60 s by default.
	IdleTimeout time.Duration
	// DialTimeout is the longest wait for a connection, 3 s by default.
	DialTimeout time.Duration
	// MaxResponseBytes bounds one answer, 32 MiB by default.
	MaxResponseBytes int64
}

// SecretFunc returns the value of a secret by its id.
type SecretFunc func(ctx context.Context, id string) (string, error)

// kinds lists what newProvider can make; each kind has a file of its own.
var kinds = []string{"http", "null"}

// source is a provider with what the broker keeps about it.
type source struct {
	cfg    ProviderConfig
	local  bool // on this host or a private address: free unless priced
	health *health
	Provider
}

// newSource is where a kind of provider becomes known to the broker.
func newSource(cfg ProviderConfig, secrets SecretFunc) (*source, error) {
	s := &source{cfg: cfg}
	var err error
	switch cfg.Kind {
	case "http":
		var p *httpProvider
		if p, err = newHTTPProvider(cfg, secrets); err == nil {
			s.Provider, s.local = p, p.local
		}
	case "null":
		s.Provider, s.local = nullProvider{}, true
		if cfg.BaseURL != "" || cfg.SecretID != "" || cfg.Proxy != "" {
			err = fmt.Errorf("kind null takes no base_url, secret_id or proxy")
		}
	default:
		err = fmt.Errorf("unknown kind %q%s; kinds: %q", clip(cfg.Kind, 64),
			suggest(cfg.Kind, kinds), kinds)
	}
	return s, err
}

// newSources makes all providers or none.
func newSources(cfgs []ProviderConfig, secrets SecretFunc) (map[string]*source, []string, error) {
	sources := make(map[string]*source, len(cfgs))
	var ids []string
	for i, cfg := range cfgs {
		if !providerID(cfg.ID) || slices.Contains(ids, cfg.ID) {
			return nil, nil, fmt.Errorf("broker: providers[%d]: id %q is malformed or comes twice; "+
				"want a-z, 0-9, _ and -", i, clip(cfg.ID, 64))
		}
		s, err := newSource(cfg, secrets)
		if err != nil {
			return nil, nil, fmt.Errorf("broker: provider %s: %w", cfg.ID, err)
		}
		sources[cfg.ID] = s
		ids = append(ids, cfg.ID)
	}
	return sources, ids, nil
}

// providerID keeps ids free of the colon of "provider:model" and of anything
// that would have to be quoted.
func providerID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}
