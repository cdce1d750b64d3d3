package pog

import (
	"context"
	"database/sql/driver"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// benchNote is the nth event of the append benchmarks: a note of a paragraph.
func benchNote(n int) Delta {
	return note(fmt.Sprintf("Note %d", n), fmt.Sprintf("%d: the venue for the Q4 plan is booked, "+
		"the release moves to Thursday and somebody has to tell the team about it before lunch.", n))
}

// rawLedger is the reference of the append benchmarks: the ledger's own table,
// indexes and pragmas in plain SQL, one insert and one commit per event.
type rawLedger struct {
	db                    *sqlite3.SQLiteConn
	begin, insert, commit driver.Stmt
	n                     int
}

func newRawLedger(tb testing.TB) *rawLedger {
	path := filepath.Join(tb.TempDir(), "raw.sqlite")
	db, err := (&sqlite3.SQLiteDriver{}).Open("file:" + path + "?_journal_mode=WAL&_synchronous=FULL&_foreign_keys=on")
	if err != nil {
		tb.Fatal(err)
	}
	c := db.(*sqlite3.SQLiteConn)
	tb.Cleanup(func() { c.Close() })
	schema, _, _ := strings.Cut(ledgerMigrations[0], "CREATE TABLE chain")
	if _, err := c.Exec(schema, nil); err != nil {
		tb.Fatal(err)
	}
	r := &rawLedger{db: c}
	for sql, stmt := range map[string]*driver.Stmt{
		"BEGIN IMMEDIATE": &r.begin, "COMMIT": &r.commit,
		`INSERT INTO events(ts_ms, actor, kind, scope, payload_json, provenance_json, hash_blake3)
			VALUES(?,?,?,?,?,?,?)`: &r.insert,
	} {
		if *stmt, err = c.Prepare(sql); err != nil {
			tb.Fatal(err)
		}
	}
	return r
}

func (r *rawLedger) append(tb testing.TB) {
	r.n++
	d := benchNote(r.n)
	h, _ := eventHash("user", d.Kind, "user", d.Payload, []byte("{}"))
	for _, step := range []struct {
		stmt driver.Stmt
		args []driver.Value
	}{
		{r.begin, nil},
		{r.insert, []driver.Value{int64(r.n), "user", d.Kind, "user", string(d.Payload), "{}", h[:]}},
		{r.commit, nil},
	} {
		if _, err := step.stmt.Exec(step.args); err != nil { //nolint:staticcheck // the driver's own form
			tb.Fatal(err)
		}
	}
}

// BenchmarkAppend compares one durable append with the same by hand,
// interleaved, and reports both medians and their ratio.
func BenchmarkAppend(b *testing.B) {
	s, raw := newStore(b), newRawLedger(b)
	ctx := context.Background()
	var ours, theirs []time.Duration
	for n := 0; b.Loop(); n++ {
		d := benchNote(n)
		start := time.Now()
		if _, err := s.Propose(ctx, User(), d); err != nil {
			b.Fatal(err)
		}
		ours = append(ours, time.Since(start))
		start = time.Now()
		raw.append(b)
		theirs = append(theirs, time.Since(start))
	}
	reportRatio(b, median(ours), median(theirs))
}

func median(d []time.Duration) float64 {
	if len(d) == 0 {
		return 0
	}
	sorted := append([]time.Duration(nil), d...)
	for i := 1; i < len(sorted); i++ {
		for k := i; k > 0 && sorted[k] < sorted[k-1]; k-- {
			sorted[k], sorted[k-1] = sorted[k-1], sorted[k]
		}
	}
	return float64(sorted[len(sorted)/2].Nanoseconds()) / 1000
}

func reportRatio(b *testing.B, ours, reference float64) {
	b.ReportMetric(ours, "µs-p50")
	b.ReportMetric(reference, "raw-µs-p50")
	b.ReportMetric(ours/reference, "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkAppend64 compares 64 proposers at once with one transaction per
// event by hand.
func BenchmarkAppend64(b *testing.B) {
	const rounds, per = 64, 100
	for b.Loop() {
		raw := newRawLedger(b)
		start := time.Now()
		const few = 1000
		for range few {
			raw.append(b)
		}
		theirs := few / time.Since(start).Seconds()
		s := newStore(b)
		start = time.Now()
		var wg sync.WaitGroup
		for p := range rounds {
			wg.Go(func() {
				for n := range per {
					if _, err := s.Propose(context.Background(), User(), benchNote(p*per+n)); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		ours := rounds * per / time.Since(start).Seconds()
		b.ReportMetric(ours, "events/s")
		b.ReportMetric(theirs, "raw-events/s")
		b.ReportMetric(ours/theirs, "ratio")
		s.Close()
	}
}

// BenchmarkOpen measures a cold open of a store that has something in it, and
// with the first read.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s := openStore(b, dir)
	for n := range 2000 {
		propose(b, s, User(), benchNote(n))
	}
	_ = dump(b, s)
	s.Close()
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			s, err := Open(context.Background(), Options{Dir: dir})
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			s.Close()
			b.StartTimer()
		}
	})
	b.Run("open-query-close", func(b *testing.B) {
		for b.Loop() {
			s, err := Open(context.Background(), Options{Dir: dir})
			if err != nil {
				b.Fatal(err)
			}
			query(b, s, AllReader(), "SELECT count(*) FROM contacts")
			s.Close()
		}
	})
	b.Run("open-append-close", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			s, err := Open(context.Background(), Options{Dir: dir})
			if err != nil {
				b.Fatal(err)
			}
			propose(b, s, User(), benchNote(10_000+n+int(time.Now().UnixNano())))
			s.Close()
		}
	})
}

// BenchmarkMaterialize measures how fast views are made from a ledger.
func BenchmarkMaterialize(b *testing.B) {
	s := newStore(b)
	const events = 4000
	for n := 0; n < events; n += 100 {
		var deltas []Delta
		for k := range 100 {
			deltas = append(deltas, benchNote(n+k))
		}
		propose(b, s, User(), deltas...)
	}
	for b.Loop() {
		if err := s.Rebuild(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/events, "µs/event")
}

func envInt(name string) int {
	n, _ := strconv.Atoi(os.Getenv(name))
	return n
}
