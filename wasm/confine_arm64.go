package wasm

import "golang.org/x/sys/unix"

const ourArch = unix.AUDIT_ARCH_AARCH64

// ownDeniedCalls are those that other architectures do not have.
var ownDeniedCalls []uint32
