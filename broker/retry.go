package broker

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Retry says how often and how patiently one provider is asked again. Zero
// fields take the defaults given with them.
type Retry struct {
	Attempts int           // in all, 3
	Initial  time.Duration // before the second attempt, 250 ms; doubles each time
	Max      time.Duration // longest pause of our own choosing, 8 s
	// MaxRetryAfter is the longest wait a provider may ask for, 30 s. One
	// that asks for more is given up on for this call.
	MaxRetryAfter time.Duration
}

// maxAttempts bounds Retry.Attempts: each may be charged.
const maxAttempts = 10

// withDefaults fills in what was left out and bounds what was asked for.
func (r Retry) withDefaults() Retry {
	if r.Attempts <= 0 {
		r.Attempts = 3
	}
	r.Attempts = min(r.Attempts, maxAttempts)
	if r.Initial <= 0 {
		r.Initial = 250 * time.Millisecond
	}
	if r.Max <= 0 {
		r.Max = 8 * time.Second
	}
	if r.MaxRetryAfter <= 0 {
		r.MaxRetryAfter = 30 * time.Second
	}
	return r
}

// next says whether to try again after attempt number n (from 1) ended with
// err, and after which pause. A pause that would outlast the deadline is no
// use: the caller hears of the failure while he can still act on it.
func (r Retry) next(ctx context.Context, n int, err *Error) (pause time.Duration, again bool) {
	if !err.Retryable || n >= r.Attempts || ctx.Err() != nil {
		return 0, false
	}
	if err.Code != CodeProvider && err.Code != CodeRateLimited {
		return 0, false
	}
	pause = min(r.Initial<<min(n-1, 20), r.Max)
	// Jitter of ±20 % keeps callers that failed together from returning
	// together.
	pause += time.Duration((rand.Float64() - 0.5) * 0.4 * float64(pause))
	if err.RetryAfter > r.MaxRetryAfter {
		return 0, false
	}
	pause = max(pause, err.RetryAfter)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= pause {
		return 0, false
	}
	return pause, true
}

// sleep waits for d or for the end of the context.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// maxStatedWait is the longest Retry-After that is believed. More would be of
// no use to anybody and could overflow a duration.
const maxStatedWait = 24 * time.Hour

// retryAfter reads the header in both of its forms (RFC 9110 section
// 10.2.3). Nonsense, and dates in the past, count as not given.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if sec, err := strconv.ParseFloat(v, 64); err == nil {
		if !(sec > 0) {
			return 0
		}
		if sec > maxStatedWait.Seconds() {
			return maxStatedWait
		}
		return time.Duration(sec * float64(time.Second))
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(0, t.Sub(now)), maxStatedWait)
	}
	return 0
}
