package runloop

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/runloop-os/runloop/bus"
)

// listenDaemon takes the sockets that systemd hands over, or makes one.
func listenDaemon(cfg *Loaded) ([]net.Listener, error) {
	listeners, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("socket activation: %w", err)
	}
	for i, ln := range listeners {
		if _, ok := ln.(*net.UnixListener); !ok {
			return nil, usageErrorf("socket activation: socket %d is no Unix stream socket; see ListenStream= in the unit", i)
		}
	}
	if len(listeners) > 0 {
		return listeners, nil
	}
	gid, err := groupID(cfg)
	if err != nil {
		return nil, err
	}
	ln, err := bus.Listen(socketPath(cfg), gid)
	if err != nil {
		return nil, err
	}
	return []net.Listener{ln}, nil
}

// groupID is the group that may connect besides the daemon's own user, or 0.
func groupID(cfg *Loaded) (uint32, error) {
	name := cfg.Bus.Auth.Group
	if name == "" {
		return 0, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, usageErrorf("config: bus.auth.group: %v", err)
	}
	gid, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		return 0, usageErrorf("config: bus.auth.group %s has the id %s", name, g.Gid)
	}
	return uint32(gid), nil
}

func (d *daemon) serverConfig(gid uint32) bus.ServerConfig {
	l := d.cfg.Bus.Limits
	return bus.ServerConfig{
		Name:     "runloopd " + version,
		Policy:   bus.Policy{GID: gid, DecisionKinds: decisionKinds(d.cfg), DecisionUIDs: decisionUIDs(d.cfg)},
		MaxConns: l.Connections, MaxSubs: l.Subscriptions, QueueBytes: l.QueueBytes, FrameRate: l.FrameRate,
		HandshakeTime: time.Duration(l.HandshakeMS) * time.Millisecond,
		IdleTime:      time.Duration(l.IdleMS) * time.Millisecond,
		Audit:         d.auditRefusal, Log: d.log.Logger,
	}
}

func decisionKinds(cfg *Loaded) []bus.Kind {
	kinds := []bus.Kind{}
	for _, k := range cfg.Bus.Auth.Publishers.ActionDecision.AllowedKinds {
		kinds = append(kinds, bus.Kind(k))
	}
	return kinds
}

// decisionUIDs are the users that may decide actions: the daemon's own, root,
// and whom the configuration names. Being let in by the group is not enough.
func decisionUIDs(cfg *Loaded) []uint32 {
	uids := []uint32{uint32(os.Geteuid()), 0}
	for _, uid := range cfg.Bus.Auth.Publishers.ActionDecision.AllowedUIDs {
		uids = append(uids, uint32(uid))
	}
	return uids
}

// auditRefusal puts what the socket refused into the ledger.
func (d *daemon) auditRefusal(r bus.Refusal) {
	d.log.Warn("refused", "op", r.Op, "code", r.Code, "why", r.Why, "uid", r.Peer.UID, "pid", r.Peer.PID,
		"kind", r.Peer.Kind, "client", r.Peer.Name, "topic", r.Topic, "suppressed", r.Suppressed)
	auditRefusal(d.session.store, r, func(err error) { d.log.Error("audit", "error", err) })
}
