package pog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bigStore opens the store in POG_BIG, making it first when it is not there:
// POG_BIG_EVENTS events (default 1,000,000), a tenth of them notes, the rest
// the host's own record.
func bigStore(b *testing.B) *Store {
	dir := os.Getenv("POG_BIG")
	if dir == "" {
		b.Skip("POG_BIG names no directory for a large store")
	}
	total := envInt("POG_BIG_EVENTS")
	if total == 0 {
		total = 1_000_000
	}
	_, err := os.Stat(filepath.Join(dir, "events.sqlite"))
	s, openErr := Open(context.Background(), Options{Dir: dir})
	if openErr != nil {
		b.Fatal(openErr)
	}
	b.Cleanup(func() { s.Close() })
	if err != nil {
		fill(b, s, total)
	}
	return s
}

// vocabulary has words of very different frequency, as text does.
func vocabulary() func(rng *rand.Rand) string {
	words := make([]string, 20_000)
	for i := range words {
		words[i] = fmt.Sprintf("w%dx", i)
	}
	return func(rng *rand.Rand) string {
		return words[int(float64(len(words))*rng.Float64()*rng.Float64()*rng.Float64())]
	}
}

func fill(b *testing.B, s *Store, total int) {
	rng, word := rand.New(rand.NewPCG(1, 2)), vocabulary()
	text := func(n int) string {
		out := make([]string, n)
		for i := range out {
			out[i] = word(rng)
		}
		return strings.Join(out, " ")
	}
	p := Proposer{Actor: "user", Scopes: []string{"user"}, AllDomains: true}
	for done := 0; done < total; {
		var deltas []Delta
		for range 1000 {
			d := delta("cap.audit", fmt.Sprintf(`{"agent":"a%d","cap":"net","op":"http.request","decision":"deny","target":"%d"}`, done%50, done))
			switch done % 10 {
			case 0:
				d = note(text(4), text(40))
			case 1:
				d = delta("broker.call", fmt.Sprintf(`{"provider":"p","model":"m%d","tokens_in":%d,"trace_id":"t%d"}`, done%7, done, done/20))
			}
			deltas = append(deltas, d)
			done++
		}
		propose(b, s, p, deltas...)
	}
	start := time.Now()
	if err := s.current(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Logf("views of %d events caught up after %v", total, time.Since(start))
}

// BenchmarkBig measures indexed queries and search on a large store.
func BenchmarkBig(b *testing.B) {
	s := bigStore(b)
	rng, word := rand.New(rand.NewPCG(3, 4)), vocabulary()
	ctx := context.Background()
	agent := Reader{AllDomains: true}
	for name, q := range map[string]struct {
		r    Reader
		sql  string
		args func() []any
	}{
		"owner/by id":      {AllReader(), `SELECT * FROM events WHERE id = ?`, func() []any { return []any{rng.IntN(900_000) + 1} }},
		"owner/kind, last": {AllReader(), `SELECT id, payload_json FROM events WHERE kind = 'note.added' ORDER BY ts_ms DESC LIMIT 20`, func() []any { return nil }},
		"owner/trace":      {AllReader(), `SELECT event_id FROM entity_history WHERE entity_key = ?`, func() []any { return []any{fmt.Sprint("trace:t", rng.IntN(40_000))} }},
		"agent/by id":      {agent, `SELECT * FROM events WHERE id = ?`, func() []any { return []any{rng.IntN(900_000) + 1} }},
		"agent/kind, last": {agent, `SELECT id, ts_ms FROM events WHERE kind = 'broker.call' ORDER BY ts_ms DESC LIMIT 20`, func() []any { return nil }},
		"agent/last":       {agent, `SELECT id FROM events ORDER BY id DESC LIMIT 20`, func() []any { return nil }},
		"agent/trace":      {agent, `SELECT id, kind FROM events WHERE trace_id = ?`, func() []any { return []any{fmt.Sprint("t", rng.IntN(40_000))} }},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Query(ctx, q.r, q.sql, q.args(), Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, n := range []int{1, 2, 3, 6} {
		b.Run(fmt.Sprintf("search/%d words", n), func(b *testing.B) {
			var times []time.Duration
			for b.Loop() {
				var words []string
				for range n {
					words = append(words, word(rng))
				}
				start := time.Now()
				if _, err := s.Search(ctx, agent, SearchRequest{Text: strings.Join(words, " ")}); err != nil {
					b.Fatal(err)
				}
				times = append(times, time.Since(start))
			}
			b.ReportMetric(median(times)/1000, "ms-p50")
		})
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			again, err := Open(ctx, Options{Dir: s.opts.Dir})
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			again.Close()
			b.StartTimer()
		}
	})
	b.Run("head", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Head(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}
