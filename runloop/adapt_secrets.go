package runloop

import (
	"context"

	"github.com/runloop-os/runloop/wasm"
)

// secretService lets agents use the secrets that they were granted.
type secretService struct {
	find func(context.Context, string) (string, error)
}

// Secret implements wasm.Secrets. Why there is no value is told to the agent
// in the words of the host alone.
func (s secretService) Secret(ctx context.Context, _ wasm.Caller, id string) (string, error) {
	value, err := s.find(ctx, id)
	if err != nil {
		return "", &wasm.Error{Code: wasm.CodeNotFound, Message: "there is no secret " + printable(id) + " on this host"}
	}
	return value, nil
}

// masking is a source of secrets whose values are masked from then on.
func masking(r *wasm.Redactor, find func(context.Context, string) (string, error)) func(context.Context, string) (string, error) {
	return func(ctx context.Context, id string) (string, error) {
		value, err := find(ctx, id)
		if err == nil {
			r.Add(id, value)
		}
		return value, err
	}
}
