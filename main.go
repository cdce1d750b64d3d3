// Command runloop is the daemon, the command line and the monitor of Runloop
// in one file; which one it is depends on the name it is called by.
package main

import (
	"os"

	"github.com/runloop-os/runloop/runloop"
)

func main() {
	os.Exit(runloop.Main(os.Args))
}
