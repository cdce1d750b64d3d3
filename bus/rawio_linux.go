package bus

import (
	"io"
	"net"
	"syscall"
	"unsafe"
)

// A socket of the net package does not block, so that a read or write of it is
// over at once, and the runtime need not be told that a system call begins and
// ends. What that costs is little, but the runtime may also wake a thread to
// watch the call, and on a machine that is otherwise idle that is a third of
// the time of an answer.

// readNow reads what is there from a socket that does not block.
func readNow(fd uintptr, b []byte) (int, error) { return rawIO(syscall.SYS_READ, fd, b) }

// writeNow writes what there is room for to a socket that does not block.
func writeNow(fd uintptr, b []byte) (int, error) { return rawIO(syscall.SYS_WRITE, fd, b) }

// rawIO is read or write without the runtime's knowledge.
func rawIO(call, fd uintptr, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// socketReader reads a socket with readNow, and waits like the net package
// when nothing is there.
type socketReader struct {
	raw syscall.RawConn
	try func(fd uintptr) bool
	buf []byte
	n   int
	err error
}

// newSocketReader returns a reader of conn, whose deadlines it obeys.
func newSocketReader(conn *net.UnixConn) (io.Reader, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &socketReader{raw: raw}
	r.try = func(fd uintptr) bool {
		r.n, r.err = readNow(fd, r.buf)
		return r.err != syscall.EAGAIN
	}
	return r, nil
}

// Read reads what is there, at least one byte.
func (r *socketReader) Read(b []byte) (int, error) {
	r.buf = b
	err := r.raw.Read(r.try)
	r.buf = nil
	switch {
	case err != nil:
		return 0, err
	case r.err != nil:
		return 0, r.err
	case r.n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return r.n, nil
}
