package opening

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"time"

	"lukechampine.com/blake3"
)

// Seed is the source of everything random in a run. Recorded, it makes the run
// repeatable.
type Seed [32]byte

// wait is how long to wait after failed attempt n of a node. The jitter comes
// from the seed, the node and the attempt alone, so it is the same whatever
// else runs.
func (r *Retry) wait(seed Seed, node string, attempt int) time.Duration {
	ms := float64(r.InitialMS) * math.Pow(r.Multiplier, float64(attempt-1))
	ms = math.Min(ms, float64(r.MaxMS))
	ms *= 1 + r.Jitter*(2*seed.fraction("retry", node, attempt)-1)
	return time.Duration(math.Round(ms)) * time.Millisecond
}

// fraction gives a number in [0, 1) that depends on the seed and the arguments.
func (s Seed) fraction(use, node string, attempt int) float64 {
	h := blake3.New(32, s[:])
	h.Write([]byte(use + "\x00" + node + "\x00"))
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(attempt)))
	return float64(binary.BigEndian.Uint64(h.Sum(nil))>>11) / (1 << 53)
}

// MarshalText gives the seed as 64 hex digits.
func (s Seed) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(s[:])), nil }

// UnmarshalText reads 64 hex digits.
func (s *Seed) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(s)) {
		return errSeed
	}
	if _, err := hex.Decode(s[:], text); err != nil {
		return errSeed
	}
	return nil
}

var errSeed = errors.New("a seed is 64 hex digits")
