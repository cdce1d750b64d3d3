// Package examples holds the openings that come with the binary.
package examples

import (
	"embed"
	"io/fs"
)

//go:embed openings
var files embed.FS

// Openings is a folder of openings, <name>.yaml or <name>.opening each.
func Openings() fs.FS {
	sub, err := fs.Sub(files, "openings")
	if err != nil {
		panic("examples: the folder of openings is not embedded: " + err.Error()) // fixed at build time
	}
	return sub
}
