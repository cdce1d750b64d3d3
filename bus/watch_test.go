package bus_test

import (
	"testing"
	"time"

	"github.com/runloop-os/runloop/bus"
)

func TestWatch(t *testing.T) {
	b := newBus(t, bus.Config{})
	changed, stop := b.Watch("rlp/sys/metrics")
	told := func(want bool) {
		t.Helper()
		wait := 10 * time.Millisecond
		if want {
			wait = 5 * time.Second
		}
		select {
		case <-changed:
			if !want {
				t.Error("told of nothing")
			}
		case <-time.After(wait):
			if want {
				t.Error("not told")
			}
		}
	}
	c := b.Client("c", bus.KindUI)
	subscribe(t, c, "rlp/sys/drops", bus.SubOptions{})
	told(false)
	if b.Wanted("rlp/sys/metrics") {
		t.Error("nobody subscribes")
	}
	one := subscribe(t, c, "rlp/sys/+", bus.SubOptions{})
	told(true)
	group := subscribe(t, c, "rlp/#", bus.SubOptions{Queue: "g"})
	told(true)
	_ = one.Close()
	told(true)
	if !b.Wanted("rlp/sys/metrics") {
		t.Error("a group subscribes")
	}
	_ = group.Close()
	if told(true); b.Wanted("rlp/sys/metrics") {
		t.Error("all are gone")
	}
	stop()
	subscribe(t, c, "rlp/sys/metrics", bus.SubOptions{})
	told(false)
}
