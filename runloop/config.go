package runloop

import "github.com/runloop-os/runloop/rmp"

// Config is the configuration of spec/06 "Config v1". Tags name the keys as
// they stand in a file; the types here are the schema that files and the
// environment are checked against.
type Config struct {
	Version       int                 `koanf:"version"`
	Runtime       RuntimeConfig       `koanf:"runtime"`
	Models        ModelsConfig        `koanf:"models"`
	KB            KBConfig            `koanf:"kb"`
	Logging       LoggingConfig       `koanf:"logging"`
	Observability ObservabilityConfig `koanf:"observability"`
	Security      SecurityConfig      `koanf:"security"`
	Router        RouterConfig        `koanf:"router"`
	Bus           BusConfig           `koanf:"bus"`
	Openings      SearchConfig        `koanf:"openings"`
	Agents        AgentsConfig        `koanf:"agents"`
	UI            UIConfig            `koanf:"ui"`
	Policy        PolicyConfig        `koanf:"policy"`
}

// RuntimeConfig is where state lives and how much runs at a time.
type RuntimeConfig struct {
	Base                string `koanf:"base"`
	AgentContainer      string `koanf:"agent_container"`
	SocketPath          string `koanf:"socket_path"`
	SocketsDir          string `koanf:"sockets_dir"`
	MaxParallel         int    `koanf:"max_parallel"` // nodes at a time; 0: as many as processors
	SpawnReadyTimeoutMS int    `koanf:"spawn_ready_timeout_ms"`
	DrainMS             int    `koanf:"drain_ms"` // that runs may go on after the daemon was told to end
	Workdir             string `koanf:"workdir"`
	Isolation           string `koanf:"isolation"` // of agents: auto, inline or worker
}

// ModelsConfig is the broker's part.
type ModelsConfig struct {
	Default string       `koanf:"default"`
	Broker  BrokerConfig `koanf:"broker"`
}

// BrokerConfig lists providers and how requests get to them.
type BrokerConfig struct {
	Providers []ProviderConfig `koanf:"providers"`
	Route     []RouteConfig    `koanf:"route"`
	Prices    []PriceConfig    `koanf:"prices"`
	Cache     CacheConfig      `koanf:"cache"`
	Budgets   BudgetsConfig    `koanf:"budgets"`
}

// ProviderConfig is one provider of models.
type ProviderConfig struct {
	ID       string `koanf:"id"`
	Kind     string `koanf:"kind"`
	BaseURL  string `koanf:"base_url"`
	SecretID string `koanf:"secret_id"`
}

// RouteConfig sends models whose name matches a pattern to a provider.
type RouteConfig struct {
	Pattern     string `koanf:"pattern"`
	Provider    string `koanf:"provider"`
	TargetModel string `koanf:"target_model"`
}

// PriceConfig is what a million tokens of models cost, in dollars. Model is a
// pattern; the first that fits counts, before the prices that are built in.
type PriceConfig struct {
	Model string  `koanf:"model"`
	In    float64 `koanf:"in"`
	Out   float64 `koanf:"out"`
}

// CacheConfig bounds the broker's cache.
type CacheConfig struct {
	TTLMS    int `koanf:"ttl_ms"`
	Capacity int `koanf:"capacity"`
}

// BudgetsConfig limits what models may cost; 0 is no limit.
type BudgetsConfig struct {
	DefaultTokens       int     `koanf:"default_tokens"`
	PerRequestTokensCap int     `koanf:"per_request_tokens_cap"`
	HardCapUSD          float64 `koanf:"hard_cap_usd"`
}

// KBConfig is where the knowledge base lies.
type KBConfig struct {
	RootDir  string `koanf:"root_dir"`
	EventsDB string `koanf:"events_db"`
	ViewDB   string `koanf:"view_db"`
}

// LoggingConfig is how the program reports on itself.
type LoggingConfig struct {
	Level  string `koanf:"level"`
	Format string `koanf:"format"`
	File   string `koanf:"file"`
}

// ObservabilityConfig is where traces and metrics go.
type ObservabilityConfig struct {
	Traces  TracesConfig  `koanf:"traces"`
	Metrics MetricsConfig `koanf:"metrics"`
}

// TracesConfig is the export of traces.
type TracesConfig struct {
	Enabled      bool   `koanf:"enabled"`
	OTLPEndpoint string `koanf:"otlp_endpoint"`
	Sampling     string `koanf:"sampling"`
}

// MetricsConfig is where metrics can be read. An address that others than this
// machine reach needs AllowRemote, for there is no password.
type MetricsConfig struct {
	Listen      string `koanf:"listen"`
	AllowRemote bool   `koanf:"allow_remote"`
}

// SecurityConfig is what has to be asked for and what is audited.
type SecurityConfig struct {
	ConfirmExternalActions bool          `koanf:"confirm_external_actions"`
	AllowUnsignedAgents    bool          `koanf:"allow_unsigned_agents"`
	Caps                   AuditConfig   `koanf:"caps"`
	Secrets                SecretsConfig `koanf:"secrets"`
}

// AuditConfig says which decisions about capabilities are put in the ledger.
type AuditConfig struct {
	OnDeny  bool `koanf:"audit_on_deny"`
	OnAllow bool `koanf:"audit_on_allow"`
}

// SecretsConfig is where secrets are kept.
type SecretsConfig struct {
	Provider string `koanf:"provider"`
	Root     string `koanf:"root"`
}

// RouterConfig is what the prompt router is told by its user.
type RouterConfig struct {
	FastpathShell  bool     `koanf:"fastpath_shell"`
	DefaultOpening string   `koanf:"default_opening"`
	Allowlist      []string `koanf:"allowlist"`
	Denylist       []string `koanf:"denylist"`
	KnownCommands  []string `koanf:"known_commands"`
}

// BusConfig is who may do what on the bus.
type BusConfig struct {
	Auth   BusAuthConfig   `koanf:"auth"`
	Limits BusLimitsConfig `koanf:"limits"`
}

// BusLimitsConfig bounds what the clients of the socket may take.
type BusLimitsConfig struct {
	Connections   int `koanf:"connections"`
	Subscriptions int `koanf:"subscriptions"` // of one connection
	QueueBytes    int `koanf:"queue_bytes"`   // that wait for one connection
	BodyBytes     int `koanf:"body_bytes"`    // of one frame
	FrameRate     int `koanf:"frames_per_second"`
	HandshakeMS   int `koanf:"handshake_ms"`
	IdleMS        int `koanf:"idle_ms"`
}

// BusAuthConfig names the group that may connect and the kinds of clients
// that may publish.
type BusAuthConfig struct {
	Group      string           `koanf:"group"`
	Publishers PublishersConfig `koanf:"publishers"`
}

// PublishersConfig limits who may publish what.
type PublishersConfig struct {
	ActionDecision KindsConfig `koanf:"action_decision"`
}

// KindsConfig lists kinds of clients, and users (by id) besides the daemon's
// own and root.
type KindsConfig struct {
	AllowedKinds []string `koanf:"allowed_kinds"`
	AllowedUIDs  []int    `koanf:"allowed_uids"`
}

// SearchConfig is a list of folders, the first that has a thing wins.
type SearchConfig struct {
	SearchDirs []string `koanf:"search_dirs"`
}

// UIConfig is how things look.
type UIConfig struct {
	Theme string `koanf:"theme"`
}

// PolicyConfig are hard limits. In the system's file they bind every other
// layer; a nil field limits nothing.
type PolicyConfig struct {
	ConfirmExternalActions *bool    `koanf:"confirm_external_actions"`
	AllowUnsignedAgents    *bool    `koanf:"allow_unsigned_agents"`
	DefaultTokens          *int     `koanf:"default_tokens"`
	HardCapUSD             *float64 `koanf:"hard_cap_usd"`
	// Isolation "worker" has every agent run in a process of its own, whatever
	// runtime.isolation says.
	Isolation *string `koanf:"isolation"`
	// Caps is the most that any agent may have, in the form of [capabilities].
	// What it does not name stays as the agent asks.
	Caps map[string]any `koanf:"caps"`
}

// defaultConfig is the lowest layer.
func defaultConfig() map[string]any {
	type m = map[string]any
	return m{
		"version": 1,
		"runtime": m{
			"base": "debian", "agent_container": "wasm32-wasip1", "socket_path": "", "sockets_dir": "",
			"max_parallel": 0, "spawn_ready_timeout_ms": 5000, "drain_ms": 20_000,
			"workdir": "~/.runloop", "isolation": "auto",
		},
		"models": m{
			"default": "local:llama3.1-8b",
			"broker": m{
				"providers": []any{}, "route": []any{}, "prices": []any{},
				"cache":   m{"ttl_ms": 600_000, "capacity": 1024},
				"budgets": m{"default_tokens": 8000, "per_request_tokens_cap": 0, "hard_cap_usd": 0.50},
			},
		},
		"kb":      m{"root_dir": "", "events_db": "events.sqlite", "view_db": "pog.sqlite"},
		"logging": m{"level": "info", "format": "auto", "file": ""},
		"observability": m{
			"traces":  m{"enabled": false, "otlp_endpoint": "", "sampling": "parent"},
			"metrics": m{"listen": "", "allow_remote": false},
		},
		"security": m{
			"confirm_external_actions": true, "allow_unsigned_agents": true,
			"caps":    m{"audit_on_deny": true, "audit_on_allow": false},
			"secrets": m{"provider": "os-keyring", "root": ""},
		},
		"router": m{
			"fastpath_shell": true, "default_opening": "compose_email",
			"allowlist": []any{}, "denylist": []any{}, "known_commands": []any{},
		},
		"bus": m{
			"auth": m{
				"group": "", "publishers": m{"action_decision": m{"allowed_kinds": []any{"ui", "tui"}, "allowed_uids": []any{}}},
			},
			"limits": m{
				"connections": 1024, "subscriptions": 256, "queue_bytes": 8 << 20, "body_bytes": int(rmp.DefaultMaxBody),
				"frames_per_second": 100_000, "handshake_ms": 5000, "idle_ms": 120_000,
			},
		},
		"openings": m{"search_dirs": []any{"~/.runloop/openings", "/usr/share/runloop/openings"}},
		"agents":   defaultAgents(),
		"ui":       m{"theme": "mono"},
	}
}
