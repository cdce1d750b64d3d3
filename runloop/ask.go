package runloop

import (
	"bufio"
	"fmt"
	"strings"
)

// askYes asks a question on the terminal whose default is no. Without a
// terminal it is an error that names the flag.
func (o *IO) askYes(question string) (bool, error) {
	if !o.interactive() {
		return false, exitErrorf(exitDeclined, "there is no terminal to ask on; add --yes to agree")
	}
	fmt.Fprintf(o.Stderr, "%s [y/N] ", question)
	line, err := bufio.NewReader(o.Stdin).ReadString('\n')
	if err != nil && line == "" {
		return false, nil // end of input is no yes
	}
	line = strings.ToLower(strings.TrimSpace(line))
	return line == "y" || line == "yes", nil
}
