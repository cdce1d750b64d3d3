package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Bounds of compiling one module that did not come with the binary.
const (
	compileTimeout  = 3 * time.Minute
	compileCPU      = 120       // seconds, of all threads
	compileMemory   = 512 << 20 // bytes, and compilePerByte more for each byte of the module
	compilePerByte  = 40
	compileFileMax  = 1 << 30 // bytes of native code
	compileChildren = 2       // at a time
)

// moduleFile is the binary beside its native code: the compiler wants both to
// load one.
const moduleFile = "module.wasm"

// code is a module that was compiled in a child of ours: a folder of the
// cache with native code and the module itself, and the seal on it. This
// process has neither parsed nor compiled it.
type code struct {
	dir  string
	seal *seal
	size int // bytes of the module
}

type codeEntry struct {
	once sync.Once
	code *code
	err  error
}

// code compiles a module in a child, or finds it compiled, for workers.
func (r *Runtime) code(ctx context.Context, binary []byte, digest string) (*code, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, errRuntimeClosed
	}
	e := r.codes[digest]
	if e == nil {
		e = &codeEntry{}
		r.codes[digest] = e
	}
	r.mu.Unlock()
	e.once.Do(func() { e.code, e.err = r.foreign(ctx, binary, digest, true) })
	if e.err != nil {
		r.forgetCode(digest, e)
	}
	return e.code, e.err
}

// Compile has the module of a bundle compiled into the cache, so that its first
// attempt need not wait for that. The error says why a module may not be run.
func (r *Runtime) Compile(ctx context.Context, b *Bundle) error {
	binary, err := b.Module()
	if err == nil {
		_, err = r.code(ctx, binary, b.ModuleDigest)
	}
	return err
}

// renewCode throws away what the cache has of a module for workers, and
// compiles it again.
func (r *Runtime) renewCode(ctx context.Context, binary []byte, digest string) (*code, error) {
	cache, err := r.cacheOrTemp()
	if err != nil {
		return nil, errorf(CodeHost, "%v", err)
	}
	key := codeKey(digest, true)
	unlock, err := cache.lock(ctx, key)
	if err != nil {
		return nil, errorf(CodeHost, "%v", err)
	}
	err = cache.clear(cache.folder(key))
	unlock()
	if err != nil {
		return nil, errorf(CodeHost, "%v", err)
	}
	r.forgetCode(digest, nil)
	return r.code(ctx, binary, digest)
}

// codeKey names native code in the cache: for workers, or for this process.
func codeKey(digest string, unchecked bool) string {
	if unchecked {
		return digest + "-worker"
	}
	return digest
}

// forgetCode lets the next caller try again.
func (r *Runtime) forgetCode(digest string, e *codeEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e == nil || r.codes[digest] == e {
		delete(r.codes, digest)
	}
}

// foreign is the compiled form of a module, in the cache. Native code for a
// worker is another than for this process: a worker that is late is killed, so
// that its code need not look at each turn of a loop whether it is to end.
func (r *Runtime) foreign(ctx context.Context, binary []byte, digest string, unchecked bool) (*code, error) {
	cache, err := r.cacheOrTemp()
	if err != nil {
		return nil, errorf(CodeHost, "%v", err)
	}
	key := codeKey(digest, unchecked)
	unlock, err := cache.lock(ctx, key)
	if err != nil {
		return nil, errorf(CodeHost, "%v", err)
	}
	defer unlock()
	dir, s := cache.open(key)
	if s != nil && s.Life != 0 && s.matches(dir) {
		return &code{dir, s, len(binary)}, nil
	}
	if err := cache.clear(dir); err != nil {
		return nil, errorf(CodeHost, "%v", err)
	}
	end, err := r.compileInChild(ctx, binary, dir, unchecked)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, moduleFile), binary, 0o600); err != nil {
		return nil, errorf(CodeHost, "compilation cache: %v", err)
	}
	s, err = cache.seal(key, end.Info, end.Life)
	if err != nil {
		return nil, errorf(CodeHost, "%v", err)
	}
	return &code{dir, s, len(binary)}, nil
}

// loadForeign is Load for a module that did not come with the binary: it is
// compiled in a child and only then loaded here.
func (r *Runtime) loadForeign(ctx context.Context, binary []byte, digest string) (*Module, error) {
	return r.loadWith(digest, func() (*Module, error) {
		c, err := r.foreign(ctx, binary, digest, false)
		if err != nil {
			return nil, err
		}
		m, err := r.build(ctx, &buildInput{module: inHand(binary), digest: digest, info: c.seal.Info, dir: c.dir, seal: c.seal})
		if err != nil && m != nil {
			return nil, errors.Join(err, m.close())
		}
		return m, err
	})
}

// cacheOrTemp is the cache, or a folder for the life of this process where
// there is none.
func (r *Runtime) cacheOrTemp() (*codeCache, error) {
	if r.cache != nil {
		return r.cache, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.temp != nil {
		return r.temp, nil
	}
	dir, err := os.MkdirTemp("", "runloop-code-")
	if err != nil {
		return nil, err
	}
	r.temp, err = openCodeCache(dir)
	return r.temp, err
}

// compileInChild has a child scan the module and compile it into dir.
func (r *Runtime) compileInChild(ctx context.Context, binary []byte, dir string, unchecked bool) (*compileEnd, error) {
	ctx, cancel := context.WithTimeout(ctx, compileTimeout)
	defer cancel()
	select {
	case r.compiling <- struct{}{}:
		defer func() { <-r.compiling }()
	case <-ctx.Done():
		return nil, compileStopped(ctx)
	}
	file, err := moduleInMemory(binary)
	if err != nil {
		return nil, errorf(CodeHost, "%v", err)
	}
	defer file.Close()
	c, err := startChild(compileName, &jail{rules: []jailRule{writingBelow(dir)}}, file)
	if err != nil {
		return nil, err
	}
	defer c.close()
	defer context.AfterFunc(ctx, c.kill)()
	end := &compileEnd{}
	err = c.conn.sendJSON(msgJob, r.compileJob(dir, len(binary), unchecked))
	if err == nil {
		err = c.conn.expect(msgEnd, end)
	}
	switch {
	case ctx.Err() != nil:
		return nil, compileStopped(ctx)
	case err != nil:
		c.kill()
		death := c.death()
		return nil, errorf(CodeLoadRefused+":"+CodeCompiler, "compiling it failed: %s", death.Message)
	}
	return end, end.refusal()
}

func (r *Runtime) compileJob(dir string, size int, unchecked bool) compileJob {
	return compileJob{
		Dir: dir, Size: size, Scan: r.scanLimits(), Pages: uint32(r.cfg.Max.MemoryMB) * pagesPerMB,
		Unchecked: unchecked,
	}
}

func compileStopped(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return errorf(CodeLoadRefused+":"+CodeCompiler, "compiling it takes longer than %v", compileTimeout)
	}
	return killedBy(ctx)
}

// moduleInMemory is a file without a name that holds a module.
func moduleInMemory(binary []byte) (*os.File, error) {
	f, err := memFile(moduleFile)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(binary, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("handing a module to the compiler: %w", err)
	}
	return f, nil
}
