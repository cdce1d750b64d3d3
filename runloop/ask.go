package runloop

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// askYes asks a question on the terminal whose default is no. Without a
// terminal it is an error that names the flag.
func (o *IO) askYes(question string) (bool, error) {
	if !o.interactive() {
		return false, exitErrorf(exitDeclined, "there is no terminal to ask on; add --yes to agree")
	}
	answer := o.askLine(context.Background(), question+" [y/N] ")
	return answer == "y" || answer == "yes", nil
}

// askLine asks on the terminal and returns the answer in small letters, or ""
// when ctx ends before. What was typed before the question does not answer it.
func (o *IO) askLine(ctx context.Context, question string) string {
	if f, ok := o.Stdin.(*os.File); ok {
		_ = unix.IoctlSetInt(int(f.Fd()), unix.TCFLSH, unix.TCIFLUSH) // fails where there is nothing to flush
	}
	fmt.Fprint(o.Stderr, question)
	answer := make(chan string, 1)
	go func() { // ends with the process at the latest: a read cannot be called back
		line, _ := bufio.NewReader(o.Stdin).ReadString('\n')
		answer <- line
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(o.Stderr)
		return ""
	case line := <-answer:
		return strings.ToLower(strings.TrimSpace(line))
	}
}
