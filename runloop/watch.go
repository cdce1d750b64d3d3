package runloop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

// watchEvery is how often what is watched is looked at again.
const watchEvery = time.Second

func watchFlag() cli.Flag {
	return &cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show it again whenever it changes, until Ctrl-C"}
}

// shown prints what f writes: once or, if watch is set, again whenever it is
// otherwise, until Ctrl-C. On a terminal the new takes the place of the old.
func (o *IO) shown(ctx context.Context, watch bool, f func(ctx context.Context, w io.Writer) error) error {
	if !watch {
		return f(ctx, o.Stdout)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	for last, lines := "", 0; ; {
		var b bytes.Buffer
		if err := f(ctx, &b); err != nil && ctx.Err() == nil {
			return err
		}
		if text := b.String(); text != last && ctx.Err() == nil {
			n, err := o.again(text, lines)
			if err != nil {
				return err
			}
			last, lines = text, n
		}
		select {
		case <-ctx.Done():
			if o.isTerminalDevice(o.Stderr) {
				fmt.Fprintln(o.Stderr) // after the ^C of the terminal
			}
			return &exitError{exitInterrupted, errShown}
		case <-time.After(watchEvery):
		}
	}
}

// again prints text in place of the last lines of the terminal, cut to what fits
// there, or after what was printed before where there is none. It returns how
// many lines it took.
func (o *IO) again(text string, before int) (int, error) {
	columns, rows := o.size(o.Stdout)
	if !o.live() || columns <= 0 || rows <= 1 {
		_, err := io.WriteString(o.Stdout, text)
		return 0, err
	}
	list := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	list = list[:min(len(list), rows-1)]
	for i, line := range list {
		if r := []rune(line); len(r) > columns {
			list[i] = string(r[:columns])
		}
	}
	up := ""
	if before > 0 {
		up = "\x1b[" + strconv.Itoa(before) + "A\x1b[J" // cursor up, erase to the end of the screen
	}
	_, err := io.WriteString(o.Stdout, up+strings.Join(list, "\n")+"\n")
	return len(list), err
}

// errWaitedOut ends a wait that took too long.
var errWaitedOut = errors.New("it took too long")

// poll calls f every so often until it says that it is done, or ctx ends.
func poll(ctx context.Context, every time.Duration, f func() (done bool, err error)) error {
	for {
		done, err := f()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(every):
		}
	}
}
