package rmp

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// TraceID names a run, or one request outside of a run: 16 bytes, big-endian
// on the wire. Its text form is 32 lower-case hex digits.
type TraceID [16]byte

// String returns the 32 hex digits of the id.
func (t TraceID) String() string { return hex.EncodeToString(t[:]) }

// UUID returns the id as "trace:" and a UUID, as run events show it.
func (t TraceID) UUID() string {
	h := t.String()
	return "trace:" + h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// ParseTraceID reads both text forms of a trace id: 32 hex digits or a UUID,
// with or without "trace:" before it.
func ParseTraceID(s string) (TraceID, error) {
	var t TraceID
	h := strings.TrimPrefix(s, "trace:")
	if len(h) == 36 && h[8] == '-' && h[13] == '-' && h[18] == '-' && h[23] == '-' {
		h = h[:8] + h[9:13] + h[14:18] + h[19:23] + h[24:]
	}
	if len(h) != 2*len(t) {
		return t, fmt.Errorf("rmp: trace id %.64q is not a UUID or 32 hex digits", s)
	}
	if _, err := hex.Decode(t[:], []byte(h)); err != nil {
		return TraceID{}, fmt.Errorf("rmp: trace id %.64q is not a UUID or 32 hex digits", s)
	}
	return t, nil
}
