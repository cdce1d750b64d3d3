package runloop

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// askYes asks a question on the terminal whose default is no. Without a
// terminal it is an error that names the flag.
func (o *IO) askYes(question string) (bool, error) {
	if !o.interactive() {
		why := "there is no terminal to ask on"
		if o.common.noInput {
			why = "--no-input keeps from asking"
		}
		return false, exitErrorf(exitDeclined, "%s; add --yes to agree", why)
	}
	answer := o.askLine(context.Background(), question+" [y/N] ")
	return answer == "y" || answer == "yes", nil
}

// askLine asks on the terminal and returns the answer in small letters, or ""
// when ctx ends before.
func (o *IO) askLine(ctx context.Context, question string) string {
	return strings.ToLower(o.askText(ctx, question, ""))
}

// askText asks on the terminal and returns the answer, or otherwise for an
// empty one or when ctx ends before. What was typed before the question does
// not answer it.
func (o *IO) askText(ctx context.Context, question, otherwise string) string {
	o.line.clear(o)
	typed := o.typed.next(o)
	fmt.Fprint(o.Stderr, question)
	select {
	case <-ctx.Done():
		fmt.Fprintln(o.Stderr)
		return otherwise
	case line := <-typed:
		o.typed.taken()
		return cmp.Or(strings.TrimSpace(line), otherwise)
	}
}

// typedLines reads answers. A read cannot be called back: one that a question
// was given up for goes on, and what it gets is the answer to the next.
type typedLines struct {
	mu     sync.Mutex
	reader *bufio.Reader
	line   chan string // of the read that goes on, or nil
}

// next gives the next line that is typed from now on.
func (t *typedLines) next(o *IO) <-chan string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reader == nil {
		t.reader = bufio.NewReader(o.Stdin)
	}
	if f, ok := o.Stdin.(*os.File); ok {
		_ = unix.IoctlSetInt(int(f.Fd()), unix.TCFLSH, unix.TCIFLUSH) // fails where there is nothing to flush
	}
	if t.line != nil && len(t.line) == 0 {
		return t.line
	}
	line := make(chan string, 1)
	t.line = line
	_, _ = t.reader.Discard(t.reader.Buffered())
	go func() { // ends with the process at the latest
		text, _ := t.reader.ReadString('\n')
		line <- text
	}()
	return line
}

// taken says that the line of next was received.
func (t *typedLines) taken() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line = nil
}
