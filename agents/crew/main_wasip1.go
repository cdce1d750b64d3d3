package main

import "github.com/runloop-os/runloop/wasm/guest"

// handle is the entry of the module as a reactor.
//
//go:wasmexport runloop_handle
func handle(int32) int32 { return int32(guest.Handle(handlers)) }
