package opening

import (
	"context"
	"errors"
)

// innerControls are the controls of the runs that attempts of a run are. What
// steers a run steers them after it, from outside of its loop: they send their
// events there, and would wait for it.
type innerControls []*Control

// sendAll is send, and gives the runs inside besides.
func (c *Control) sendAll(ctx context.Context, do func(r *runner) error) (inner innerControls, err error) {
	err = c.send(ctx, func(r *runner) error {
		for _, a := range r.attempts {
			if a != nil && a.resp == nil && a.inner != nil {
				inner = append(inner, a.inner)
			}
		}
		return do(r)
	})
	return inner, err
}

// each does something to all of them, unless there was an error before. A run
// that is over by then is left out.
func (inner innerControls) each(err error, do func(*Control) error) error {
	for _, c := range inner {
		if err != nil {
			return err
		}
		if err = do(c); errors.Is(err, ErrOver) {
			err = nil
		}
	}
	return err
}
