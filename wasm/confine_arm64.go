package wasm

import "golang.org/x/sys/unix"

const ourArch = unix.AUDIT_ARCH_AARCH64
