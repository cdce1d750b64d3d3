package opening

import (
	"errors"
	"fmt"
	"strings"

	"github.com/runloop-os/runloop/rmp"
)

// checkNested holds an attempt against the run that it was, which is depth deep
// in others.
func (a *Attempt) checkNested(ref string, depth int) error {
	t := a.Nested
	if t == nil {
		return nil
	}
	if depth >= maxNesting || !isNested(ref) {
		return errors.New("it cannot have been a run")
	}
	if err := t.checkAt(depth + 1); err != nil {
		return fmt.Errorf("its run: %w", err)
	}
	if t.OpeningName != strings.TrimPrefix(ref, nestedRef("")) {
		return fmt.Errorf("its run is of the opening %s", quote(t.OpeningName))
	}
	if (a.Status == rmp.StatusOK) != t.Success {
		return errors.New("it did not end as its run did")
	}
	for port, value := range a.Outputs {
		if string(t.output(port)) != string(value) {
			return fmt.Errorf("its run did not give the output %s", quote(port))
		}
	}
	return nil
}

// output gives what a node of the run, or of one inside, put out: node.port.
func (t *Trace) output(name string) []byte {
	node, port, _ := strings.Cut(name, ".")
	for _, n := range t.Nodes {
		if n.NodeID == node && n.FinalAttempt != nil {
			return n.FinalAttempt.Outputs[port]
		}
	}
	return nil
}
