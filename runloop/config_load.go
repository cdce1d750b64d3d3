package runloop

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/knadh/koanf/maps"
	"github.com/knadh/koanf/v2"

	"github.com/runloop-os/runloop/router/enter"
	"github.com/runloop-os/runloop/wasm"
)

// systemConfig is the file whose policy binds everybody.
const systemConfig = enter.SystemConfig

// Layer is one source of configuration.
type Layer struct {
	Name  string `json:"name"`  // a path, "defaults", "environment" or "flags"
	State string `json:"state"` // loaded, absent, unused
	Note  string `json:"note,omitempty"`

	values map[string]any
}

// Loaded is the configuration, what it was made of and what to warn about.
type Loaded struct {
	Config
	Layers   []Layer
	Warnings []string
	// Origin tells for each key, in its dotted form, which layer its value
	// comes from.
	Origin map[string]string

	// CapsLimits is policy.caps of each layer, the system's first.
	CapsLimits []*wasm.CapsLimit

	merged *koanf.Koanf
	// relative: a configured path depends on the current folder.
	relative bool
}

// configSource is what configuration is read from: a test has its own.
type configSource struct {
	environ []string // KEY=value
	home    string   // "" when HOME is not set
	system  string   // the system's file
	flags   map[string]any
}

func osConfigSource() configSource {
	return configSource{environ: os.Environ(), home: os.Getenv("HOME"), system: systemConfig}
}

// load reads all layers, later ones over earlier ones (spec/06).
func (s configSource) load() (*Loaded, error) {
	l := &Loaded{Origin: map[string]string{}, merged: koanf.New(".")}
	l.add(Layer{Name: "defaults", State: "loaded", values: defaultConfig()})
	if err := s.addFiles(l); err != nil {
		return nil, err
	}
	env, warnings, err := envLayer(s.environ)
	if err != nil {
		return nil, err
	}
	l.Warnings = append(l.Warnings, warnings...)
	l.add(Layer{Name: "environment", State: "loaded", values: env})
	if len(s.flags) > 0 {
		l.add(Layer{Name: "flags", State: "loaded", values: s.flags})
	}
	for _, layer := range l.Layers {
		if err := l.merged.Load(mapProvider(layer.values), nil); err != nil {
			return nil, usageErrorf("config %s: %v", layer.Name, err)
		}
	}
	if err := l.merged.Unmarshal("", &l.Config); err != nil {
		return nil, usageErrorf("config: %v", err)
	}
	if err := l.check(s.system); err != nil {
		return nil, err
	}
	l.warnOfIdleKeys()
	return l, l.resolvePaths(s.home)
}

// warnOfIdleKeys tells who gives another value to a key that this version knows
// and does nothing with: it must not look as if it did.
func (l *Loaded) warnOfIdleKeys() {
	usual := map[string]any{}
	flatten("", defaultConfig(), func(key string, value any) { usual[key] = value })
	for _, key := range []string{
		"observability.traces.enabled", "observability.traces.otlp_endpoint", "observability.traces.sampling",
		"security.secrets.provider", "ui.theme", "runtime.base", "runtime.agent_container",
	} {
		if l.merged.Get(key) != usual[key] {
			l.Warnings = append(l.Warnings, fmt.Sprintf("config: %s (from %s) has no effect in this version", key, l.Origin[key]))
		}
	}
}

// unusedNote says why a file was not read.
const unusedNote = "RUNLOOP_CONFIG is set"

// addFiles adds the file that RUNLOOP_CONFIG names, or else the system's and
// the user's. The policy of the system's file binds in any case: a variable
// must not undo it.
func (s configSource) addFiles(l *Loaded) error {
	files := []string{s.system}
	if s.home != "" {
		files = append(files, filepath.Join(s.home, ".runloop", "config.yaml"))
	}
	if file := s.getenv("RUNLOOP_CONFIG"); file != "" {
		if err := l.addPolicy(s.system); err != nil {
			return err
		}
		for _, f := range files[1:] {
			l.Layers = append(l.Layers, Layer{Name: f, State: "unused", Note: unusedNote})
		}
		if _, err := os.Stat(file); err != nil {
			return usageErrorf("RUNLOOP_CONFIG: %v", err)
		}
		files = []string{file}
	}
	for _, f := range files {
		if err := l.addFile(f); err != nil {
			return err
		}
	}
	return nil
}

func (s configSource) getenv(key string) string {
	for _, kv := range s.environ {
		if k, v, _ := strings.Cut(kv, "="); k == key {
			return v
		}
	}
	return ""
}

func (l *Loaded) addFile(name string) error {
	src, err := readRegular(name, configFileMax)
	if errors.Is(err, fs.ErrNotExist) {
		l.Layers = append(l.Layers, Layer{Name: name, State: "absent"})
		return nil
	}
	if err != nil {
		return usageErrorf("config: %v", err)
	}
	values, warnings, err := parseConfigFile(name, src)
	if err != nil {
		return err
	}
	l.Warnings = append(l.Warnings, warnings...)
	l.add(Layer{Name: name, State: "loaded", values: values})
	return nil
}

// addPolicy adds of a file only what it has under policy.
func (l *Loaded) addPolicy(name string) error {
	var file Loaded
	file.Origin = map[string]string{}
	if err := file.addFile(name); err != nil {
		return err
	}
	layer := Layer{Name: name, State: "unused", Note: unusedNote}
	if policy, ok := file.Layers[0].values["policy"]; ok {
		layer.State, layer.Note = "loaded", "its policy only: "+unusedNote
		layer.values = map[string]any{"policy": policy}
	}
	l.add(layer)
	return nil
}

func (l *Loaded) add(layer Layer) {
	l.Layers = append(l.Layers, layer)
	flatten("", layer.values, func(key string, _ any) { l.Origin[key] = layer.Name })
}

// flatten calls f for every leaf of a nested map; a list is a leaf.
func flatten(prefix string, m map[string]any, f func(key string, value any)) {
	for k, v := range m {
		key := strings.TrimPrefix(prefix+"."+k, ".")
		if sub, ok := v.(map[string]any); ok {
			flatten(key, sub, f)
			continue
		}
		f(key, v)
	}
}

// mapProvider hands koanf a map that was read already.
type mapProvider map[string]any

func (p mapProvider) ReadBytes() ([]byte, error) { return nil, errors.New("not bytes") }

// Read gives a copy: koanf merges later layers into the maps that it was given.
func (p mapProvider) Read() (map[string]any, error) { return maps.Copy(p), nil }

// resolvePaths makes the configured paths absolute. What lives below the work
// folder by default follows it when it is moved.
func (l *Loaded) resolvePaths(home string) error {
	if l.KB.RootDir == "" {
		l.KB.RootDir = filepath.Join(l.Runtime.Workdir, "pog")
	}
	if l.Security.Secrets.Root == "" {
		l.Security.Secrets.Root = filepath.Join(l.Runtime.Workdir, "secrets")
	}
	paths := []*string{&l.Runtime.Workdir, &l.KB.RootDir, &l.Security.Secrets.Root,
		&l.Runtime.SocketPath, &l.Runtime.SocketsDir, &l.Logging.File}
	for _, list := range [][]string{l.Openings.SearchDirs, l.Agents.SearchDirs} {
		for i := range list {
			paths = append(paths, &list[i])
		}
	}
	for _, p := range paths {
		l.relative = l.relative || *p != "" && !filepath.IsAbs(*p) && !inHome(*p)
		if err := resolvePath(p, home); err != nil {
			return err
		}
	}
	return nil
}

// inHome reports whether a path is written as one below the home folder.
func inHome(path string) bool { return path == "~" || strings.HasPrefix(path, "~/") }

func resolvePath(p *string, home string) error {
	if inHome(*p) {
		if home == "" {
			return usageErrorf("HOME is not set, but %q needs it; set HOME, or RUNLOOP__RUNTIME__WORKDIR "+
				"and search_dirs to absolute paths", *p)
		}
		*p = filepath.Join(home, (*p)[1:])
	}
	if *p == "" {
		return nil
	}
	abs, err := filepath.Abs(*p)
	if err != nil {
		return usageErrorf("config: %s: %v", *p, err)
	}
	*p = abs
	return nil
}

// check refuses values that make no sense and values that go past the policy
// of the system's file.
func (l *Loaded) check(system string) error {
	if l.Version != 1 {
		return usageErrorf("config: version %d is not known; this program reads version 1", l.Version)
	}
	for _, c := range []struct {
		bad bool
		key string
		say string
	}{
		{l.Runtime.MaxParallel < 0, "runtime.max_parallel", "must not be negative"},
		{l.Runtime.DrainMS < 0, "runtime.drain_ms", "must not be negative"},
		{l.Models.Broker.Budgets.DefaultTokens < 0, "models.broker.budgets.default_tokens", "must not be negative"},
		{l.Models.Broker.Budgets.HardCapUSD < 0, "models.broker.budgets.hard_cap_usd", "must not be negative"},
		{l.Models.Broker.Cache.Capacity < 0, "models.broker.cache.capacity", "must not be negative"},
		{l.Runtime.Workdir == "", "runtime.workdir", "must not be empty"},
		{l.Bus.Limits.Connections < 1, "bus.limits.connections", "must be positive"},
		{l.Bus.Limits.Subscriptions < 1, "bus.limits.subscriptions", "must be positive"},
		{l.Bus.Limits.QueueBytes < 1<<16, "bus.limits.queue_bytes", "must be at least 65536"},
		{l.Bus.Limits.BodyBytes < 1<<16 || l.Bus.Limits.BodyBytes > 1<<30, "bus.limits.body_bytes",
			"must be from 65536 to 1073741824"},
		{l.Bus.Limits.FrameRate < 1, "bus.limits.frames_per_second", "must be positive"},
		{l.Bus.Limits.HandshakeMS < 1, "bus.limits.handshake_ms", "must be positive"},
		{l.Bus.Limits.IdleMS < 1000, "bus.limits.idle_ms", "must be at least 1000"},
	} {
		if c.bad {
			return usageErrorf("config: %s (from %s) %s", c.key, l.Origin[c.key], c.say)
		}
	}
	if err := errors.Join(l.checkNames(), l.limitCaps(system)); err != nil {
		return err
	}
	return l.checkPolicy(system)
}

// checkNames refuses values that are none of the names a key may have.
func (l *Loaded) checkNames() error {
	wrong := func(key, value, want string) error {
		return usageErrorf("config: %s (from %s) %q: %s", key, l.Origin[key], value, want)
	}
	if _, err := logLevel(l.Logging.Level); err != nil {
		return wrong("logging.level", l.Logging.Level, err.Error())
	}
	if f := l.Logging.Format; f != "auto" && f != "json" && f != "text" {
		return wrong("logging.format", f, "must be auto, json or text")
	}
	if _, err := wasm.ParseIsolation(l.Runtime.Isolation); err != nil {
		return wrong("runtime.isolation", l.Runtime.Isolation, "must be auto, inline or worker")
	}
	if p := l.Policy.Isolation; p != nil && *p != string(wasm.IsolationAuto) && *p != string(wasm.IsolationWorker) {
		return wrong("policy.isolation", *p, "must be auto or worker")
	}
	const decisions = "bus.auth.publishers.action_decision"
	for _, k := range l.Bus.Auth.Publishers.ActionDecision.AllowedKinds {
		if !slices.Contains([]string{"cli", "agent", "ui", "tui", "tool"}, k) {
			return wrong(decisions+".allowed_kinds", k, "must be cli, agent, ui, tui or tool")
		}
	}
	for _, uid := range l.Bus.Auth.Publishers.ActionDecision.AllowedUIDs {
		if uid < 0 || uid >= math.MaxUint32 {
			return wrong(decisions+".allowed_uids", strconv.Itoa(uid), "is no user id")
		}
	}
	return nil
}

// checkPolicy compares the outcome with the limits of the system's file alone:
// a policy in another layer may tighten, and can be undone by who wrote it.
func (l *Loaded) checkPolicy(system string) error {
	limits := koanf.New(".")
	for _, layer := range l.Layers {
		if layer.Name == system && layer.values != nil {
			if err := limits.Load(mapProvider(layer.values), nil); err != nil {
				return usageErrorf("config %s: %v", system, err)
			}
		}
	}
	l.tightenDefaults(limits)
	b := &l.Models.Broker.Budgets
	over := func(key string, limit, value float64) bool {
		return limits.Exists(key) && (value > limit || value == 0)
	}
	for _, c := range []struct {
		policy, key string
		broken      bool
	}{
		{"policy.confirm_external_actions", "security.confirm_external_actions",
			limits.Bool("policy.confirm_external_actions") && !l.Security.ConfirmExternalActions},
		{"policy.allow_unsigned_agents", "security.allow_unsigned_agents",
			limits.Exists("policy.allow_unsigned_agents") &&
				!limits.Bool("policy.allow_unsigned_agents") && l.Security.AllowUnsignedAgents},
		{"policy.isolation", "policy.isolation",
			limits.String("policy.isolation") == string(wasm.IsolationWorker) && l.isolation() != wasm.IsolationWorker},
		{"policy.default_tokens", "models.broker.budgets.default_tokens",
			over("policy.default_tokens", limits.Float64("policy.default_tokens"), float64(b.DefaultTokens))},
		{"policy.hard_cap_usd", "models.broker.budgets.hard_cap_usd",
			over("policy.hard_cap_usd", limits.Float64("policy.hard_cap_usd"), b.HardCapUSD)},
	} {
		if c.broken {
			return usageErrorf("config: %s (from %s) goes past %s in %s",
				c.key, l.Origin[c.key], c.policy, system)
		}
	}
	return nil
}

// tightenDefaults keeps what nobody set within the policy; only what somebody
// set can go past it.
func (l *Loaded) tightenDefaults(limits *koanf.Koanf) {
	untouched := func(policy, key string) bool {
		return limits.Exists(policy) && l.Origin[key] == "defaults"
	}
	b := &l.Models.Broker.Budgets
	if untouched("policy.default_tokens", "models.broker.budgets.default_tokens") {
		b.DefaultTokens = min(b.DefaultTokens, limits.Int("policy.default_tokens"))
	}
	if untouched("policy.hard_cap_usd", "models.broker.budgets.hard_cap_usd") {
		b.HardCapUSD = min(b.HardCapUSD, limits.Float64("policy.hard_cap_usd"))
	}
	if untouched("policy.allow_unsigned_agents", "security.allow_unsigned_agents") {
		l.Security.AllowUnsignedAgents = limits.Bool("policy.allow_unsigned_agents")
	}
}

// isolation is where agents run: as the policy has it, or else the runtime's
// own setting.
func (l *Loaded) isolation() wasm.Isolation {
	if p := l.Policy.Isolation; p != nil && *p == string(wasm.IsolationWorker) {
		return wasm.IsolationWorker
	}
	return wasm.Isolation(l.Runtime.Isolation)
}
