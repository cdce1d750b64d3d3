package runloop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v2"

	"github.com/runloop-os/runloop/bus"
)

// hangUpTime is how long clients may take to read what waits for them then.
const hangUpTime = 2 * time.Second

// daemonReady is how many instances of each agent the daemon keeps ready.
const daemonReady = 1

// runDaemon is runloopd: the bus with a socket, and runs that outlive the
// terminals they were started from. It stays in the foreground.
func runDaemon(ctx context.Context, io *IO, args []string) error {
	return runApp(ctx, io, newDaemon(io), args)
}

func newDaemon(io *IO) *cli.App {
	app := newApp(io, "runloopd", "the daemon: runs openings and serves the bus on a socket")
	app.UsageText = `runloopd &
runloopd --check && systemctl --user restart runloopd
RUNLOOP__OBSERVABILITY__METRICS__LISTEN=:9464 runloopd`
	app.Description = `It stays in the foreground and logs to stderr. SIGHUP reads the configuration again,
SIGTERM lets runs end first, a second signal does not.`
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
	return app
}

// checkDaemon opens everything but the sockets, and closes it again.
func checkDaemon(ctx context.Context, io *IO, cfg *Loaded) error {
	if _, err := groupID(cfg); err != nil {
		return err
	}
	if _, err := metricsAddress(cfg); err != nil {
		return err
	}
	log, err := newLogger(io, cfg)
	if err != nil {
		return err
	}
	log.close()
	s, err := openSession(ctx, io, cfg, sessionOptions{daemon: true})
	if err == nil {
		err = s.Close()
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
	signals chan os.Signal
	broken  chan error // why it cannot go on
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
	d := &daemon{io: io, cfg: cfg, log: log, broken: make(chan error, 1)}
	d.catchSignals()
	defer signal.Stop(d.signals)
	if err := d.run(ctx); err != nil {
		if log.file != nil { // the terminal gets to know it anyway
			log.Error("stopped", "reason", err.Error())
		}
		return err
	}
	return nil
}

// run is the life of a daemon, from its socket to its end.
func (d *daemon) run(ctx context.Context) error {
	p := d.io.places(d.cfg)
	if err := p.makeWork(); err != nil {
		return err
	}
	// A folder that is not there now is not looked into later.
	if err := os.MkdirAll(filepath.Join(p.work, "agents"), 0o700); err != nil {
		return fmt.Errorf("the folder for agents: %w", err)
	}
	// A daemon that is there already is found before anything is opened.
	listeners, err := listenDaemon(d.cfg)
	if err != nil {
		return err
	}
	if err := d.start(ctx, listeners); err != nil {
		for _, ln := range listeners {
			ln.Close()
		}
		return errors.Join(err, d.close(ctx))
	}
	why := d.wait(ctx)
	d.log.Info("stopping", "reason", why)
	stop := d.endAtOnce()
	err = d.close(ctx)
	stop()
	if err == nil {
		d.log.Info("stopped", "reason", why)
	}
	return err
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
	d.startResidents(ctx)
	if d.metrics, err = d.startMetrics(ctx); err != nil {
		return err
	}
	for _, ln := range listeners {
		d.serving.Go(func() {
			if err := d.server.Serve(ln); err != nil && !errors.Is(err, bus.ErrClosed) {
				select {
				case d.broken <- fmt.Errorf("the socket failed: %w", err):
				default: // it is about to end anyway
				}
			}
		})
	}
	d.serving.Go(func() { d.runs.resumeAll(ctx) })
	d.log.Info("started", "version", version, "pid", os.Getpid(), "socket", d.control.socket)
	d.notify(systemd.SdNotifyReady)
	return nil
}

// close ends the daemon: no more clients, then the runs, which those who are
// connected see to their end, then the rest. The socket goes last, so that no
// other daemon starts beside this one.
func (d *daemon) close(ctx context.Context) error {
	d.notify(systemd.SdNotifyStopping)
	ctx = context.WithoutCancel(ctx)
	if d.server != nil {
		d.server.Drain()
	}
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
