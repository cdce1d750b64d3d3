//go:build !linux

package bus

import (
	"io"
	"net"
	"syscall"
)

// writeNow writes what there is room for to a socket that does not block.
func writeNow(fd uintptr, b []byte) (int, error) { return syscall.Write(int(fd), b) }

// newSocketReader returns a reader of conn.
func newSocketReader(conn *net.UnixConn) (io.Reader, error) { return conn, nil }
