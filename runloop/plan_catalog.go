package runloop

import (
	"errors"

	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/wasm"
)

// planCatalog shows bundles to the engine as manifests.
type planCatalog struct{ bundles *wasm.Catalog }

// Manifest implements opening.Catalog.
func (c planCatalog) Manifest(ref string) (*opening.Manifest, error) {
	b, err := c.bundles.Bundle(ref)
	if errors.Is(err, &wasm.Error{Code: wasm.CodeUnknownAgent}) {
		return nil, opening.ErrUnknownAgent
	}
	if err != nil {
		return nil, err
	}
	return &opening.Manifest{
		Digest: b.Digest, In: portTypes(b.Manifest.In), Out: portTypes(b.Manifest.Out), With: b.Manifest.With,
	}, nil
}

func portTypes(ports map[string]wasm.Port) map[string]string {
	out := make(map[string]string, len(ports))
	for name, p := range ports {
		out[name] = p.Type
	}
	return out
}

// Names implements opening.Catalog.
func (c planCatalog) Names() []string {
	refs, err := c.bundles.Refs()
	if err != nil {
		return nil // names are for hints only
	}
	return refs
}
