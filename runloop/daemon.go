package runloop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/runloop-os/runloop/bus"
)

// hangUpTime is how long clients may take to read what waits for them then.
const hangUpTime = 2 * time.Second

// daemonReady is how many instances of each agent the daemon keeps ready.
const daemonReady = 1

// runDaemon is runloopd: the bus with a socket, and runs that outlive the
// terminals they were started from. It stays in the foreground.
func runDaemon(ctx context.Context, io *IO, args []string) error {
	app := newApp(io, "runloopd", "the daemon: runs openings and serves the bus on a socket")
	app.UsageText = "runloopd\n   runloopd --check"
	app.Flags = []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "read `FILE` in place of the system's and the user's"},
		&cli.StringFlag{Name: "socket", Usage: "listen on `PATH`"},
		&cli.BoolFlag{Name: "check", Usage: "check configuration and state, and exit"},
	}
	app.Action = func(c *cli.Context) error {
		if c.NArg() > 0 {
			return usageErrorf("runloopd takes no arguments (see runloopd --help)")
		}
		if file := c.String("config"); file != "" {
			io.Environ = append([]string{"RUNLOOP_CONFIG=" + file}, io.Environ...)
		}
		cfg, err := io.config()
		if err != nil {
			return err
		}
		if path := c.String("socket"); path != "" {
			cfg.Runtime.SocketPath = path
		}
		if c.Bool("check") {
			return checkDaemon(c.Context, io, cfg)
		}
		return serveDaemon(c.Context, io, cfg)
	}
	return app.RunContext(ctx, append([]string{"runloopd"}, args...))
}

// checkDaemon opens everything but the socket, and closes it again.
func checkDaemon(ctx context.Context, io *IO, cfg *Loaded) error {
	s, err := openSession(ctx, io, cfg, sessionOptions{daemon: true})
	if err == nil {
		err = s.Close()
	}
	if err == nil {
		_, err = groupID(cfg)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.Stdout, "ok; would listen on %s\n", printable(socketPath(cfg)))
	return err
}

// daemon is a running runloopd.
type daemon struct {
	io      *IO
	cfg     *Loaded
	log     *logger
	session *session
	runs    *runTable
	control *control
	decider *decider
	server  *bus.Server
	metrics *metrics
	serving sync.WaitGroup
	stop    context.CancelFunc // ends control and metrics
}

func serveDaemon(ctx context.Context, io *IO, cfg *Loaded) error {
	log, err := newLogger(io, cfg)
	if err != nil {
		return err
	}
	defer log.close()
	io.Warn = func(text string) { log.Warn(text) }
	p := io.places(cfg)
	if err := p.makeWork(); err != nil {
		return err
	}
	// A daemon that is there already is found before anything is opened.
	listeners, err := listenDaemon(cfg)
	if err != nil {
		return err
	}
	d := &daemon{io: io, cfg: cfg, log: log}
	if err := d.start(ctx, listeners); err != nil {
		for _, ln := range listeners {
			ln.Close()
		}
		return errors.Join(err, d.close(ctx))
	}
	why := d.wait(ctx)
	log.Info("stopping", "reason", why)
	if err := d.close(ctx); err != nil {
		return err
	}
	log.Info("stopped", "reason", why)
	return nil
}

// listenDaemon takes the sockets that systemd hands over, or makes one.
func listenDaemon(cfg *Loaded) ([]net.Listener, error) {
	listeners, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("socket activation: %w", err)
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

// start opens the session and serves listeners.
func (d *daemon) start(ctx context.Context, listeners []net.Listener) error {
	var err error
	d.session, err = openSession(ctx, d.io, d.cfg, sessionOptions{
		daemon: true, keepReady: daemonReady, log: d.log.Logger,
	})
	if err != nil {
		return err
	}
	d.runs = newRunTable(d.session)
	if d.control, err = newControl(d.session, d.runs); err != nil {
		return err
	}
	gid, err := groupID(d.cfg)
	if err != nil {
		return err
	}
	d.server = d.session.bus.NewServer(d.serverConfig(gid))
	d.control.clients, d.control.socket = d.server.Conns, listeners[0].Addr().String()
	ctx, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	if d.decider, err = d.io.startDecider(ctx, localPeer{d.session.bus.Client("policy", bus.KindUI)},
		deciderOptions{of: d.runs.rulingOf}); err != nil {
		return err
	}
	d.serving.Go(func() { d.control.serve(ctx) })
	if d.metrics, err = d.startMetrics(ctx); err != nil {
		return err
	}
	for _, ln := range listeners {
		d.serving.Go(func() {
			if err := d.server.Serve(ln); err != nil && !errors.Is(err, bus.ErrClosed) {
				d.log.Error("socket", "error", err)
			}
		})
	}
	d.log.Info("started", "version", version, "pid", os.Getpid(), "socket", d.control.socket)
	d.notify(systemd.SdNotifyReady)
	return nil
}

func (d *daemon) serverConfig(gid uint32) bus.ServerConfig {
	l := d.cfg.Bus.Limits
	return bus.ServerConfig{
		Name:     "runloopd " + version,
		Policy:   bus.Policy{GID: gid, DecisionKinds: d.decisionKinds()},
		MaxConns: l.Connections, MaxSubs: l.Subscriptions, QueueBytes: l.QueueBytes, FrameRate: l.FrameRate,
		HandshakeTime: time.Duration(l.HandshakeMS) * time.Millisecond,
		IdleTime:      time.Duration(l.IdleMS) * time.Millisecond,
		Audit:         d.auditRefusal, Log: d.log.Logger,
	}
}

func (d *daemon) decisionKinds() []bus.Kind {
	var kinds []bus.Kind
	for _, k := range d.cfg.Bus.Auth.Publishers.ActionDecision.AllowedKinds {
		kinds = append(kinds, bus.Kind(k))
	}
	return kinds
}

func (d *daemon) notify(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		d.log.Warn("sd_notify", "error", err)
	}
}

// wait returns why the daemon is to end. SIGHUP reloads on the way; the second
// signal to end takes effect at once.
func (d *daemon) wait(ctx context.Context) string {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	for {
		select {
		case <-ctx.Done():
			signal.Stop(signals)
			return ctx.Err().Error()
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				d.reload()
				continue
			}
			signal.Stop(signals)
			return sig.String()
		}
	}
}

// reload takes over what can change while the daemon runs: logging.level,
// security.confirm_external_actions and runtime.max_parallel. A configuration
// that is wrong changes nothing.
func (d *daemon) reload() {
	// sd_notify(3): the manager tells this reload from others by its time.
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
		d.notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", systemd.SdNotifyReloading, now.Nano()/1000))
	}
	defer d.notify(systemd.SdNotifyReady)
	cfg, err := d.io.config()
	if err == nil {
		err = d.log.setLevel(cfg.Logging.Level)
	}
	if err != nil {
		d.log.Error("reload refused; the old configuration stays", "error", err)
		return
	}
	d.session.live.Store(cfg)
	d.log.Info("reloaded", "level", cfg.Logging.Level,
		"confirm_external_actions", cfg.Security.ConfirmExternalActions, "max_parallel", cfg.Runtime.MaxParallel)
}

// close ends the daemon: no more clients, then the runs, then the rest.
func (d *daemon) close(ctx context.Context) error {
	d.notify(systemd.SdNotifyStopping)
	ctx = context.WithoutCancel(ctx)
	if d.runs != nil {
		drain, cancel := context.WithTimeout(ctx, time.Duration(d.cfg.Runtime.DrainMS)*time.Millisecond)
		d.runs.drain(drain)
		cancel()
	}
	if d.server != nil {
		hangUp, cancel := context.WithTimeout(ctx, hangUpTime)
		if err := d.server.Shutdown(hangUp); err != nil {
			d.log.Warn("some clients were cut off", "error", err)
		}
		cancel()
	}
	if d.decider != nil {
		d.decider.close()
	}
	if d.stop != nil {
		d.stop()
	}
	d.serving.Wait()
	if d.metrics != nil {
		d.metrics.close()
	}
	if d.session == nil {
		return nil
	}
	return d.session.Close()
}

// auditRefusal puts what the socket refused into the ledger.
func (d *daemon) auditRefusal(r bus.Refusal) {
	d.log.Warn("refused", "op", r.Op, "code", r.Code, "why", r.Why, "uid", r.Peer.UID, "pid", r.Peer.PID,
		"kind", r.Peer.Kind, "client", r.Peer.Name, "topic", r.Topic)
	auditRefusal(d.session.store, r, func(err error) { d.log.Error("audit", "error", err) })
}

// logger is the daemon's log, whose level can change.
type logger struct {
	*slog.Logger
	level *slog.LevelVar
	file  *os.File
}

// newLogger logs to the configured file, or else to stderr: as JSON where that
// is no terminal, if the format is auto.
func newLogger(io *IO, cfg *Loaded) (*logger, error) {
	l := &logger{level: &slog.LevelVar{}}
	if err := l.setLevel(cfg.Logging.Level); err != nil {
		return nil, err
	}
	out := io.Stderr
	if cfg.Logging.File != "" {
		f, err := os.OpenFile(cfg.Logging.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
		l.file, out = f, f
	}
	opts := &slog.HandlerOptions{Level: l.level}
	switch f := cfg.Logging.Format; {
	case f == "json", f == "auto" && !io.isTerminal(out):
		l.Logger = slog.New(slog.NewJSONHandler(out, opts))
	case f == "text", f == "auto":
		l.Logger = slog.New(slog.NewTextHandler(out, opts))
	default:
		return nil, usageErrorf("config: logging.format %q: auto, json or text", f)
	}
	return l, nil
}

func (l *logger) setLevel(name string) error {
	if name == "trace" {
		name = "debug"
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return usageErrorf("config: logging.level %q: error, warn, info, debug or trace", name)
	}
	l.level.Set(level)
	return nil
}

func (l *logger) close() {
	if l.file != nil {
		l.file.Close()
	}
}
