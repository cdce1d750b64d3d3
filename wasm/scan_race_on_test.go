//go:build race

package wasm

// underRace tells that the race detector is on, which makes everything ten
// times slower and larger. The scan uses one goroutine, so that tests leave
// its large cases out.
const underRace = true
