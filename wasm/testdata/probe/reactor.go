package main

import "github.com/runloop-os/runloop/wasm/guest"

//go:wasmexport runloop_handle
func handle(int32) int32 { return int32(guest.Handle(handlers)) }
