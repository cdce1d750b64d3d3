package wasm

import "strings"

// confine puts a child's limits on it, from inside.
func confine(limits childLimits) error { return limits.apply() }

// outOfMemory tells from the first words on a child's stderr whether Go's
// runtime had no memory left.
func outOfMemory(words string) bool {
	return strings.Contains(words, "out of memory") || strings.Contains(words, "cannot allocate memory") ||
		strings.Contains(words, "errno=12")
}
