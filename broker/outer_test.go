package broker

import (
	"strings"
	"testing"
	"time"
)

// TestOuterBudgets: what a run inside another spends counts for the node that it
// is and for the run around it, and is refused where that would go over.
func TestOuterBudgets(t *testing.T) {
	l := newLedger(time.Now)
	by := func(trace string, outer ...Limits) *call {
		c := &call{caller: Caller{Trace: trace, Node: "n", Outer: []Outer{
			{Trace: "outer", Node: "sub"}, {Trace: "middle", Node: "x"},
		}}, outer: outer}
		return c
	}
	free := Limits{}
	spend := func(c *call, tokens int64) *Error {
		h, _, err := l.tryReserve(c, need{in: tokens, fixed: true})
		if h != nil {
			l.settle(h, tokens, 0)
		}
		return err
	}
	if err := spend(by("inner", free, free), 40); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"outer sub": 40, "middle x": 40, "inner n": 40} {
		trace, node, _ := strings.Cut(name, " ")
		ofNode, ofRun, _ := l.spent(trace, node)
		if ofNode.TokensIn != want || ofRun.TokensIn != want {
			t.Errorf("%s has spent %+v, its run %+v", name, ofNode, ofRun)
		}
	}
	for name, c := range map[string]*call{
		"node sub":  by("other", Limits{Node: Limit{Tokens: 60}}, free),
		"outer run": by("other", Limits{Run: Limit{Tokens: 60}}, free),
		"node x":    by("other", free, Limits{Node: Limit{Tokens: 60}}),
	} {
		if err := spend(c, 30); err == nil || !strings.HasPrefix(err.Msg, name+" budget: ") {
			t.Errorf("%s: %v", name, err)
		}
		if err := spend(c, 5); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A broker that starts again charges them all, and forgets them all at once.
	again := newLedger(time.Now)
	again.restore(Record{Time: time.Now(), Trace: "inner", Node: "n", TokensIn: 7, Outer: []OuterRecord{{"outer", "sub"}}})
	if ofNode, ofRun, day := again.spent("outer", "sub"); ofNode.TokensIn != 7 || ofRun.TokensIn != 7 || day.TokensIn != 7 {
		t.Errorf("restored: %+v %+v %+v", ofNode, ofRun, day)
	}
	again.endRun("outer")
	l.endRun("outer")
	if len(again.runs) != 0 || l.runs["inner"] != nil || l.runs["other"] != nil {
		t.Errorf("left: %v %v", again.runs, l.runs)
	}
}
