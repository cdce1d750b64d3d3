package runloop

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/runloop-os/runloop/bus"
)

// daemon looks whether one answers, and whether it is of this version.
func (e *examination) daemon(ctx context.Context) {
	const name = "daemon"
	path := daemonSocket(e.cfg)
	conn, err := dialDaemon(ctx, e.cfg, bus.KindCLI)
	_, there := os.Lstat(path)
	switch {
	case errors.Is(err, errNoDaemon) && there != nil:
		e.add(name, checkNote, "start one with `runloopd`, or use rlp run --local", "none is running (%s)", path)
		return
	case errors.Is(err, errNoDaemon):
		e.warn(name, "start one with `runloopd`: it takes the socket over", "nobody answers at %s, which is there", path)
		return
	case err != nil:
		e.fail(name, "see its log", "%v", err)
		return
	}
	defer conn.Close()
	a, err := conn.ask(ctx, &ctrlRequest{Op: "status"})
	switch {
	case err != nil || a.Status == nil:
		e.fail(name, "see its log", "it does not say how it is: %v", err)
	case a.Status.Version != version:
		e.warn(name, "restart it", "version %s runs at %s, and this is %s", a.Status.Version, path, version)
	default:
		e.ok(name, "version %s, pid %d, at %s", a.Status.Version, a.Status.PID, path)
	}
}

// reachTime is how long the host of a provider may take to answer.
const reachTime = 2 * time.Second

// models looks whether the providers that are configured can be reached: by a
// connection, over which nothing is sent.
func (e *examination) models(ctx context.Context) {
	const name = "models"
	cfg := brokerConfig(&e.cfg.Models)
	cfg.Secrets = e.io.secret
	b, err := openBroker(cfg)
	if err != nil {
		e.fail(name, "rlp config show models", "%v", err)
		return
	}
	b.Close()
	providers := e.cfg.Models.Broker.Providers
	if len(providers) == 0 {
		e.add(name, checkNote, "", "no providers are configured; agents work with what needs no model")
	}
	for _, p := range providers {
		e.provider(ctx, &p)
	}
}

func (e *examination) provider(ctx context.Context, p *ProviderConfig) {
	const name = "models"
	if p.BaseURL == "" {
		e.ok(name, "%s (%s) needs no network", p.ID, p.Kind)
		return
	}
	address, err := hostPort(p.BaseURL)
	if err != nil {
		e.fail(name, "mend models.broker.providers", "%s: %v", p.ID, err)
		return
	}
	if p.SecretID != "" {
		if _, err := e.io.secret(ctx, p.SecretID); err != nil {
			e.warn(name, "set it where rlp and runloopd are started", "%s: %v", p.ID, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		e.fail(name, "start it, or mend its base_url", "%s cannot be reached: %v", p.ID, err)
		return
	}
	conn.Close()
	e.ok(name, "%s at %s can be reached", p.ID, address)
}

// hostPort is where the server of a URL listens.
func hostPort(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	port := u.Port()
	switch {
	case u.Hostname() == "":
		return "", errors.New(base + " names no host")
	case port == "" && strings.EqualFold(u.Scheme, "http"):
		port = "80"
	case port == "":
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}
