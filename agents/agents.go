// Package agents holds the bundles that come with the binary: one folder each
// with manifest and capabilities, and in crew/ the source of the module that
// all of them share. `make` compiles the module and fills dist/, which is what
// gets embedded.
package agents

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// BuiltIn is a folder of bundles. ok is false when the binary was built
// without them, by a plain `go build` before `make agents`.
func BuiltIn() (bundles fs.FS, ok bool) {
	bundles, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, false
	}
	_, err = fs.Stat(bundles, "crew.wasm")
	return bundles, err == nil
}
