package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
)

// RuntimeConfig configures a [Runtime]. The zero value has no disk cache and
// the default limits.
type RuntimeConfig struct {
	// CacheDir keeps compiled modules between processes; "" for none.
	CacheDir string
	// Max caps what manifests may ask for; zero fields mean DefaultMax.
	Max Limits
	// Files bounds what an instance may do to the roots it was granted.
	Files FileLimits
	// KeepReady is how many initialised instances of a reactor are made anew
	// in the background when one was used; 0 leaves it to [Host.Warm].
	KeepReady int
	// Warn is told about a cache that cannot be used. Nil ignores it.
	Warn func(error)
}

// Limits of an attempt whose manifest names none, and the most a manifest gets
// where the configuration says nothing else.
var (
	DefaultLimits = Limits{MemoryMB: 64, WallMS: 30_000, StdoutKB: 1024}
	DefaultMax    = Limits{MemoryMB: 1024, WallMS: 600_000, StdoutKB: 6 << 10}
)

// Runtime compiles modules and keeps them, and instances of them, ready. One
// wazero runtime serves each module: a module compiled in one runtime must not
// be instantiated in another (wazero #2511).
type Runtime struct {
	cfg      RuntimeConfig
	cache    *codeCache
	memories *memoryPool

	mu      sync.Mutex
	modules map[string]*moduleEntry // by digest
	codes   map[string]*codeEntry   // for workers, by digest
	temp    *codeCache              // where there is no cache
	closed  bool
	filling sync.WaitGroup // goroutines that fill pools
	pools   *pools

	workers   *workerPool
	compiling chan struct{} // a place for each child that compiles
	// unchecked: native code never looks whether it is to end. Only for a
	// process that is killed then.
	unchecked bool
}

type moduleEntry struct {
	once   sync.Once
	module *Module
	err    error
}

// NewRuntime returns a runtime. A cache folder that cannot be used is reported
// to cfg.Warn and done without.
func NewRuntime(cfg RuntimeConfig) *Runtime {
	cfg.Max = cfg.Max.or(DefaultMax)
	cfg.Files = cfg.Files.or(defaultFSLimits())
	r := &Runtime{
		cfg: cfg, modules: map[string]*moduleEntry{}, codes: map[string]*codeEntry{},
		pools:     newPools(),
		memories:  newMemoryPool(uint64(cfg.Max.MemoryMB) << 20),
		workers:   newWorkerPool(min(cfg.KeepReady, 1)),
		compiling: make(chan struct{}, compileChildren),
	}
	if cfg.CacheDir == "" {
		return r
	}
	cache, err := openCodeCache(cfg.CacheDir)
	r.warn(err)
	r.cache = cache
	return r
}

func (r *Runtime) warn(err error) {
	if err != nil && r.cfg.Warn != nil {
		r.cfg.Warn(err)
	}
}

// or fills zero fields from d.
func (l Limits) or(d Limits) Limits {
	pick := func(a, b int) int {
		if a > 0 {
			return a
		}
		return b
	}
	return Limits{
		MemoryMB: pick(l.MemoryMB, d.MemoryMB),
		WallMS:   pick(l.WallMS, d.WallMS),
		StdoutKB: pick(l.StdoutKB, d.StdoutKB),
	}
}

// atMost caps every field by m.
func (l Limits) atMost(m Limits) Limits {
	return Limits{
		MemoryMB: min(l.MemoryMB, m.MemoryMB),
		WallMS:   min(l.WallMS, m.WallMS),
		StdoutKB: min(l.StdoutKB, m.StdoutKB),
	}
}

var errRuntimeClosed = errors.New("the runtime is closed")

// Load compiles the module of a bundle that came with the binary, or returns it
// compiled. digest is the hex BLAKE3 of binary, checked by whoever read it.
func (r *Runtime) Load(ctx context.Context, binary []byte, digest string) (*Module, error) {
	return r.load(ctx, inHand(binary), digest)
}

// load is Load with a module that is read only if it has to be compiled.
func (r *Runtime) load(ctx context.Context, module moduleBytes, digest string) (*Module, error) {
	return r.loadWith(digest, func() (*Module, error) { return r.compile(ctx, module, digest) })
}

// loadWith loads a module once, for all who want it.
func (r *Runtime) loadWith(digest string, load func() (*Module, error)) (*Module, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, errRuntimeClosed
	}
	e := r.modules[digest]
	if e == nil {
		e = &moduleEntry{}
		r.modules[digest] = e
	}
	r.mu.Unlock()
	e.once.Do(func() { e.module, e.err = load() })
	if e.err != nil {
		r.forget(digest, e)
	}
	return e.module, e.err
}

// Preload loads in the background those modules of agents that came with the
// binary. What fails here fails again where it is needed, and is reported
// there.
func (r *Runtime) Preload(ctx context.Context, c *Catalog, refs []string) {
	if !r.startFilling() {
		return
	}
	go func() {
		defer r.filling.Done()
		for _, ref := range refs {
			if ctx.Err() != nil {
				return
			}
			if b, err := c.Bundle(strings.TrimPrefix(ref, "agent:")); err == nil && b.BuiltIn {
				_, _ = r.load(ctx, b.module, b.ModuleDigest)
			}
		}
	}()
}

// forget lets the next caller try again: the failure may have been the
// caller's deadline.
func (r *Runtime) forget(digest string, e *moduleEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.modules[digest] == e {
		delete(r.modules, digest)
	}
}

// compile makes a module from the cache, if it has it, or from the binary.
func (r *Runtime) compile(ctx context.Context, module moduleBytes, digest string) (*Module, error) {
	if r.cache == nil {
		m, _, err := r.compileAnew(ctx, module, digest, "")
		return m, err
	}
	unlock, err := r.cache.lock(ctx, digest)
	if err != nil {
		r.warn(err)
		m, _, err := r.compileAnew(ctx, module, digest, "")
		return m, err
	}
	defer unlock()
	dir, seal := r.cache.open(digest)
	if seal != nil {
		if m := r.compileCached(ctx, module, digest, dir, seal); m != nil {
			return m, nil
		}
	}
	if err := r.cache.clear(dir); err != nil {
		r.warn(err)
		dir = ""
	}
	m, info, err := r.compileAnew(ctx, module, digest, dir)
	if err == nil && dir != "" {
		_, err := r.cache.seal(digest, info, m.life)
		r.warn(err)
	}
	return m, err
}

// compileCached loads native code out of the cache while its files are held
// against the seal. Nothing of it runs before both are done; nil means that the
// cache is of no use.
func (r *Runtime) compileCached(ctx context.Context, module moduleBytes, digest, dir string, s *seal) *Module {
	sound := make(chan bool, 1)
	go func() { sound <- s.matches(dir) }()
	m, err := r.build(ctx, &buildInput{module: module, digest: digest, info: s.Info, dir: dir, seal: s})
	if <-sound && err == nil {
		return m
	}
	if m != nil {
		r.warn(m.close())
	}
	return nil
}

// compileAnew scans and compiles; dir is where wazero keeps the code, or "".
func (r *Runtime) compileAnew(ctx context.Context, module moduleBytes, digest, dir string) (*Module, *ModuleInfo, error) {
	binary, err := module()
	if err != nil {
		return nil, nil, err
	}
	info, err := Scan(binary, r.scanLimits())
	if err != nil {
		return nil, nil, loadRefused(err)
	}
	m, err := r.build(ctx, &buildInput{module: module, digest: digest, info: info, dir: dir})
	if err != nil && m != nil {
		return nil, nil, errors.Join(err, m.close())
	}
	return m, info, err
}

// Module is a compiled module and the instances that wait for work.
type Module struct {
	owner    *Runtime
	digest   string
	life     Life
	wazero   wazero.Runtime
	cache    wazero.CompilationCache
	compiled wazero.CompiledModule
	info     *ModuleInfo

	mu    sync.Mutex
	pools map[string]*pool // by argv, memory limit
}

// buildInput is a module that was scanned.
type buildInput struct {
	module moduleBytes
	digest string
	info   *ModuleInfo
	dir    string // where native code is kept, or ""
	seal   *seal  // of dir, when the native code is there already
}

// build admits a scanned module to a wazero runtime of its own and compiles
// it. A module that comes with an error is to be closed.
func (r *Runtime) build(ctx context.Context, in *buildInput) (*Module, error) {
	m := &Module{owner: r, digest: in.digest, info: in.info, pools: map[string]*pool{}}
	cfg := wazero.NewRuntimeConfigCompiler().
		WithCloseOnContextDone(false). // gates do that; see gated
		WithDebugInfoEnabled(false).
		WithMemoryLimitPages(uint32(r.cfg.Max.MemoryMB) * pagesPerMB)
	if in.dir != "" {
		cache, err := wazero.NewCompilationCacheWithDir(in.dir)
		if err != nil {
			return nil, errorf(CodeHost, "compilation cache: %v", err)
		}
		m.cache, cfg = cache, cfg.WithCompilationCache(cache)
	}
	// The wazero runtime outlives the call that happened to need it first.
	m.wazero = wazero.NewRuntimeWithConfig(context.WithoutCancel(ctx), cfg)
	known, err := instantiateHost(ctx, m.wazero)
	if err != nil {
		return m, errorf(CodeHost, "host modules: %v", err)
	}
	if m.life, err = in.info.Admit(known); err != nil {
		return m, loadRefused(err)
	}
	read := in.module
	if !r.unchecked {
		read = func() ([]byte, error) { return r.withGates(in) }
	}
	binary, err := read()
	if err != nil {
		return m, loadRefused(err)
	}
	m.compiled, err = m.wazero.CompileModule(
		experimental.WithCompilationWorkers(ctx, runtime.GOMAXPROCS(0)), binary)
	if err != nil {
		return m, loadRefused(err)
	}
	return m, nil
}

// gatedFile is the module with gates beside its native code: making it anew
// takes a quarter of the time that loading a module does.
const gatedFile = "gated.wasm"

// withGates returns the module with gates, and keeps it where its native code
// will be.
func (r *Runtime) withGates(in *buildInput) ([]byte, error) {
	if in.seal != nil {
		kept, err := os.ReadFile(filepath.Join(in.dir, gatedFile))
		if err == nil && hexSum(kept) == in.seal.Files[gatedFile] {
			return kept, nil
		}
	}
	binary, err := in.module()
	if err != nil {
		return nil, err
	}
	out, err := gated(binary, r.scanLimits())
	if err != nil || in.dir == "" || in.seal != nil {
		return out, err
	}
	name := filepath.Join(in.dir, gatedFile)
	if os.WriteFile(name, out, 0o600) != nil {
		os.Remove(name) // the next process makes its own
	}
	return out, nil
}

// pagesPerMB is how many pages of WebAssembly memory, 64 KiB each, make 1 MiB.
const pagesPerMB = 16

func (r *Runtime) scanLimits() ScanLimits {
	l := DefaultScanLimits()
	l.MemoryPages = r.cfg.Max.MemoryMB * pagesPerMB
	return l
}

// loadRefused is the error for a module that may not be run, with the code of
// the scan where that said why.
func loadRefused(err error) error {
	var refused *ScanError
	if errors.As(err, &refused) {
		return errorf(CodeLoadRefused+":"+refused.Code, "%s", refused.Message)
	}
	return errorf(CodeLoadRefused, "%v", err)
}

func (m *Module) close() error {
	ctx := context.Background()
	var errs []error
	for _, p := range m.pools {
		p.drain()
	}
	if m.wazero != nil {
		errs = append(errs, m.wazero.Close(ctx))
	}
	if m.cache != nil {
		errs = append(errs, m.cache.Close(ctx))
	}
	return errors.Join(errs...)
}

// Close ends everything. The caller has seen to it that no guest runs.
func (r *Runtime) Close() error {
	r.mu.Lock()
	r.closed = true
	modules := r.modules
	r.modules = nil
	temp := r.temp
	r.mu.Unlock()
	r.filling.Wait()
	r.workers.close()
	var errs []error
	if temp != nil {
		errs = append(errs, os.RemoveAll(temp.dir))
	}
	for _, e := range modules {
		e.once.Do(func() { e.err = errRuntimeClosed })
		if e.module != nil {
			errs = append(errs, e.module.close())
		}
	}
	return errors.Join(errs...)
}

// initTimeout bounds _initialize of an instance that is made ahead of need.
const initTimeout = 5 * time.Second

func (l Limits) String() string {
	return fmt.Sprintf("%d MB, %d ms, %d KB of output", l.MemoryMB, l.WallMS, l.StdoutKB)
}
