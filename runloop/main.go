// Package runloop is the application: it picks the applet, reads the
// configuration and wires the rooms together. It has no business logic.
package runloop

// Main runs the applet that args name and returns its exit code (spec/06).
func Main(args []string) int { return 0 }
