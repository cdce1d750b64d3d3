package wasm

import "golang.org/x/sys/unix"

const ourArch = unix.AUDIT_ARCH_X86_64

// ownDeniedCalls are those that other architectures do not have.
var ownDeniedCalls = []uint32{unix.SYS_FORK, unix.SYS_VFORK}
