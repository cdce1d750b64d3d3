package runloop

import (
	"os"
	"path/filepath"
	"testing"
)

// shellPlugin is something that people load into a shell beside the integration. It
// is no part of this project: RUNLOOP_TEST_PLUGINS names a folder with the
// repositories, each by its own name, and what Debian has packaged is found
// (docs/shell.md, Tests). P is a terminal with the shell in it.
type shellPlugin[P any] struct {
	name string
	// file is what is loaded, below RUNLOOP_TEST_PLUGINS, or else packaged, where
	// Debian has it.
	file, packaged string
	// setup configures and loads it; $plugin is the file.
	setup string
	// since is the oldest bash that it works with, 0 if any does.
	since int
	// works shows that the plugin itself does, with an empty line at the prompt.
	works func(p P)
}

// path is where the plugin is, or empty.
func (s *shellPlugin[P]) path() string {
	if dir := os.Getenv("RUNLOOP_TEST_PLUGINS"); dir != "" && s.file != "" {
		if file := filepath.Join(dir, s.file); isThere(file) {
			return file
		}
	}
	if s.packaged != "" && isThere(s.packaged) {
		return s.packaged
	}
	return ""
}

func isThere(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// inBothOrders loads each plugin before the integration and after it.
func inBothOrders[P any](t *testing.T, plugins []shellPlugin[P],
	behaves func(t *testing.T, plugin *shellPlugin[P], opt paneOptions),
) {
	for _, plugin := range plugins {
		t.Run(plugin.name, func(t *testing.T) {
			file := plugin.path()
			if file == "" {
				t.Skipf("%s is not there: see docs/shell.md, Tests", plugin.name)
			}
			load := "plugin='" + file + "'\n" + plugin.setup + "\n"
			t.Run("first", func(t *testing.T) { behaves(t, &plugin, paneOptions{before: load}) })
			t.Run("last", func(t *testing.T) { behaves(t, &plugin, paneOptions{after: load}) })
		})
	}
}
