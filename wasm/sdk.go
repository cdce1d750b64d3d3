package wasm

import (
	"embed"
	"io/fs"
)

// The guest SDK's source, so that a new agent can be given a copy and builds
// without this project.
//
//go:embed guest/*.go guest/guesttest/*.go
var sdkFiles embed.FS

// SDKPath is the import path of the guest SDK.
const SDKPath = "github.com/runloop-os/runloop/wasm/guest"

// SDK is the source of the guest SDK; its top is the package guest.
func SDK() fs.FS {
	sub, err := fs.Sub(sdkFiles, "guest")
	if err != nil {
		panic("wasm: the SDK's folder has no name that can be: " + err.Error()) // it is a constant
	}
	return sub
}
