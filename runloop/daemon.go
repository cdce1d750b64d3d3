package runloop

import "context"

func runDaemon(ctx context.Context, io *IO, args []string) error {
	return exitErrorf(exitNoDaemon, "not yet")
}
