package wasm

import (
	"errors"
	"fmt"

	"github.com/runloop-os/runloop/rmp"
)

// Codes of an [Error]. Those with a colon name who ended a guest and how; they
// are decided by what the host knows, never by the guest's exit code alone.
const (
	CodeDeadline      = "killed:deadline"     // the attempt's wall time is over
	CodeCancelled     = "killed:cancelled"    // the run or the host stopped it
	CodeOutputLimit   = "killed:output_limit" // more on stdout than allowed
	CodeOutputGone    = "killed:output_gone"  // nobody reads what it writes
	CodeDiverged      = "killed:diverged"     // a replayed guest left its tape
	CodeTrap          = "trap"                // a WebAssembly trap
	CodeStackOverflow = "trap:stack_overflow" // runaway recursion
	CodeExit          = "exit"                // the guest exited with a status
	CodeOutputInvalid = "output_invalid"      // stdout is not one JSON document
	CodeLoadRefused   = "load_refused"        // the module may not be run
	CodeDigest        = "digest_mismatch"     // a file is not the one named
	CodeBundle        = "bundle_invalid"      // manifest, caps or layout
	CodeUnknownAgent  = "unknown_agent"       // no such bundle
	CodeSignature     = "signature_invalid"   // a signature does not fit its bundle
	CodeUntrusted     = "untrusted"           // nobody trusts who signed, or nobody did
	CodeNotGranted    = "not_granted"         // nobody granted the bundle's caps
	CodeDenied        = "denied"              // a capability is missing
	CodeHost          = "host_error"          // a fault of ours
	CodeWorkerDied    = "killed:worker_died"  // its process is gone, and nobody of us ended it
	CodeCPULimit      = "killed:cpu_limit"    // more processor time than its process may have
	CodeMemoryKill    = "killed:memory_limit" // more memory than its process may have
	CodeCompiler      = "compiler"            // after CodeLoadRefused: compiling failed or took too long
	CodeRequest       = "invalid_request"     // the request makes no sense
	CodeResponseSize  = "response_too_large"  // does not fit one frame
	CodeUnavailable   = "unavailable"         // this host has no such backend
	CodeInvalid       = "invalid"             // arguments of a hostcall
	CodeUnknownOp     = "unknown_op"          // no such hostcall
	CodeNotFound      = "not_found"           // nothing under that name
	CodeTimeout       = "timeout"             // of one hostcall, not of the attempt
	CodeDNS           = "dns_failed"          // http.request: the name has no address
	CodeConnect       = "connect_failed"      // http.request: nobody takes the connection
	CodeTLS           = "tls_failed"          // http.request: no certificate that counts
	CodeProtocol      = "protocol_error"      // http.request: the answer is not HTTP
	CodeRedirect      = "redirect_refused"    // http.request: too many, or with the body
	CodeSpawn         = "spawn_failed"        // exec.run: the program did not start
	CodeDeclined      = "declined"            // tool.call: a person said no
	CodeToolFailed    = "tool_failed"         // tool.call: the program or server said so
	CodeResultInvalid = "result_invalid"      // tool.call: the result is not as its schema
	CodeInDoubt       = "in_doubt"            // an action was begun, and no more is known
)

// Error is a failure with a stable code and one line for people, free of
// control characters. errors.Is matches on the code alone.
type Error struct {
	Code      string
	Message   string
	Retryable bool
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Is reports whether target is an *Error with the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

func errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: printable(fmt.Sprintf(format, args...))}
}

func (e *Error) wire() *rmp.AgentError {
	return &rmp.AgentError{Code: e.Code, Message: e.Message, Retryable: e.Retryable}
}

// asError gives err a code: its own, or that of a fault of the host.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return errorf(CodeHost, "%v", err)
}
