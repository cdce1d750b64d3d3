package runloop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runloop-os/runloop/agents"
	"github.com/runloop-os/runloop/broker"
	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/pog"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// session is the rooms of one process, wired: knowledge base, bus, agents'
// host and broker. `rlp run --local` and the daemon have the same.
type session struct {
	io      *IO
	cfg     *Loaded
	live    atomic.Pointer[Loaded] // cfg, or what a reload put in its place
	places  places
	store   *pog.Store
	bus     *bus.Bus
	broker  *broker.Broker
	catalog *wasm.Catalog
	runtime *wasm.Runtime
	host    *wasm.Host
	confirm *wasm.Confirmer
	calls   callCounter // to models
	secrets wasm.Redactor

	stop    context.CancelFunc
	serving sync.WaitGroup
	serveMu sync.Mutex
	failed  error // why a server of the session ended before it was told to
}

// sessionOptions are what the flags of a command change.
type sessionOptions struct {
	agentsDir string   // looked into before all others
	grants    []string // agents granted for this process
	// sealed is for replays: no knowledge base, no broker, nobody to ask.
	sealed bool
	// replayCaps hold replays to less than was recorded; nil does not.
	replayCaps func(*wasm.Bundle) *wasm.Caps
	replayKB   wasm.KB // says what it would refuse
	// sources go before all others: agents that are tried in a replay.
	sources []wasm.Source
	// keepReady is how many instances of each agent are made ahead.
	keepReady int
	// daemon: the folder that the process was started in has no say.
	daemon bool
	log    *slog.Logger // of the bus, or nil
	// expect are references to agents that will be wanted at once.
	expect []string
	// code is what the session loads agents with, and closes; nil makes it anew.
	code *agentCode
}

// agentCode is where agents are found, and what loads and keeps their code.
type agentCode struct {
	catalog *wasm.Catalog
	runtime *wasm.Runtime
}

// loadAgents begins to load, in the background, the code of those expected agents
// that came with the binary: that is most of what a run waits for.
func (o *IO) loadAgents(ctx context.Context, cfg *Loaded, opt sessionOptions) (*agentCode, error) {
	catalog, err := o.catalog(cfg, opt)
	if err != nil {
		return nil, err
	}
	runtime := wasm.NewRuntime(wasm.RuntimeConfig{
		CacheDir: o.places(cfg).cache, KeepReady: opt.keepReady, Warn: func(err error) { o.warnf("%v", err) },
	})
	runtime.Preload(ctx, catalog, opt.expect)
	return &agentCode{catalog, runtime}, nil
}

// confirmTimeout is how long a person may take for a decision.
const confirmTimeout = time.Hour

// openSession opens and starts everything. Close ends it.
func openSession(ctx context.Context, io *IO, cfg *Loaded, opt sessionOptions) (*session, error) {
	s := &session{io: io, cfg: cfg, places: io.places(cfg)}
	s.live.Store(cfg)
	if err := s.open(ctx, opt); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *session) open(ctx context.Context, opt sessionOptions) error {
	var err error
	code := opt.code
	if code == nil {
		if code, err = s.io.loadAgents(ctx, s.cfg, opt); err != nil {
			return err
		}
	}
	s.catalog, s.runtime = code.catalog, code.runtime
	if !opt.sealed {
		if err := s.places.makeWork(); err != nil {
			return err
		}
		if s.store, err = s.io.openStore(ctx, s.cfg); err != nil {
			return err
		}
		if s.broker, err = s.newBroker(); err != nil {
			return err
		}
	}
	s.bus = bus.New(bus.Config{Codec: rmp.Codec{MaxBody: uint32(s.cfg.Bus.Limits.BodyBytes)}, Log: opt.log})
	return s.serve(ctx, opt)
}

func (s *session) warn(err error) { s.io.warnf("%v", err) }

// openStore opens the knowledge base of a configuration.
func (o *IO) openStore(ctx context.Context, cfg *Loaded) (*pog.Store, error) {
	p := o.places(cfg)
	if err := p.makeWork(); err != nil {
		return nil, err
	}
	return pog.Open(ctx, o.storeOptions(cfg))
}

func (o *IO) storeOptions(cfg *Loaded) pog.Options {
	p := o.places(cfg)
	return pog.Options{
		Dir: p.pog, EventsDB: cfg.KB.EventsDB, ViewDB: cfg.KB.ViewDB,
		SchemaDirs: []string{p.schemas},
		Warn:       func(err error) { o.warnf("%v", err) },
	}
}

// catalog is where agents are looked for (spec/03 "Bundle").
func (o *IO) catalog(cfg *Loaded, opt sessionOptions) (*wasm.Catalog, error) {
	sources := opt.sources
	dirs := append([]string{opt.agentsDir}, cfg.Agents.SearchDirs...)
	if !opt.daemon {
		dirs = append(dirs, "agents")
	}
	dirs = append(dirs, o.places(cfg).installed, "/usr/lib/runloop/agents", "/var/lib/runloop/agents")
	seen := map[string]bool{"": true}
	for _, dir := range dirs {
		if seen[dir] {
			continue
		}
		seen[dir] = true
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		src, ok, err := wasm.DirSource(abs)
		if err != nil {
			return nil, err
		}
		if ok {
			sources = append(sources, src)
		} else if dir == opt.agentsDir {
			return nil, exitErrorf(exitNotFound, "--agents-dir %s: no such folder", dir)
		}
	}
	if fsys, ok := agents.BuiltIn(); ok {
		sources = append(sources, wasm.Source{Name: "built in", FS: fsys, BuiltIn: true})
	} else {
		o.warnf("this binary was built without the built-in agents; build it with make")
	}
	return wasm.NewCatalog(sources...), nil
}

// serve starts the agents' host.
func (s *session) serve(ctx context.Context, opt sessionOptions) error {
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	services := wasm.Services{Now: time.Now, KB: opt.replayKB}
	if !opt.sealed {
		var err error
		s.confirm, err = wasm.NewConfirmer(s.bus.Client("confirm", bus.KindAgent), confirmTimeout)
		if err != nil {
			return err
		}
		s.serving.Go(func() { s.confirm.Serve(ctx) })
		services = s.services(s.confirm)
	}
	host, err := wasm.NewHost(wasm.HostConfig{
		Client: s.bus.Client("host", bus.KindAgent), Catalog: s.catalog, Runtime: s.runtime,
		Policy: s.policy(opt.grants...), Services: services, Warn: s.warn, ReplayCaps: opt.replayCaps,
		Isolation: s.cfg.isolation(), Residents: residentConfig(s.cfg), Breaker: breakerConfig(s.cfg),
		Quarantine: s.io.quarantine(s.cfg),
		Guarded:    s.places.guarded(s.cfg),
	})
	if err != nil {
		return err
	}
	s.host = host
	s.serving.Go(func() {
		if err := host.Serve(ctx); err != nil {
			s.serveMu.Lock()
			s.failed = err
			s.serveMu.Unlock()
		}
	})
	return nil
}

// policy is what agents may do on this machine.
func (s *session) policy(granted ...string) *wasm.Policy {
	return s.io.policy(s.cfg, granted...)
}

// policy is what agents may do under a configuration.
func (o *IO) policy(cfg *Loaded, granted ...string) *wasm.Policy {
	p := o.places(cfg)
	return &wasm.Policy{
		OverridesDir: p.overrides, TrustFile: p.trust, System: cfg.CapsLimits,
		RequireSigned: !cfg.Security.AllowUnsignedAgents,
		Grants:        &wasm.Grants{Dir: p.grants}, GrantNames: granted,
	}
}

// services are what agents reach through the hostcall door.
func (s *session) services(actions wasm.Actions) wasm.Services {
	out := wasm.Services{
		KB:           kbService{s.store},
		Models:       modelService{s.broker},
		Artifacts:    artifactService{s.store, s.places.artifacts},
		Actions:      actions,
		Secrets:      secretService{s.io.secret},
		Redactor:     &s.secrets,
		Effects:      effectJournal{s.store},
		AuditAllowed: s.cfg.Security.Caps.OnAllow,
		Now:          time.Now,
	}
	if s.cfg.Security.Caps.OnDeny {
		out.Audit = auditService(s.store, s.warn)
	}
	return out
}

// openings plans runs with the agents of the session and the openings in dirs.
func (s *session) openings(dirs []string) openingCatalog {
	return openingCatalog{planCatalog: planCatalog{s.catalog}, dirs: dirs}
}

// engine runs openings on the session's bus. sink gets the events of a run;
// they are published as well. release gives the engine's place on the bus back.
func (s *session) engine(sink func(opening.Event)) (e *opening.Engine, release func()) {
	client := s.bus.Client("engine", bus.KindAgent)
	exec := opening.NewBusExecutor(client)
	e = &opening.Engine{
		Executor: exec, Actions: exec, MaxParallel: s.live.Load().Runtime.MaxParallel,
		Store:     runStore{s.store},
		Catalog:   planCatalog{s.catalog},
		Artifacts: artifactService{s.store, s.places.artifacts},
		Sink: func(ev opening.Event) {
			exec.Publish(ev)
			sink(ev)
		},
	}
	return e, func() { client.Close() } // an engine that is done has nothing to lose
}

// Close stops the agents and closes all that was opened, in the order that
// loses nothing.
func (s *session) Close() error {
	if s.stop != nil {
		s.stop()
	}
	s.serving.Wait()
	errs := []error{s.failed}
	if s.runtime != nil {
		errs = append(errs, s.runtime.Close())
	}
	if s.bus != nil {
		errs = append(errs, s.bus.Close())
	}
	if s.broker != nil {
		s.broker.Close()
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	return nil
}
