package pog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Who appends events with blobs shares a lock on them, from before the first is
// written until the events are in the ledger or are known not to be. Who removes
// blobs has the lock alone. The kernel takes it back from a process that ends
// (flock(2)), and a process that was stopped keeps it, however long.

const (
	blobLockFile  = ".lock"
	blobGateFile  = ".gate"
	blobLockPause = 2 * time.Millisecond
)

// share takes the lock together with others.
func (b blobStore) share(ctx context.Context) (release func(), err error) {
	return b.enter(ctx, unix.LOCK_SH)
}

// seize takes the lock alone.
func (b blobStore) seize(ctx context.Context) (release func(), err error) {
	return b.enter(ctx, unix.LOCK_EX)
}

// enter takes the lock. All go through a gate, one way or the other: who wants the
// lock alone stays in it and lets nobody past, or it would wait for ever where
// those who share take turns.
func (b blobStore) enter(ctx context.Context, how int) (release func(), err error) {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return nil, storageError("write", b.dir, err)
	}
	open, err := b.lock(ctx, blobGateFile, how)
	if err != nil {
		return nil, err
	}
	defer open()
	return b.lock(ctx, blobLockFile, how)
}

// lock locks one of the files. It waits as long as SQLite does for another process,
// and then says busy.
func (b blobStore) lock(ctx context.Context, name string, how int) (release func(), err error) {
	path := filepath.Join(b.dir, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, storageError("lock", path, err)
	}
	for deadline := time.Now().Add(busyTimeout); ; {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { f.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			f.Close()
			return nil, storageError("lock", path, err)
		case time.Now().After(deadline):
			f.Close()
			return nil, &StorageError{Code: ErrBusy, Op: "lock", Path: path, Err: err}
		}
		select {
		case <-time.After(blobLockPause):
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		}
	}
}
