package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// session is one connection of a server. Its goroutine reads, routes and
// answers; what it does not write itself its outbox's goroutine does.
type session struct {
	srv    *Server
	bus    *Bus
	conn   *net.UnixConn
	peer   Peer
	out    *outbox
	ctx    context.Context // ends when the connection is to end
	cancel context.CancelCauseFunc
	once   sync.Once // the farewell

	// Of the goroutine that reads.
	reader   *rmp.Reader
	pub      publisher
	subs     map[uint64]*target
	frame    rmp.Frame     // the one that was read
	letter   letter        // with it
	now      time.Duration // of the batch of frames that is being worked on
	fresh    bool          // now is that of this batch
	armed    time.Duration // when the read deadline was set
	second   time.Duration // that frames are counted in
	frames   int
	buf      []byte // of the last answer
	nextID   uint64
	audited  time.Duration
	refusals int // in the second of audited
	skipped  int // that were not audited
}

// newSession prepares a session; nothing runs yet.
func newSession(s *Server, conn *net.UnixConn, peer Peer) (*session, error) {
	out, err := newOutbox(s.bus, conn, s.cfg.QueueBytes, s.cfg.WriteTime)
	if err != nil {
		return nil, err
	}
	peer.Session = rand.Text()
	ses := &session{srv: s, bus: s.bus, conn: conn, peer: peer, out: out, nextID: randomID()}
	ses.ctx, ses.cancel = context.WithCancelCause(context.Background())
	out.end = ses.kill
	src, err := newSocketReader(conn)
	if err != nil {
		return nil, err
	}
	// Until we know who it is a small frame must do.
	ses.reader = rmp.NewReader(src, rmp.Codec{Registry: s.bus.cfg.Codec.Registry, MaxBody: maxHandshakeBody})
	ses.pub = publisher{bus: s.bus, inline: true}
	ses.subs = make(map[uint64]*target)
	ses.letter.Frame, ses.letter.borrowed = &ses.frame, true
	ses.armed = -s.cfg.IdleTime // the first rest is to arm
	return ses, nil
}

// maxHandshakeBody is the body limit of a hello, in bytes.
const maxHandshakeBody = 4 << 10

// kill hangs up. It may be called by any goroutine.
func (s *session) kill(why error) {
	s.cancel(why)
	s.out.abort(why)
	_ = s.conn.Close()
}

// bye has the session end with a last report, after what waits to be written.
func (s *session) bye(why *WireError) {
	s.cancel(why)
	_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
}

// serve runs the session from hello to the end.
func (s *session) serve() {
	defer s.srv.leave(s)
	err := s.arm(s.srv.cfg.HandshakeTime)
	if err == nil {
		err = s.greet()
	}
	for err == nil {
		err = s.step()
	}
	s.finish(err)
}

// finish takes the session off the bus, says why to a peer that can still
// read, and waits until that is written.
func (s *session) finish(err error) {
	for _, t := range s.subs {
		s.bus.remove(t)
	}
	if cause := context.Cause(s.ctx); cause != nil {
		err = cause
	}
	if last, ok := errors.AsType[*WireError](err); ok {
		s.report(last, rmp.TraceID{}, 0)
	}
	s.pub.flush()
	s.out.flush(false)
	s.out.close()
	<-s.out.done
	s.cancel(err)
	_ = s.conn.Close()
	s.out.abort(ErrClosed)
	s.bus.mu.Lock()
	s.bus.past.add(s.pub.stats)
	s.bus.mu.Unlock()
}

// greet reads the hello and answers it.
func (s *session) greet() error {
	f := &s.frame
	if err := s.reader.Next(f); err != nil {
		return s.lost(err, "no hello within "+s.srv.cfg.HandshakeTime.String())
	}
	var h hello
	if f.SchemaID != rmp.CTControl || f.Decode(&h) != nil || h.Op != opHello {
		return wireErrorf(CodeProtocol, "the first frame must be a hello")
	}
	s.peer.Kind, s.peer.Name = Kind(h.Kind), h.Name
	switch {
	case h.Proto != protocolVersion:
		return wireErrorf(CodeProtocol, "protocol %d is not known here, %d is", h.Proto, protocolVersion)
	case !clientKind(s.peer.Kind):
		return wireErrorf(CodeProtocol, "kind must be cli, agent, ui, tui or tool")
	case h.Name == "" || len(h.Name) > maxName || !printable(h.Name):
		return wireErrorf(CodeProtocol, "name must be 1 to %d bytes of printable text", maxName)
	}
	s.pub.name, s.pub.peer = h.Name, &s.peer // which stays as it is from here on
	s.out.asks = restricted(s.peer.Kind)     // nothing is subscribed yet
	s.reader.SetCodec(s.bus.cfg.Codec)
	s.answer(&welcome{
		Op:      opWelcome,
		Session: s.peer.Session,
		MaxBody: s.bus.cfg.Codec.Limit(),
		Server:  s.srv.cfg.Name,
	}, f.TraceID, 0)
	return s.rest()
}

// maxName is the longest name of a client or group, in bytes.
const maxName = 64

// step reads and handles one frame. Its error ends the session.
func (s *session) step() error {
	if !s.reader.Buffered() {
		if err := s.rest(); err != nil {
			return err
		}
	}
	err := s.reader.Next(&s.frame)
	if !s.fresh {
		s.fresh, s.now = true, s.bus.clock.now()
	}
	s.frames++
	switch {
	case err == nil:
		return s.handle()
	case rmp.InStep(err):
		return s.report(&WireError{Code: rmp.ErrorName(err), Message: err.Error()}, rmp.TraceID{}, 0)
	}
	return s.lost(err, fmt.Sprintf("no frame, not even a ping, for %s", s.srv.cfg.IdleTime))
}

// rest comes before waiting for the peer: what was put into the queues of
// others is written, a peer that is too fast is held back, and the time it may
// be silent starts anew. That time is not stretched by half a frame.
func (s *session) rest() error {
	s.pub.flush()
	s.fresh = false
	now := s.bus.clock.now()
	if second := now.Truncate(time.Second); second != s.second {
		s.second, s.frames = second, 0
	} else if rate := s.srv.cfg.FrameRate; rate > 0 && s.frames >= rate {
		s.pause(second + time.Second - now)
	}
	if now-s.armed > s.srv.cfg.IdleTime/8 {
		s.armed = now
		return s.arm(s.srv.cfg.IdleTime)
	}
	return context.Cause(s.ctx)
}

// arm gives the peer some time for its next frame, unless the session is to
// end: who ends it sets a deadline of the past after that is decided.
func (s *session) arm(d time.Duration) error {
	if err := s.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	return context.Cause(s.ctx)
}

// pause waits, until the session is to end.
func (s *session) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}

// lost turns an error of the stream into the reason the session ends for.
func (s *session) lost(err error, silence string) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		code := CodeIdle
		if s.peer.Kind == "" {
			code = CodeProtocol
		}
		return wireErrorf(code, "%s", silence)
	}
	if name := rmp.ErrorName(err); name != "" {
		return &WireError{Code: name, Message: err.Error()}
	}
	return err
}

// handle handles the frame in the letter.
func (s *session) handle() error {
	f := &s.frame
	topic, ack, err := f.Route()
	if err != nil {
		return s.report(wireError(err), f.TraceID, 0)
	}
	if f.SchemaID == rmp.CTControl && topic == nil {
		return s.control(ack)
	}
	n, err := s.publish(topic)
	if err != nil {
		return s.reject(err, ack)
	}
	if ack == 0 {
		return nil
	}
	return s.answer(&control{Op: opAck, N: ack, Delivered: n}, f.TraceID, 0)
}

// publish routes the frame in the letter.
func (s *session) publish(topic []byte) (delivered int, err error) {
	l := &s.letter
	r, err := s.pub.routeOf(topic)
	if err != nil {
		return 0, err
	}
	if no := s.srv.cfg.Policy.publish(&s.peer, r, &l.Header, s.out.wasAsked); no != nil {
		s.bus.drop(reasonForbidden, r.topic, &l.Header)
		s.audit("publish", r.topic, l.TraceID, no)
		return 0, no
	}
	deadline, err := s.bus.expire(&l.Header, s.now)
	if err != nil {
		if err == rmp.ErrExpired {
			s.bus.drop(reasonTTL, r.topic, &l.Header)
		}
		return 0, err
	}
	l.address(&s.pub, r, s.now, deadline)
	var t tally
	s.pub.pass(l, &t, true)
	if t.lost {
		s.pub.flush()   // those who have room do not wait for those who have none
		s.fresh = false // it may take a while
	}
	return s.bus.finish(s.ctx, l, &t)
}

// reject answers a publish that failed. That a frame was too late, came twice
// or found no room is told only to those who asked.
func (s *session) reject(err error, ack uint64) error {
	if cause := context.Cause(s.ctx); cause != nil {
		return cause
	}
	outcome := errors.Is(err, rmp.ErrExpired) || errors.Is(err, rmp.ErrDuplicate) || errors.Is(err, ErrBackpressure)
	if outcome && ack == 0 {
		return nil
	}
	return s.report(wireError(err), s.frame.TraceID, ack)
}

// wireError is the report of an error.
func wireError(err error) *WireError {
	if e, ok := errors.AsType[*WireError](err); ok {
		return e
	}
	code := rmp.ErrorName(err)
	switch {
	case code != "":
	case errors.Is(err, ErrTopic):
		code = CodeBadTopic
	case errors.Is(err, ErrBackpressure):
		code = CodeBackpressure
	case errors.Is(err, ErrClosed):
		code = CodeShutdown
	default:
		code = CodeProtocol
	}
	return &WireError{Code: code, Message: err.Error()}
}

// control carries out a control frame of the client.
func (s *session) control(ack uint64) error {
	f := &s.frame
	var c control
	if err := f.Decode(&c); err != nil {
		return s.report(wireError(err), f.TraceID, ack)
	}
	switch c.Op {
	case opPing:
		return s.answer(&control{Op: opPong}, f.TraceID, ack)
	case opSubscribe:
		if no := s.subscribe(&c); no != nil {
			return s.report(no, f.TraceID, ack)
		}
		return s.answer(&control{Op: opSubscribed, ID: c.ID}, f.TraceID, ack)
	case opUnsubscribe:
		t, ok := s.subs[c.ID]
		if !ok {
			return s.report(wireErrorf(CodeProtocol, "there is no subscription %d", c.ID), f.TraceID, ack)
		}
		s.bus.remove(t)
		delete(s.subs, c.ID)
		return s.answer(&control{Op: opUnsubscribed, ID: c.ID}, f.TraceID, ack)
	}
	return s.report(wireErrorf(CodeUnknownOp, "%.64q is not an operation", c.Op), f.TraceID, ack)
}

// subscribe adds a subscription, or says why not.
func (s *session) subscribe(c *control) *WireError {
	if _, taken := s.subs[c.ID]; taken {
		return wireErrorf(CodeProtocol, "there is a subscription %d already", c.ID)
	}
	switch {
	case len(s.subs) >= s.srv.cfg.MaxSubs:
		return wireErrorf(CodeTooManySubs, "a connection may have %d subscriptions", s.srv.cfg.MaxSubs)
	case len(c.Topic) > MaxTopic || len(c.Queue) > maxName:
		return wireErrorf(CodeTooLarge, "a topic may have %d bytes, a queue %d", MaxTopic, maxName)
	case !printable(c.Queue):
		return wireErrorf(CodeProtocol, "queue is not printable")
	}
	if err := CheckFilter(c.Topic); err != nil {
		return wireError(err)
	}
	for _, t := range s.subs {
		if (t.queue != "" || c.Queue != "") && Overlap(t.filter, c.Topic) {
			return wireErrorf(CodeProtocol, "%s overlaps %s and one of them is a queue; use a second connection",
				c.Topic, t.filter)
		}
	}
	if no := s.srv.cfg.Policy.subscribe(&s.peer, c.Topic, c.Queue); no != nil {
		s.audit("subscribe", c.Topic, s.frame.TraceID, no)
		return no
	}
	t := &target{
		filter: c.Topic,
		queue:  c.Queue,
		owner:  s.peer.Name,
		gate:   &s.out.gate,
		out:    s.out,
		seen:   s.bus.newSeen(),
		end:    s.slow,
	}
	if err := s.bus.add(t); err != nil {
		return wireError(err)
	}
	s.subs[c.ID] = t
	return nil
}

// slow ends the session of a client that stayed behind. What waits for it is
// dropped; if it reads on in time it learns why.
func (s *session) slow(why error) {
	s.out.purge()
	s.bye(wireErrorf(CodeSlowConsumer, "%s", why))
}

// answer sends a control frame about the frame with a trace id.
func (s *session) answer(c payload, trace rmp.TraceID, ack uint64) error {
	return s.send(&rmp.Message{SchemaID: rmp.CTControl, Payload: c, Meta: rmp.Meta{Ack: ack}, TraceID: trace})
}

// payload is what goes into a frame.
type payload interface {
	MarshalMsg([]byte) ([]byte, error)
}

// report sends an error report.
func (s *session) report(e *WireError, trace rmp.TraceID, ack uint64) error {
	return s.send(reportMessage(s.bus, e, trace, ack))
}

// send queues a frame of the server's own to the client.
func (s *session) send(m *rmp.Message) error {
	s.nextID++
	m.MsgID = s.nextID
	m.CreatedAtMS = s.bus.clock.wallMS(s.now)
	m.TTLMS = uint64(controlTTL / time.Millisecond)
	var err error
	if s.buf, err = s.bus.cfg.Codec.AppendFrame(s.buf[:0], m); err != nil {
		return fmt.Errorf("bus: answer: %w", err)
	}
	if !s.out.control(s.buf) {
		return fmt.Errorf("%w: %s does not read its answers", ErrSlowConsumer, s.peer.Name)
	}
	s.pub.touch(s.out)
	return nil
}

// auditRate is how many refusals of one connection are audited a second.
const auditRate = 10

// audit tells about a refusal, unless there were too many.
func (s *session) audit(op, topic string, trace rmp.TraceID, no *WireError) {
	if second := s.now.Truncate(time.Second); second != s.audited {
		s.audited, s.refusals = second, 0
	}
	if s.refusals++; s.refusals > auditRate {
		s.skipped++
		return
	}
	s.srv.cfg.Audit(Refusal{Peer: s.peer, Op: op, Code: no.Code, Topic: topic, Trace: trace,
		Why: no.Message, Suppressed: s.skipped})
	s.skipped = 0
}
