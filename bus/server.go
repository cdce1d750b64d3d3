package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// ServerConfig holds the limits of a server. Zero values are replaced by
// defaults.
type ServerConfig struct {
	// Name is what clients are told they talk to, with the version.
	Name   string
	Policy Policy
	// MaxConns bounds the connections. Default 256.
	MaxConns int
	// MaxSubs bounds the subscriptions of one connection. Default 256.
	MaxSubs int
	// QueueBytes bounds what waits to be written to one connection.
	// Default 8 MiB.
	QueueBytes int
	// FrameRate is how many frames a second one connection may send; beyond
	// that its frames wait. Default 100000, negative for no limit.
	FrameRate int
	// HandshakeTime is how long a client may take to say hello. Default 5 s.
	HandshakeTime time.Duration
	// IdleTime is how long a client may send nothing, not even a ping, and
	// how long one frame may take to arrive. Default 2 min.
	IdleTime time.Duration
	// WriteTime is how long a client may read nothing while frames wait for
	// it. Default 10 s.
	WriteTime time.Duration
	// Audit, when set, is told what was refused. It is called by the
	// connection's goroutine, which waits for it.
	Audit func(Refusal)
	// Log is told about connections that end badly. Default is nobody.
	Log *slog.Logger
}

// withDefaults fills in what is not set.
func (c ServerConfig) withDefaults() ServerConfig {
	c.Policy = c.Policy.withDefaults()
	c.MaxConns = orDefault(c.MaxConns, 256)
	c.MaxSubs = orDefault(c.MaxSubs, 256)
	c.QueueBytes = orDefault(c.QueueBytes, 8<<20)
	if c.FrameRate == 0 {
		c.FrameRate = 100_000
	}
	c.HandshakeTime = orDefault(c.HandshakeTime, 5*time.Second)
	c.IdleTime = orDefault(c.IdleTime, 2*time.Minute)
	c.WriteTime = orDefault(c.WriteTime, 10*time.Second)
	if c.Audit == nil {
		c.Audit = func(Refusal) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Server lets the clients of Unix sockets take part in a bus (spec/02 "On the
// socket").
type Server struct {
	bus  *Bus
	cfg  ServerConfig
	quit chan struct{} // closed when no more clients are accepted
	room int           // how many connections the descriptors of the process allow

	mu        sync.Mutex
	listeners map[*net.UnixListener]net.Listener // and what to close for each
	sessions  map[*session]struct{}
	closed    bool
	draining  bool
	minute    time.Time      // that refused connections are counted in
	refused   int            // in it
	skipped   int            // that were not audited
	running   sync.WaitGroup // sessions and Serve calls
}

// NewServer adds a server to a bus; it ends with the bus.
func (b *Bus) NewServer(cfg ServerConfig) *Server {
	s := &Server{
		bus:       b,
		cfg:       cfg.withDefaults(),
		quit:      make(chan struct{}),
		room:      descriptorRoom(),
		listeners: make(map[*net.UnixListener]net.Listener),
		sessions:  make(map[*session]struct{}),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		s.stop()
	}
	b.closers = append(b.closers, func() { _ = s.Close() })
	return s
}

// unixListener finds the listener of the net package in what the caller has:
// that of [Listen], or one from socket activation.
func unixListener(ln net.Listener) (*net.UnixListener, error) {
	switch ln := ln.(type) {
	case *net.UnixListener:
		return ln, nil
	case *lockedListener:
		return ln.UnixListener, nil
	}
	return nil, fmt.Errorf("bus: serve: %T is not a Unix socket", ln)
}

// Serve accepts clients until the server or the listener is closed, which is
// then [ErrClosed]. It closes the listener.
func (s *Server) Serve(ln net.Listener) error {
	unix, err := unixListener(ln)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.Join(ErrClosed, ln.Close())
	}
	s.listeners[unix] = ln
	s.running.Add(1)
	s.mu.Unlock()
	defer s.running.Done()
	err = s.accept(unix)
	s.mu.Lock()
	delete(s.listeners, unix)
	s.mu.Unlock()
	if closeErr := ln.Close(); err == nil && !errors.Is(closeErr, net.ErrClosed) {
		err = closeErr
	}
	if errors.Is(err, net.ErrClosed) {
		return ErrClosed
	}
	return err
}

// Waits of the accept loop after an error.
const (
	minAcceptWait = 5 * time.Millisecond
	maxAcceptWait = time.Second
)

// accept accepts until the listener is closed. An error that will pass, such
// as having no descriptors left, makes it wait, longer each time. It keeps a
// descriptor in reserve, to be able to tell a client of that.
func (s *Server) accept(ln *net.UnixListener) error {
	spare, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("bus: spare descriptor: %w", err)
	}
	defer func() { _ = spare.Close() }()
	wait := minAcceptWait
	for {
		conn, err := ln.AcceptUnix()
		if err == nil {
			wait = minAcceptWait
			s.admit(conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		s.cfg.Log.Warn("cannot accept", "err", err)
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			_ = spare.Close()
			s.turnAway(ln)
			if spare, err = os.Open(os.DevNull); err != nil {
				s.cfg.Log.Warn("no spare descriptor", "err", err)
			}
		}
		select {
		case <-time.After(wait):
		case <-s.quit:
		}
		wait = min(2*wait, maxAcceptWait)
	}
}

// turnAway tells those who wait to be accepted that there are no descriptors
// left, since otherwise they would hang for ever. One must be free.
func (s *Server) turnAway(ln *net.UnixListener) {
	_ = ln.SetDeadline(time.Now().Add(minAcceptWait))
	for {
		conn, err := ln.AcceptUnix()
		if err != nil {
			break
		}
		s.refuse(conn, Peer{}, noDescriptors())
	}
	_ = ln.SetDeadline(time.Time{})
}

func noDescriptors() *WireError {
	return wireErrorf(CodeTooManyConns, "the server has no descriptors left; try again later")
}

// ownDescriptors are not given to clients: they are for what else the process does,
// its database above all. If clients took them all, that would take the reserve of
// the accept loop when it is lent out, and whoever waits would hang for ever.
const ownDescriptors = 64

// descriptorRoom is how many connections there may be beside that.
func descriptorRoom() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	all := int(limit.Cur)
	return all - min(ownDescriptors, all/2)
}

// admit starts a session for a client that may have one.
func (s *Server) admit(conn *net.UnixConn) {
	peer, err := peerOf(conn)
	if err != nil {
		s.cfg.Log.Warn("peer unknown", "err", err)
		_ = conn.Close()
		return
	}
	if no := s.cfg.Policy.admit(&peer); no != nil {
		s.refuse(conn, peer, no)
		return
	}
	ses, err := newSession(s, conn, peer)
	if err != nil {
		_ = conn.Close()
		return
	}
	if no := s.enter(ses); no != nil {
		s.refuse(conn, peer, no)
		return
	}
	go ses.out.run()
	go ses.serve()
}

// enter counts a session in, or says why there is no place.
func (s *Server) enter(ses *session) *WireError {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed, s.draining:
		return wireErrorf(CodeShutdown, "the server is shutting down")
	case len(s.sessions) >= s.cfg.MaxConns:
		return wireErrorf(CodeTooManyConns, "all %d connections are taken; try again later", s.cfg.MaxConns)
	case len(s.sessions) >= s.room:
		return noDescriptors()
	}
	s.sessions[ses] = struct{}{}
	s.running.Add(1)
	return nil
}

// Conns returns how many connections there are.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// leave takes a session off the list.
func (s *Server) leave(ses *session) {
	s.mu.Lock()
	delete(s.sessions, ses)
	s.mu.Unlock()
	s.running.Done()
}

// refuse tells a client why it is not let in and hangs up.
func (s *Server) refuse(conn *net.UnixConn, peer Peer, why *WireError) {
	if why.Code != CodeShutdown {
		s.auditConnect(peer, why)
	}
	frame, err := rmp.AppendFrame(nil, reportMessage(s.bus, why, rmp.TraceID{}, 0))
	if err == nil {
		// A fresh socket takes a frame at once; the deadline is for the case
		// that it does not.
		_ = conn.SetWriteDeadline(time.Now().Add(refusalTime))
		_, _ = conn.Write(frame)
	}
	_ = conn.Close()
}

// connectAudits is how many refused connections are audited a minute: whoever
// may not come in must not fill the audit by trying.
const connectAudits = 100

// auditConnect tells about a refused connection, unless there were too many.
func (s *Server) auditConnect(peer Peer, why *WireError) {
	r := Refusal{Peer: peer, Op: "connect", Code: why.Code, Why: why.Message}
	s.mu.Lock()
	if minute := time.Now().Truncate(time.Minute); minute != s.minute {
		s.minute, s.refused = minute, 0
	}
	s.refused++
	tell := s.refused <= connectAudits
	if tell {
		r.Suppressed, s.skipped = s.skipped, 0
	} else {
		s.skipped++
	}
	s.mu.Unlock()
	if tell {
		s.cfg.Audit(r)
	}
}

// refusalTime bounds how long a refused client can hold up others.
const refusalTime = 100 * time.Millisecond

// reportMessage is an error report about the frame with a trace id, or with a
// number to acknowledge.
func reportMessage(b *Bus, e *WireError, trace rmp.TraceID, ack uint64) *rmp.Message {
	return &rmp.Message{
		SchemaID:    rmp.CTErrorReport,
		TraceID:     trace,
		CreatedAtMS: b.clock.wallMS(b.clock.now()),
		TTLMS:       uint64(controlTTL / time.Millisecond),
		Meta:        rmp.Meta{Ack: ack},
		Payload:     &rmp.ErrorReport{Code: e.Code, Message: e.Message},
	}
}

// Drain lets nobody in any more: who comes is told that the server is shutting
// down. Those who are there go on, and the socket stays, until Shutdown or Close.
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
}

// Shutdown stops accepting, tells the clients, writes what waits for them and
// hangs up. When ctx is done first it hangs up at once, and returns why.
func (s *Server) Shutdown(ctx context.Context) error {
	for _, ses := range s.stop() {
		ses.bye(wireErrorf(CodeShutdown, "the server is shutting down"))
	}
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	s.hangUp()
	<-ended
	return ctx.Err()
}

// Close hangs up and stops accepting, without a word. It always returns nil,
// and may be called again.
func (s *Server) Close() error {
	s.stop()
	s.hangUp()
	s.running.Wait()
	return nil
}

// stop closes the listeners and returns the sessions that there are. There
// will be no more.
func (s *Server) stop() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.quit)
	}
	for _, ln := range s.listeners {
		_ = ln.Close()
	}
	sessions := make([]*session, 0, len(s.sessions))
	for ses := range s.sessions {
		sessions = append(sessions, ses)
	}
	return sessions
}

// hangUp closes the connections.
func (s *Server) hangUp() {
	for _, ses := range s.stop() {
		ses.kill(ErrClosed)
	}
}
