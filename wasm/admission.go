package wasm

import (
	"context"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

// memoryBudget lets guests in as long as all of them could need all that they
// may have. An instance counts twice its memory, for the host's copies of what
// it says and is told, and the stack that runaway recursion takes.
type memoryBudget struct {
	total int64
	free  *semaphore.Weighted
}

// newMemoryBudget makes a budget of so many bytes, or of three quarters of the
// machine's memory for 0.
func newMemoryBudget(total int64) *memoryBudget {
	if total <= 0 {
		total = machineMemory() / 4 * 3
	}
	return &memoryBudget{total, semaphore.NewWeighted(total)}
}

// machineMemory is how much memory there is, or 4 GiB when the system does not
// tell.
func machineMemory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 4 << 30
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// admit waits until there is room for an instance. One that is larger than the
// whole budget runs alone.
func (b *memoryBudget) admit(ctx context.Context, limits Limits) (release func(), err error) {
	need := min(2*int64(limits.MemoryMB)<<20+guestStack, b.total)
	if err := b.free.Acquire(ctx, need); err != nil {
		return nil, killedBy(ctx)
	}
	return func() { b.free.Release(need) }, nil
}
