package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code is the stable name of a kind of failure. Programs branch on it; it is
// also the ErrorKind of a Record.
type Code string

// The codes. Their spelling is part of the wire contract (spec/07).
const (
	// CodeUnavailable: no provider is configured for the model, or none can
	// be reached. Always retryable, so that agents fall back.
	CodeUnavailable Code = "provider_unavailable"
	// CodeProvider: the provider answered with an error, or not in its own
	// protocol.
	CodeProvider Code = "provider_error"
	// CodeRateLimited: the provider asked us to slow down (status 429).
	CodeRateLimited Code = "rate_limited"
	// CodeBudget: the call could pass a limit and was not made.
	CodeBudget Code = "budget_exceeded"
	// CodeDeadline: the caller's deadline or the broker's own timeout passed.
	CodeDeadline Code = "deadline"
	// CodeCancelled: the caller gave up.
	CodeCancelled Code = "cancelled"
	// CodeInvalid: the request itself is wrong; asking again will not help.
	CodeInvalid Code = "invalid"
	// CodeSecret: the provider's credential could not be had.
	CodeSecret Code = "secret_unavailable"
)

// Error is every failure the package returns from a call. Its text is one
// line and holds neither a secret nor a prompt.
type Error struct {
	Code      Code
	Provider  string // id of the provider, "" when none was involved
	Status    int    // HTTP status, 0 when there was none
	Retryable bool   // the same call may succeed later
	// RetryAfter is how long the provider asked to be left alone, 0 if it
	// did not say.
	RetryAfter time.Duration
	// Usage is what the failed call was charged, over all its attempts.
	Usage Usage
	Msg   string
	Err   error // the cause, or nil
}

// Error leaves out the cause: what is fit to be shown of it is in Msg.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(string(e.Code))
	if e.Provider != "" {
		b.WriteString(": " + e.Provider)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, ": status %d", e.Status)
	}
	if e.Msg != "" {
		b.WriteString(": " + e.Msg)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of err, or "" if err did not come from this
// package.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// Retryable reports whether err says that the same call may succeed later.
func Retryable(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Retryable
}

func invalidf(format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Msg: fmt.Sprintf(format, args...)}
}

// fault is a provider's fault: retry says whether it may pass.
func fault(retry bool, format string, args ...any) *Error {
	return &Error{Code: CodeProvider, Retryable: retry, Msg: fmt.Sprintf(format, args...)}
}

// classify turns what a provider returned into an *Error with its provider
// named. The context is asked first: when the caller's time is up, whatever
// the network said is only a consequence.
func classify(ctx context.Context, provider string, err error) *Error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = fault(true, "%s", printable(err.Error(), maxErrText))
		e.Err = err
	}
	if ctx.Err() != nil {
		e = contextError(ctx)
	}
	out := *e
	out.Provider = provider
	return &out
}

// contextError tells a caller who ran out of time from one who left.
func contextError(ctx context.Context) *Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &Error{Code: CodeDeadline, Retryable: true, Msg: "no answer in time", Err: ctx.Err()}
	}
	return &Error{Code: CodeCancelled, Msg: "the caller gave up", Err: ctx.Err()}
}
