package runloop

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// reloadable are the keys that take effect without a restart.
var reloadable = []string{
	"logging.level", "security.confirm_external_actions", "runtime.max_parallel",
}

// catchSignals has signals wait for the daemon from its first moment on.
func (d *daemon) catchSignals() {
	d.signals = make(chan os.Signal, 8)
	signal.Notify(d.signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
}

// wait returns why the daemon is to end. SIGHUP reloads on the way.
func (d *daemon) wait(ctx context.Context) string {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err().Error()
		case err := <-d.broken:
			return err.Error()
		case sig := <-d.signals:
			if sig != syscall.SIGHUP {
				return sig.String()
			}
			d.reload()
		}
	}
}

// endAtOnce lets the next signal to end take effect at once, the way it would
// have without us. There is nothing left to reload.
func (d *daemon) endAtOnce() (stop func()) {
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-done:
				return
			case sig := <-d.signals:
				if sig == syscall.SIGHUP {
					continue
				}
				d.log.Warn("stopped at once", "reason", "second signal: "+sig.String())
				signal.Reset(sig)
				_ = syscall.Kill(os.Getpid(), sig.(syscall.Signal))
			}
		}
	})
	return func() {
		close(done)
		watching.Wait()
	}
}

func (d *daemon) notify(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		d.log.Warn("sd_notify", "error", err)
	}
}

// reload takes over what can change while the daemon runs, and opens the log
// file anew. A configuration that is wrong changes nothing.
func (d *daemon) reload() {
	// sd_notify(3): the manager tells this reload from others by its time.
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
		d.notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", systemd.SdNotifyReloading, now.Nano()/1000))
	}
	defer d.notify(systemd.SdNotifyReady)
	cfg, err := d.io.config()
	if err == nil {
		err = d.log.reopen()
	}
	if err == nil {
		err = d.log.setLevel(cfg.Logging.Level)
	}
	if err != nil {
		d.log.Error("reload refused; the old configuration stays", "error", err)
		return
	}
	d.session.live.Store(cfg)
	d.session.host.ApplyPolicy()
	d.log.Info("reloaded", "level", cfg.Logging.Level,
		"confirm_external_actions", cfg.Security.ConfirmExternalActions, "max_parallel", cfg.Runtime.MaxParallel)
	if keys := needRestart(d.cfg, cfg); len(keys) > 0 {
		d.log.Warn("these keys need a restart", "keys", strings.Join(keys, " "))
	}
}

// needRestart are the keys that differ and cannot be reloaded.
func needRestart(old, new *Loaded) []string {
	was := map[string]any{}
	flatten("", old.merged.Raw(), func(key string, v any) { was[key] = v })
	var keys []string
	flatten("", new.merged.Raw(), func(key string, v any) {
		if !reflect.DeepEqual(was[key], v) && !slices.Contains(reloadable, key) {
			keys = append(keys, key)
		}
		delete(was, key)
	})
	for key := range was { // not there any more
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
