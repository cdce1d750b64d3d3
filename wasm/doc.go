// Package wasm is the room where agents live: it loads bundles, compiles
// their WebAssembly modules with wazero, and runs each attempt of a node in a
// sandbox of its own (spec/03).
//
// A guest sees argv, an environment of one variable, one JSON document on
// stdin, and the files it was granted. Whatever else it wants goes through one
// door, the hostcall function, where the request is checked against the
// bundle's capabilities, counted, carried out by a [Services] backend and put
// on the attempt's tape. A replay is the same attempt with the tape in place
// of the backends.
//
// The path of an attempt:
//
//	bus agent/<ref> → Host → Catalog (bundle, digests, caps) → Runtime (compiled
//	module, pool) → attempt (limits, clock, random, stdio, door) → bus reply topic
//
// The package knows no agent by name.
package wasm
