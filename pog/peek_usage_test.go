package pog

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
)

func TestPeekUsage(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	if _, err := PeekUsage(ctx, Options{Dir: filepath.Join(dir, "none")}, "opening:x", 3); !errors.Is(err, ErrNotFound) {
		t.Errorf("no ledger: %v", err)
	}
	s := openStore(t, dir)
	for i, end := range []string{
		`"opening_id":"opening:x","success":true,"usage":{"tokens_in":10,"tokens_out":5,"usd":0.25}`,
		`"opening_id":"opening:x","success":false,"usage":{"tokens_in":99,"tokens_out":5,"usd":9}`,
		`"opening_id":"opening:y","success":true,"usage":{"tokens_in":7,"tokens_out":5,"usd":1}`,
		`"opening_id":"opening:x","success":true,"usage":{"tokens_in":20,"tokens_out":1,"usd":1}`,
		`"opening_id":"opening:x","success":true`,
	} {
		d := delta("run.finished", fmt.Sprintf(`{"trace_id":"trace:0684000%d-0000-4000-8000-000000000000",%s}`, i, end))
		if _, err := s.Propose(ctx, System(), d); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := listing(t, dir)
	for _, tt := range []struct {
		opening string
		limit   int
		want    []PeekedUsage
	}{
		{"opening:x", 9, []PeekedUsage{{}, {21, 1}, {15, 0.25}}},
		{"opening:x", 2, []PeekedUsage{{}, {21, 1}}},
		{"opening:y", 9, []PeekedUsage{{12, 1}}},
		{"opening:' OR 1", 9, nil},
	} {
		if got, err := PeekUsage(ctx, Options{Dir: dir}, tt.opening, tt.limit); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %+v %v", tt.opening, got, err)
		}
	}
	if after := listing(t, dir); after != before {
		t.Errorf("it changed the store:\n%s\n%s", before, after)
	}
}
