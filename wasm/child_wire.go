package wasm

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"

	"github.com/runloop-os/runloop/rmp"
)

// msgKind says what a message between this process and a child is.
type msgKind byte

// From us to a child.
const (
	msgJob    msgKind = 'J' // a workerLoad, workerJob or compileJob, as JSON
	msgAnswer msgKind = 'A' // to msgCall or msgReplay: a rmp.Hostcall
	msgInput  msgKind = 'I' // to msgRead: bytes, none at the end of the input
)

// From a child to us. All of it is input that we do not trust.
const (
	msgReady  msgKind = 'r' // it waits for the next job; JSON
	msgCall   msgKind = 'c' // a hostcall: a rmp.Hostcall of op and args
	msgNote   msgKind = 'n' // a file operation for the tape: a rmp.Hostcall
	msgClose  msgKind = 'k' // the guest closed a file: a u32, its number
	msgReplay msgKind = 'q' // a file operation to be answered from the tape
	msgRead   msgKind = 'i' // bytes of live input are wanted: a u32, at most
	msgStdout msgKind = 'o'
	msgStderr msgKind = 'e'
	msgEnd    msgKind = 'x' // the last: a workerEnd or compileEnd, as JSON
)

// Sizes of messages, in bytes. A request of a guest and its answer are smaller
// (see requestMax and responseMax), and so is everything else.
const (
	toParentMax = 3 << 20
	toChildMax  = 24 << 20
	outputChunk = 64 << 10
)

var errWire = errors.New("a message that makes no sense")

// conn is one end of the stream between us and a child: messages behind their
// length and kind. One goroutine reads, one writes.
type conn struct {
	file *os.File
	in   *bufio.Reader
	most uint32 // bytes of one message that is read
	out  []byte
}

// newConn is our end.
func newConn(f *os.File) *conn {
	return &conn{file: f, in: bufio.NewReaderSize(f, 64<<10), most: toParentMax}
}

// childConn is the child's end.
func childConn() *conn {
	c := newConn(os.NewFile(3, "parent"))
	c.most = toChildMax
	return c
}

func (c *conn) close() { c.file.Close() }

// send writes one message.
func (c *conn) send(kind msgKind, payload []byte) error {
	c.out = binary.BigEndian.AppendUint32(c.out[:0], uint32(len(payload)))
	c.out = append(append(c.out, byte(kind)), payload...)
	_, err := c.file.Write(c.out)
	return err
}

func (c *conn) sendJSON(kind msgKind, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.send(kind, b)
}

func (c *conn) sendCall(kind msgKind, call *rmp.Hostcall) error {
	b, err := call.MarshalMsg(nil)
	if err != nil {
		return err
	}
	return c.send(kind, b)
}

// recv reads one message. Memory is set aside for what is there, not for what
// the length says.
func (c *conn) recv() (msgKind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > c.most {
		return 0, nil, errWire
	}
	if n <= outputChunk {
		payload := make([]byte, n)
		_, err := io.ReadFull(c.in, payload)
		return msgKind(head[4]), payload, err
	}
	payload, err := io.ReadAll(io.LimitReader(c.in, int64(n)))
	if err == nil && len(payload) < int(n) {
		err = io.ErrUnexpectedEOF
	}
	return msgKind(head[4]), payload, err
}

// expect reads one message of a kind, as JSON.
func (c *conn) expect(want msgKind, v any) error {
	kind, payload, err := c.recv()
	if err != nil {
		return err
	}
	if kind != want {
		return errWire
	}
	return json.Unmarshal(payload, v)
}

// parseHostcall reads what a child or a parent says about a hostcall, all of
// it and nothing behind it.
func parseHostcall(b []byte) (rmp.Hostcall, error) {
	var call rmp.Hostcall
	if err := rmp.Valid(b); err != nil {
		return call, err
	}
	rest, err := call.UnmarshalMsg(b)
	if err == nil && len(rest) > 0 {
		err = errWire
	}
	return call, err
}
