package wasm

import "github.com/tetratelabs/wazero/experimental"

func newMemoryAllocator(limit uint64) experimental.MemoryAllocator { return nil }
