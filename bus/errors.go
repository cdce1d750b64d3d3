package bus

import (
	"errors"
	"fmt"

	"github.com/runloop-os/runloop/rmp"
)

// Errors of publishers; those of the format are in package rmp. Subscriptions
// return ErrClosed and ErrSlowConsumer.
var (
	// ErrBackpressure is returned when there were subscribers, but none had
	// room for the frame in time.
	ErrBackpressure = errors.New("bus: no subscriber had room")
	// ErrClosed is returned after Close of the subscription, its client or
	// the bus, and after the connection to a server ended.
	ErrClosed = errors.New("bus: closed")
	// ErrSlowConsumer is returned by a subscription that was ended because
	// it stayed behind.
	ErrSlowConsumer = errors.New("bus: slow consumer")
	// ErrForbidden is returned for what the peer of a socket may not do.
	ErrForbidden = errors.New("bus: forbidden")
)

// errRawMeta is returned for a message whose topic the bus does not know.
var errRawMeta = errors.New("bus: a message with RawMeta cannot be published; set Meta or use PublishFrame")

// Codes of error reports, besides the names of format errors (see
// [rmp.ErrorName]). They are stable.
const (
	CodeProtocol     = "protocol"
	CodeForbidden    = "forbidden"
	CodeTooLarge     = "too_large"
	CodeUnknownOp    = "unknown_op"
	CodeSlowConsumer = "slow_consumer"
	CodeBackpressure = "backpressure"
	CodeBadTopic     = "bad_topic"
	CodeTooManyConns = "too_many_connections"
	CodeTooManySubs  = "too_many_subscriptions"
	CodeIdle         = "idle"
	CodeShutdown     = "shutdown"
)

// WireError is an error report: what a server says of a frame that it refuses,
// and why it closes a connection.
type WireError struct {
	Code    string // stable, see the Code constants
	Message string // for a person
}

// Error gives code and message.
func (e *WireError) Error() string { return "bus: " + e.Code + ": " + e.Message }

// Is makes a report the error it was made of on the other side.
func (e *WireError) Is(target error) bool {
	if named, ok := target.(*rmp.Error); ok {
		return e.Code == named.Name()
	}
	switch target {
	case ErrForbidden:
		return e.Code == CodeForbidden
	case ErrSlowConsumer:
		return e.Code == CodeSlowConsumer
	case ErrBackpressure:
		return e.Code == CodeBackpressure
	case ErrTopic:
		return e.Code == CodeBadTopic
	}
	return false
}

// wireErrorf makes a report.
func wireErrorf(code, format string, args ...any) *WireError {
	return &WireError{Code: code, Message: fmt.Sprintf(format, args...)}
}
