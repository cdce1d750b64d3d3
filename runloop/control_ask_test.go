package runloop

import (
	"errors"
	"os"
	"testing"

	"github.com/runloop-os/runloop/bus"
)

// TestWhoMayDecideByRequest: being let in by the group is not enough to submit a
// run whose actions nobody is asked about.
func TestWhoMayDecideByRequest(t *testing.T) {
	s := &session{}
	cfg := &Loaded{}
	cfg.Bus.Auth.Publishers.ActionDecision.AllowedUIDs = []int{4242}
	s.live.Store(cfg)
	c := &control{session: s}
	own, member, named := uint32(os.Geteuid()), uint32(os.Geteuid()+77), uint32(4242)
	yes := &ctrlRequest{Op: "run.submit", Flags: ctrlFlags{Confirm: "yes"}}
	for _, tt := range []struct {
		name string
		peer *bus.Peer
		req  *ctrlRequest
		want bool
	}{
		{"the owner", &bus.Peer{UID: own}, yes, true},
		{"this process", nil, yes, true},
		{"root", &bus.Peer{UID: 0}, yes, true},
		{"who is named", &bus.Peer{UID: named}, yes, true},
		{"a member", &bus.Peer{UID: member, Kind: bus.KindUI}, yes, false},
		{"a member who asks", &bus.Peer{UID: member}, &ctrlRequest{Op: "run.submit", Flags: ctrlFlags{Confirm: "ask"}}, true},
		{"a member who lists", &bus.Peer{UID: member}, &ctrlRequest{Op: "run.list"}, true},
		{"a member who accepts agents", &bus.Peer{UID: member}, &ctrlRequest{Op: "run.resume", Accept: true}, false},
	} {
		err := c.mayAsk(tt.peer, tt.req)
		var no *ctrlError
		if (err == nil) != tt.want || err != nil && (!errors.As(err, &no) || no.code != "forbidden") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
