package pog

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
)

func TestPeekRuns(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	if _, err := PeekRuns(ctx, Options{Dir: filepath.Join(dir, "none")}, "", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("no ledger: %v", err)
	}
	s := openStore(t, dir)
	for i, trace := range []string{"0684aaaa", "0684bbbb", "17000000"} {
		d := delta("run.started", fmt.Sprintf(`{"trace_id":"trace:%s-0000-4000-8000-000000000000",
			"opening_id":"opening:x","opening_name":"o%d","params":{"says":{"trace_id":"trace:0684"}}}`, trace, i))
		if _, err := s.Propose(ctx, System(), d); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := listing(t, dir)
	for _, tt := range []struct {
		prefix string
		limit  int
		want   string
	}{
		{"", 0, "o2 o1 o0"}, {"", 2, "o2 o1"}, {"0684", 0, "o1 o0"}, {"trace:0684B", 0, "o1"}, {"run:17", 0, "o2"},
		{"0684%", 0, ""}, {`0684"`, 0, ""}, {"9", 0, ""}, {"0684aaaa-0000-4000-8000-000000000000", 0, "o0"},
	} {
		runs, err := PeekRuns(ctx, Options{Dir: dir}, tt.prefix, tt.limit)
		got := ""
		for _, r := range runs {
			got += " " + r.Opening
		}
		if err != nil || got != prefixed(tt.want) {
			t.Errorf("%q: %q, %v", tt.prefix, got, err)
		}
	}
	if after := listing(t, dir); after != before {
		t.Errorf("it changed the store:\n%s\n%s", before, after)
	}
}

func prefixed(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}
