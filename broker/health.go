package broker

import (
	"fmt"
	"sync"
	"time"
)

// health remembers that a provider could not be reached, so that being
// offline costs one probe and not a timeout a call.
type health struct {
	downFor time.Duration
	now     func() time.Time

	mu      sync.Mutex
	down    bool
	until   time.Time // while down: when the next probe may go
	probing bool
}

// allow lets a call through, or says that the provider is known to be away.
// Once the memory has run out, one call goes ahead as the probe.
func (h *health) allow() (probe bool, err *Error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.down {
		return false, nil
	}
	if left := h.until.Sub(h.now()); left > 0 {
		return false, unavailable(left, "not reachable a moment ago, next try in %s",
			left.Round(time.Second))
	}
	if h.probing {
		return false, unavailable(h.downFor, "being tried again by another call")
	}
	h.probing = true
	return true, nil
}

// unavailable says that nobody can be reached; after, when known, is how long
// it makes no sense to ask again.
func unavailable(after time.Duration, format string, args ...any) *Error {
	return &Error{Code: CodeUnavailable, Retryable: true, RetryAfter: after,
		Msg: fmt.Sprintf(format, args...)}
}

// note takes in how an attempt ended. A deadline or a cancel says nothing
// about the provider; any answer of its own, an error included, says that it
// is there.
func (h *health) note(probe bool, err *Error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if probe {
		h.probing = false
	}
	switch {
	case err == nil:
		h.down = false
	case err.Code == CodeUnavailable:
		h.down, h.until = true, h.now().Add(h.downFor)
	case err.Code == CodeProvider, err.Code == CodeRateLimited:
		h.down = false
	}
}
