package rmp

import (
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends the event as one JSON object, in the key order of the
// NDJSON lines of `rlp run` (spec/02 "Run events") and without a line end.
// An empty Meta is {}. Text that is not valid UTF-8 is refused, as is a Meta
// that [AppendJSON] does not take; dst is then returned as it was.
func (e *RunEvent) AppendJSON(dst []byte) ([]byte, error) {
	out := append(dst, `{"ts_ms":`...)
	out = strconv.AppendInt(out, e.TSMillis, 10)
	for _, field := range [...]struct{ key, value string }{
		{`,"trace_id":`, e.TraceID},
		{`,"run_id":`, e.RunID},
		{`,"opening_id":`, e.OpeningID},
		{`,"kind":`, e.Kind},
		{`,"level":`, e.Level},
		{`,"message":`, e.Message},
	} {
		if !utf8.ValidString(field.value) {
			return dst, malformed(0, whyUTF8)
		}
		out = append(out, field.key...)
		out = appendString(out, field.value)
	}
	out = append(out, `,"meta":`...)
	if len(e.Meta) == 0 {
		return append(out, "{}}"...), nil
	}
	out, err := AppendJSON(out, e.Meta)
	if err != nil {
		return dst, err
	}
	return append(out, '}'), nil
}

// MarshalJSON implements encoding/json's Marshaler with [RunEvent.AppendJSON].
func (e *RunEvent) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil) }
