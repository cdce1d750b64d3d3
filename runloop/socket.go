package runloop

import (
	"os"
	"path/filepath"
)

// systemSocket is the socket of a daemon that serves the whole machine.
const systemSocket = "/run/runloop/rmp.sock"

// socketPath is where a daemon listens (spec/02 "Socket discovery"): where the
// configuration says, else in the user's own folder.
func socketPath(cfg *Loaded) string {
	switch {
	case cfg.Runtime.SocketPath != "":
		return cfg.Runtime.SocketPath
	case cfg.Runtime.SocketsDir != "":
		return filepath.Join(cfg.Runtime.SocketsDir, "rmp.sock")
	}
	return ownSocket(cfg)
}

// ownSocket is where the user's own daemon listens unless another place is
// configured.
func ownSocket(cfg *Loaded) string { return filepath.Join(cfg.Runtime.Workdir, "sock", "rmp.sock") }

// daemonSocket is where a client looks for the daemon: as above and, when
// nothing is configured and there is none of the user's own, the system's.
func daemonSocket(cfg *Loaded) string {
	own := socketPath(cfg)
	if cfg.Runtime.SocketPath != "" || cfg.Runtime.SocketsDir != "" {
		return own
	}
	if _, err := os.Stat(own); err == nil {
		return own
	}
	if _, err := os.Stat(systemSocket); err == nil {
		return systemSocket
	}
	return own
}
