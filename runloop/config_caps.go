package runloop

import (
	"strings"

	"github.com/runloop-os/runloop/wasm"
)

// limitCaps reads policy.caps of each layer. Layers do not replace each other
// here: each takes away, and one that allows what the system's file does not
// is an error.
func (l *Loaded) limitCaps(system string) error {
	var hard *wasm.CapsLimit
	for _, layer := range l.Layers {
		policy, _ := layer.values["policy"].(map[string]any)
		table, ok := policy["caps"].(map[string]any)
		if !ok {
			continue
		}
		limit, err := wasm.NewCapsLimit(wasm.LayerSystem, layer.Name, table)
		if err != nil {
			return usageErrorf("config: policy.caps: %v", err)
		}
		if layer.Name == system {
			hard = limit
		} else if hard != nil {
			if wider := limit.Widens(hard); len(wider) > 0 {
				return usageErrorf("config: policy.caps (from %s) goes past policy.caps in %s: %s",
					layer.Name, system, strings.Join(wider, "; "))
			}
		}
		l.CapsLimits = append(l.CapsLimits, limit)
	}
	return nil
}
