package runloop

import "path/filepath"

// socketPath is where the daemon's socket is expected (spec/02 "Socket
// discovery"): what the configuration names, else the user's own.
func socketPath(cfg *Loaded) string {
	switch {
	case cfg.Runtime.SocketPath != "":
		return cfg.Runtime.SocketPath
	case cfg.Runtime.SocketsDir != "":
		return filepath.Join(cfg.Runtime.SocketsDir, "rmp.sock")
	}
	return filepath.Join(cfg.Runtime.Workdir, "sock", "rmp.sock")
}
