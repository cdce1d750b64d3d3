package rmp

import (
	"errors"
	"fmt"
)

// Error is one of the named failures of the format. The values below are the
// only ones; compare with [errors.Is]. The name is part of the wire contract:
// it is the code of an error.report.v1 (spec/01 "Validation").
type Error struct {
	name string
	text string
}

// Error says what is wrong with the frame.
func (e *Error) Error() string { return "rmp: " + e.text }

// Name is the error's stable name, for example "InvalidMagic".
func (e *Error) Name() string { return e.name }

// The failures in the order of spec/01's table. When a frame is wrong in
// several ways the first of them is reported. ErrExpired and ErrDuplicate are
// found by receivers, never by the codec.
var (
	ErrTruncatedHeader    = &Error{"TruncatedHeader", "frame has fewer than 64 header bytes"}
	ErrInvalidMagic       = &Error{"InvalidMagic", "header does not start with RMP0"}
	ErrUnsupportedVersion = &Error{"UnsupportedVersion", "header version is not 0 or header length not 64"}
	ErrInvalidHeaderFlags = &Error{"InvalidHeaderFlags", "flags or reserved header fields are not zero"}
	ErrBodyTooLarge       = &Error{"BodyTooLarge", "body is larger than the limit"}
	ErrLengthMismatch     = &Error{"LengthMismatch", "frame length is not header plus body"}
	ErrUnknownSchema      = &Error{"UnknownSchema", "schema id is not registered"}
	ErrInvalidTTL         = &Error{"InvalidTtl", "time to live is zero or out of range"}
	ErrInvalidExpiry      = &Error{"InvalidExpiry", "creation time plus time to live overflows"}
	ErrBodyDecode         = &Error{"BodyDecodeError", "body is not one envelope"}
	ErrBodyTypeMismatch   = &Error{"BodyTypeMismatch", "type is not the one of the schema id"}
	ErrExpired            = &Error{"Expired", "frame is past its time to live"}
	ErrDuplicate          = &Error{"Duplicate", "frame was seen before"}
)

// ErrorName returns the wire name of the format error in err's chain, or ""
// when there is none.
func ErrorName(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.name
	}
	return ""
}

// InStep reports whether a stream can go on with its next frame after err:
// the bad frame's end is known, only its content is unusable.
func InStep(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return false
	}
	switch e {
	case ErrInvalidHeaderFlags, ErrUnknownSchema, ErrInvalidTTL, ErrInvalidExpiry,
		ErrBodyDecode, ErrBodyTypeMismatch:
		return true
	}
	return false
}

// ErrSyntax is what every [SyntaxError] is, for [errors.Is].
var ErrSyntax = errors.New("rmp: malformed value")

// SyntaxError says why bytes are not the MsgPack or JSON this package takes.
type SyntaxError struct {
	Offset int    // in bytes, where the offending item starts
	Why    string // for a person
}

// Error names the reason and the place.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("rmp: %s at byte %d", e.Why, e.Offset)
}

// Is makes every SyntaxError an [ErrSyntax].
func (e *SyntaxError) Is(target error) bool { return target == ErrSyntax }

// malformed builds a SyntaxError; all of them are made here.
func malformed(offset int, why string) error {
	return &SyntaxError{Offset: offset, Why: why}
}

// bodyError turns the reason a body was refused into an [ErrBodyDecode].
func bodyError(why error) error {
	return fmt.Errorf("%w: %w", ErrBodyDecode, why)
}
