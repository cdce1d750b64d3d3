// Package opening reads openings, the typed graphs of agents that Runloop
// runs (spec/04), and runs, traces and replays them.
//
// It has four layers, and each knows only those above it:
//
//   - the language: bytes become a tree with positions (yaml.go), the tree an
//     [Opening] (decode.go, ir.go), and an Opening with its parameters and the
//     manifests of its agents a [Plan] (plan.go). Whatever is wrong comes back
//     as [Problems], all of it at once;
//   - the scheduler: machine.go, a state machine without clocks, goroutines or
//     IO, that is told what happened and says what may start;
//   - the engine: engine.go and its neighbours carry out what the machine
//     decides, through an [Executor], and write it down through a [Store]
//     before they report it;
//   - the trace: what a run leaves behind (trace.go), how it is shown
//     (render.go) and how it is carried out again and compared (replay.go).
//
// Values that travel between nodes are JSON in the canonical form of RFC 8785,
// so equal values have equal bytes and equal hashes.
package opening
