package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// DialOptions say who dials, and bound what a connection holds. Name and Kind
// are required.
type DialOptions struct {
	Name string
	Kind Kind
	// Bus bounds the queues of subscriptions, as it does in process; its
	// MaxTTL is not looked at.
	Bus Config
	// SendBytes bounds what waits to be written. Default 1 MiB.
	SendBytes int
	// KeepAlive is how often a ping says that the client is still there.
	// Default 30 s, negative for never.
	KeepAlive time.Duration
	// OnError, when set, is told what the server reports about frames that
	// were sent without waiting for an answer. It must not block.
	OnError func(*WireError)
}

// Conn is a connection to the bus of a server, with the methods of a [Client].
// They are safe for concurrent use. It does not reconnect: when [Conn.Done] is
// closed its subscriptions have ended, and the caller dials again.
type Conn struct {
	conn    *net.UnixConn
	opts    DialOptions
	welcome welcome
	codec   rmp.Codec
	out     *outbox
	local   *Bus // routes what comes in to the subscriptions here
	done    chan struct{}
	running sync.WaitGroup         // the goroutine that reads when nobody waits
	topic   atomic.Pointer[string] // the last that was found to be one

	// Whoever holds token reads (see connread.go).
	token    sync.Mutex
	in       *intake
	wants    atomic.Pointer[Subscription] // who reads, if it is a receiver
	batches  atomic.Uint64                // how often was something read
	sleepers atomic.Int32                 // who wait for others to read
	parked   atomic.Bool                  // the goroutine looks at nothing but nudge
	nudge    chan struct{}

	// Of who sends, under the lock of out.
	nextID   uint64
	lastSent time.Duration

	mu      sync.Mutex              // of all below
	nextNum uint64                  // of acknowledgements and subscriptions
	waiting map[uint64]chan<- reply // by acknowledgement number
	ping    *time.Timer
	err     error // why it ended
}

// reply is what the server says to a frame that asked for it.
type reply struct {
	control
	err error
}

// Dial connects to the socket path and says hello. Errors of the server are
// [WireError]s.
func Dial(ctx context.Context, path string, opts DialOptions) (*Conn, error) {
	opts.SendBytes = orDefault(opts.SendBytes, 1<<20)
	if opts.KeepAlive == 0 {
		opts.KeepAlive = 30 * time.Second
	}
	opts.Bus.DedupeIDs, opts.Bus.DropNotices = -1, -1 // the server sees to both
	opts.Bus.MaxTTL = anyTTL
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("bus: dial: %w", err)
	}
	c := &Conn{
		conn:    nc.(*net.UnixConn),
		opts:    opts,
		codec:   opts.Bus.Codec,
		done:    make(chan struct{}),
		nextID:  randomID(),
		waiting: make(map[uint64]chan<- reply),
		nudge:   make(chan struct{}, 1),
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return c, nil
}

// anyTTL is a limit that the server's own is always below.
const anyTTL = 100 * 365 * 24 * time.Hour

// start says hello and, when it is answered, starts the two goroutines.
func (c *Conn) start(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	src, err := newSocketReader(c.conn)
	if err != nil {
		return fmt.Errorf("bus: dial: %w", err)
	}
	reader := rmp.NewReader(src, c.codec)
	err = c.greet(reader)
	if !stop() {
		return fmt.Errorf("bus: dial: %w", ctx.Err())
	}
	if err != nil {
		return err
	}
	c.codec.MaxBody = c.welcome.MaxBody
	reader.SetCodec(c.codec)
	c.local = New(c.opts.Bus)
	if c.out, err = newOutbox(c.local, c.conn, c.opts.SendBytes, writeForever); err != nil {
		return fmt.Errorf("bus: dial: %w", err)
	}
	c.out.end = c.end
	c.out.patience = -1 // nobody but the server can be slow here
	c.in = &intake{conn: c, reader: reader, pub: publisher{bus: c.local, name: c.welcome.Server}}
	c.running.Add(1)
	go c.out.run()
	go c.background()
	if c.opts.KeepAlive > 0 {
		c.mu.Lock()
		c.ping = time.AfterFunc(c.opts.KeepAlive, c.keepAlive)
		c.mu.Unlock()
	}
	return nil
}

// writeForever is the write timeout of a client: how long it waits for a
// server that is busy is up to the context of each call.
const writeForever = 24 * time.Hour

// greet says hello and reads the answer.
func (c *Conn) greet(reader *rmp.Reader) error {
	now := time.Now().UnixMilli()
	frame, err := c.codec.AppendFrame(nil, &rmp.Message{
		SchemaID:    rmp.CTControl,
		CreatedAtMS: uint64(now),
		TTLMS:       uint64(controlTTL / time.Millisecond),
		Payload:     &hello{Op: opHello, Kind: string(c.opts.Kind), Name: c.opts.Name, Proto: protocolVersion},
	})
	if err != nil {
		return fmt.Errorf("bus: hello: %w", err)
	}
	var f rmp.Frame
	_, writeErr := c.conn.Write(frame)
	// A server that refuses may have hung up before it read the hello: what
	// it said is there nevertheless.
	if err := reader.Next(&f); err != nil {
		return fmt.Errorf("bus: hello: %w", errors.Join(writeErr, err))
	}
	if f.SchemaID == rmp.CTErrorReport {
		return reportOf(&f)
	}
	if err := f.Decode(&c.welcome); err != nil || c.welcome.Op != opWelcome {
		return fmt.Errorf("bus: hello: the answer is %s %q, %v", f.Type, c.welcome.Op, err)
	}
	return nil
}

// reportOf decodes an error report.
func reportOf(f *rmp.Frame) error {
	var r rmp.ErrorReport
	if err := f.Decode(&r); err != nil {
		return fmt.Errorf("bus: error report: %w", err)
	}
	return &WireError{Code: r.Code, Message: r.Message}
}

// Session is the server's name for this connection.
func (c *Conn) Session() string { return c.welcome.Session }

// Server is what the server calls itself.
func (c *Conn) Server() string { return c.welcome.Server }

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection ended, nil while it is there.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close hangs up, after what was sent is written. Subscriptions and calls that
// wait end with [ErrClosed]. It always returns nil, and may be called again.
func (c *Conn) Close() error {
	c.out.flush(false)
	c.out.close()
	select {
	case <-c.out.done:
	case <-time.After(closeTime): // the server does not read
	}
	c.end(ErrClosed)
	c.running.Wait()
	<-c.out.done
	return nil
}

// closeTime bounds how long Close waits for a server that does not read.
const closeTime = time.Second

// end ends the connection for a reason, once.
func (c *Conn) end(why error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = why
	waiting := c.waiting
	c.waiting = nil
	if c.ping != nil {
		c.ping.Stop()
	}
	c.mu.Unlock()
	for _, ch := range waiting {
		ch <- reply{err: why}
	}
	c.out.abort(why)
	c.out.close()
	_ = c.conn.Close()
	c.local.closeFor(why)
	close(c.done)
}

// unasked tells the owner about a report that nobody waits for.
func (c *Conn) unasked(e *WireError) {
	if c.opts.OnError != nil {
		c.opts.OnError(e)
	}
}

// resolve gives a reply to who waits for it.
func (c *Conn) resolve(ack uint64, r reply) bool {
	if ack == 0 {
		return false
	}
	c.mu.Lock()
	ch, ok := c.waiting[ack]
	delete(c.waiting, ack)
	c.mu.Unlock()
	if ok {
		ch <- r // has room for it
	}
	return ok
}

// hungUp is why a connection ended: what the server said last, if anything.
func hungUp(err, last error) error {
	if last != nil {
		return fmt.Errorf("%w: %w", ErrClosed, last)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("%w by the server", ErrClosed)
	}
	return fmt.Errorf("%w: %w", ErrClosed, err)
}
