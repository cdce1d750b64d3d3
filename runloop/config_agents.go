package runloop

import (
	"time"

	"github.com/runloop-os/runloop/wasm"
)

// AgentsConfig is where agents are found, which of them the daemon keeps, and
// when one is given up.
type AgentsConfig struct {
	SearchDirs   []string      `koanf:"search_dirs"`
	Residents    []string      `koanf:"residents"` // started with the daemon
	MaxResidents int           `koanf:"max_residents"`
	StopGraceMS  int           `koanf:"stop_grace_ms"` // that a resident may take to end
	Mailbox      MailboxConfig `koanf:"mailbox"`
	Breaker      BreakerConfig `koanf:"breaker"`
}

// MailboxConfig bounds what waits for one resident.
type MailboxConfig struct {
	Messages int `koanf:"messages"`
	Bytes    int `koanf:"bytes"`
}

// BreakerConfig is how many crashes within a time put an agent into
// quarantine; a negative number never does.
type BreakerConfig struct {
	Crashes          int `koanf:"crashes"` // with no attempt that went well in between
	WindowMS         int `koanf:"window_ms"`
	ResidentCrashes  int `koanf:"resident_crashes"`
	ResidentWindowMS int `koanf:"resident_window_ms"`
}

func defaultAgents() map[string]any {
	type m = map[string]any
	return m{
		"search_dirs": []any{"~/.runloop/agents", "/usr/lib/runloop/agents"},
		"residents":   []any{}, "max_residents": 256, "stop_grace_ms": 2000,
		"mailbox": m{"messages": 256, "bytes": 4 << 20},
		"breaker": m{
			"crashes": 10, "window_ms": 600_000, "resident_crashes": 5, "resident_window_ms": 300_000,
		},
	}
}

func residentConfig(cfg *Loaded) wasm.ResidentConfig {
	a := cfg.Agents
	return wasm.ResidentConfig{
		ReadyTimeout: milliseconds(cfg.Runtime.SpawnReadyTimeoutMS), StopGrace: milliseconds(a.StopGraceMS),
		Max: a.MaxResidents, MailMessages: a.Mailbox.Messages, MailBytes: a.Mailbox.Bytes,
	}
}

func breakerConfig(cfg *Loaded) wasm.BreakerConfig {
	b := cfg.Agents.Breaker
	return wasm.BreakerConfig{
		Crashes: b.Crashes, Window: milliseconds(b.WindowMS),
		ResidentCrashes: b.ResidentCrashes, ResidentWindow: milliseconds(b.ResidentWindowMS),
	}
}

func milliseconds(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// quarantine is where crashed agents are noted.
func (o *IO) quarantine(cfg *Loaded) *wasm.Quarantine {
	return &wasm.Quarantine{Dir: o.places(cfg).quarantine}
}
