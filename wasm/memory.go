package wasm

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// Codes of a [MemoryError].
const (
	// CodeMemoryLimit: the module wants more memory from the start than an
	// instance may have.
	CodeMemoryLimit = "memory_limit"
	// CodeMemoryUnavailable: the system gives no address space.
	CodeMemoryUnavailable = "memory_unavailable"
)

// MemoryError says why a guest gets no memory.
type MemoryError struct {
	Code    string // one of the CodeMemory constants
	Message string // one line
}

// Error gives code and reason on one line.
func (e *MemoryError) Error() string { return e.Code + ": " + e.Message }

// Is reports whether target is a *MemoryError with the same code.
func (e *MemoryError) Is(target error) bool {
	t, ok := target.(*MemoryError)
	return ok && t.Code == e.Code
}

var errNoMemory = &MemoryError{Code: CodeMemoryUnavailable}

// wasmPage is the unit of a guest's memory (core spec, 4.2.8).
const wasmPage = 1 << 16

// memoryPool gives guests their memory and keeps count of it. Left to itself,
// wazero takes it from Go's heap: growing copies it, and what a guest has used
// once stays resident until the collector gets to it. Here the address space
// for all that an instance may ever have is set aside at once, without memory
// behind it; growing makes more of it usable and never copies, and only pages
// that were touched count.
type memoryPool struct {
	limit  uint64 // bytes an instance may have
	live   atomic.Int64
	guests atomic.Int64
}

// newMemoryPool makes a pool whose guests may have limit bytes each, rounded
// down to whole pages of 64 KiB.
func newMemoryPool(limit uint64) *memoryPool {
	return &memoryPool{limit: limit / wasmPage * wasmPage}
}

// Live tells how many guest memories exist, and how many bytes their guests
// have made usable.
func (p *memoryPool) Live() (guests int, bytes int64) {
	return int(p.guests.Load()), p.live.Load()
}

// reserve sets memory aside for one instance of a module. Doing it before the
// instance is made is what turns a failure into an error: when wazero itself
// asks and is told that there is none, it panics.
//
// If there is no address space for all the memory that the instance may have,
// there may still be enough for what it starts with; then its memory does not
// grow.
//
// # Errors
//
// Every error is a [*MemoryError].
func (p *memoryPool) reserve(module *ModuleInfo) (*guestMemory, error) {
	return p.reserveUpTo(module, p.limit)
}

// reserveUpTo is reserve for an instance with a limit of its own, in bytes.
func (p *memoryPool) reserveUpTo(module *ModuleInfo, limit uint64) (*guestMemory, error) {
	limit = min(limit/wasmPage*wasmPage, p.limit)
	least := uint64(module.MemoryMin) * wasmPage
	most := min(uint64(module.MemoryMax)*wasmPage, limit)
	if least > most {
		return nil, &MemoryError{CodeMemoryLimit, fmt.Sprintf(
			"the module starts with %d bytes of memory, an instance may have %d", least, limit)}
	}
	m := &guestMemory{pool: p}
	err := m.mapSpace(most)
	if err != nil && least < most {
		err = m.mapSpace(least)
	}
	if err == nil && m.commit(least) == nil {
		err = unix.ENOMEM
	}
	if err != nil {
		m.Release()
		return nil, &MemoryError{CodeMemoryUnavailable,
			"no address space for a guest's memory: " + err.Error()}
	}
	return m, nil
}

// guestMemory is the memory of one instance. It is a
// [experimental.MemoryAllocator] that has one memory to give, which is itself.
type guestMemory struct {
	pool  *memoryPool
	taken atomic.Bool // by wazero

	mu       sync.Mutex
	space    []byte // address space; usable up to len(usable)
	usable   []byte
	counted  bool
	released bool
}

// With returns a context for instantiating the module that the memory was
// reserved for.
func (m *guestMemory) With(ctx context.Context) context.Context {
	return experimental.WithMemoryAllocator(ctx, m)
}

// mapSpace sets address space aside: no memory, and no access.
func (m *guestMemory) mapSpace(size uint64) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if size > math.MaxInt {
		return unix.ENOMEM
	}
	m.space = []byte{} // a memory of no pages is legal, mapping none is not
	if size > 0 {
		flags := unix.MAP_PRIVATE | unix.MAP_ANON | unix.MAP_NORESERVE
		m.space, err = unix.Mmap(-1, 0, int(size), unix.PROT_NONE, flags)
	}
	if err == nil {
		m.counted = true
		m.pool.guests.Add(1)
	}
	return err
}

// commit makes the first size bytes usable and returns them, or nil if there
// are not so many.
func (m *guestMemory) commit(size uint64) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.released || size > uint64(len(m.space)):
		return nil
	case size > uint64(len(m.usable)):
		grown := m.space[len(m.usable):size]
		if err := unix.Mprotect(grown, unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return nil
		}
		m.pool.live.Add(int64(len(grown)))
		m.usable = m.space[:size:size]
	}
	return m.space[:size:size]
}

// size is how many bytes the guest has made usable.
func (m *guestMemory) size() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(len(m.usable))
}

// Allocate implements experimental.MemoryAllocator. wazero asks once, since
// modules have one memory. A second question is answered with a memory from
// the heap that cannot grow: wazero has no way to be told no.
func (m *guestMemory) Allocate(capacity, _ uint64) experimental.LinearMemory {
	if m.taken.Swap(true) {
		return heapMemory(make([]byte, min(capacity, m.pool.limit)))
	}
	return m
}

// Reallocate implements experimental.LinearMemory: memory.grow. Nil makes it
// answer -1 to the guest.
func (m *guestMemory) Reallocate(size uint64) []byte { return m.commit(size) }

// Free implements experimental.LinearMemory. It keeps the memory: wazero calls
// it when a module is closed, which may happen while the guest still runs in
// another goroutine and would then reach for memory that is not there, which
// no process survives. Release is for that.
func (m *guestMemory) Free() {}

// Release gives the memory back. Call it when the instance is closed and its
// last call has returned, or when it never came to be. It may be called again.
func (m *guestMemory) Release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.released {
		return
	}
	m.released = true
	m.pool.live.Add(-int64(len(m.usable)))
	if m.counted {
		m.pool.guests.Add(-1)
	}
	if len(m.space) > 0 {
		// It fails only for arguments that were never mapped.
		_ = unix.Munmap(m.space)
	}
	m.space, m.usable = nil, nil
}

// heapMemory is a memory that does not grow.
type heapMemory []byte

// Reallocate implements experimental.LinearMemory.
func (h heapMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(h)) {
		return nil
	}
	return h[:size:size]
}

// Free implements experimental.LinearMemory.
func (h heapMemory) Free() {}
