package pog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ImportRequest says what to import.
type ImportRequest struct {
	Path string // a file or a folder
	// Format is vcard or notes; by default the path's extension decides. A
	// folder is vcard when there are .vcf files right in it, else notes.
	Format string
	DryRun bool // look, count, write nothing
	// Progress, when set, is called after each batch.
	Progress func(ImportReport)
}

// ImportReport counts what became of the entries.
type ImportReport struct {
	Format    string `json:"format"`
	Added     int    `json:"added"`     // new, or changed since the last import
	Unchanged int    `json:"unchanged"` // the store has them as they are
	Skipped   int    `json:"skipped"`   // could not be imported; see Problems
	// Problems says what was wrong with up to 100 entries.
	Problems []ImportProblem `json:"problems,omitempty"`
}

// ImportProblem is one entry that could not be imported, or not all of it.
type ImportProblem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"` // from 1; 0 means the whole file
	Reason string `json:"reason"`
}

func (p ImportProblem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Reason)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Reason)
}

// importFunc reads one format: it hands every entry to the job.
type importFunc func(ctx context.Context, job *importJob, path string) error

// importers are the formats; it is never written.
var importers = map[string]importFunc{
	"vcard": importVCards,
	"notes": importNotes,
}

const (
	importBatch       = 256
	maxImportProblems = 100
)

// Import reads a file or folder into the ledger, in batches, as proposals of
// p. An entry the ledger already has is left alone, so importing the same
// again changes nothing, and one that was interrupted goes on where it was.
func (s *Store) Import(ctx context.Context, p Proposer, req ImportRequest) (*ImportReport, error) {
	format, err := importFormat(req)
	if err != nil {
		return nil, err
	}
	p.Existing = true
	job := &importJob{s: s, p: p, req: req, seen: map[int64]bool{}}
	job.report.Format = format
	if err := importers[format](ctx, job, req.Path); err != nil {
		return &job.report, fmt.Errorf("import %s: %w", req.Path, err)
	}
	if err := job.flush(ctx); err != nil {
		return &job.report, err
	}
	return &job.report, job.revert(ctx)
}

func importFormat(req ImportRequest) (string, error) {
	info, err := os.Stat(req.Path)
	if err != nil {
		return "", fmt.Errorf("import: %w", err)
	}
	format := req.Format
	if format == "" {
		switch ext := strings.ToLower(filepath.Ext(req.Path)); {
		case info.IsDir() && len(cardFiles(req.Path)) > 0, isCardFile(req.Path):
			format = "vcard"
		case info.IsDir(), ext == ".md", ext == ".markdown":
			format = "notes"
		}
	}
	if importers[format] == nil {
		return "", fmt.Errorf("%w: import %s: unknown format %q; want vcard (.vcf) or notes (.md or a folder)",
			ErrQuery, req.Path, format)
	}
	return format, nil
}

// importJob collects entries into batches.
type importJob struct {
	s      *Store
	p      Proposer
	req    ImportRequest
	report ImportReport
	batch  []importEntry
	// seen has every event of this import; known is those of them that the
	// ledger had before.
	seen  map[int64]bool
	known []int64
}

// importEntry is one delta and where it was found.
type importEntry struct {
	delta Delta
	file  string
	line  int
}

// add queues an entry.
func (j *importJob) add(ctx context.Context, e importEntry) error {
	j.batch = append(j.batch, e)
	if len(j.batch) < importBatch {
		return ctx.Err()
	}
	return j.flush(ctx)
}

// skip reports an entry that cannot be imported.
func (j *importJob) skip(file string, line int, format string, args ...any) {
	j.report.Skipped++
	j.note(file, line, format, args...)
}

// note reports something about an entry that is imported all the same.
func (j *importJob) note(file string, line int, format string, args ...any) {
	if len(j.report.Problems) < maxImportProblems {
		j.report.Problems = append(j.report.Problems,
			ImportProblem{File: file, Line: line, Reason: fmt.Sprintf(format, args...)})
	}
}

// flush proposes the batch. Entries that are refused are reported and left
// out; the rest is proposed again.
func (j *importJob) flush(ctx context.Context) error {
	for len(j.batch) > 0 {
		deltas := make([]Delta, len(j.batch))
		for i := range j.batch {
			deltas[i] = j.batch[i].delta
		}
		events, err := j.s.propose(ctx, j.p, j.req.DryRun, deltas)
		var refused *RefusedError
		if errors.As(err, &refused) && CodeOf(err) != ErrDenied {
			j.dropRefused(refused)
			continue
		}
		if err != nil {
			return err
		}
		j.count(events)
		j.batch = j.batch[:0]
	}
	if j.req.Progress != nil {
		j.req.Progress(j.report)
	}
	return nil
}

func (j *importJob) count(events []Event) {
	for i := range events {
		e := &events[i]
		again := e.ID != 0 && j.seen[e.ID]
		switch {
		case !e.Existing:
			j.report.Added++
		default:
			j.report.Unchanged++
			if !again {
				j.known = append(j.known, e.ID)
			}
		}
		j.seen[e.ID] = true
	}
}

func (j *importJob) dropRefused(refused *RefusedError) {
	bad := map[int]bool{}
	for _, p := range refused.Problems {
		if !bad[p.Delta] {
			e := j.batch[p.Delta]
			j.skip(e.file, e.line, "%s: %s", p.Field, p.Reason)
		}
		bad[p.Delta] = true
	}
	kept := j.batch[:0]
	for i, e := range j.batch {
		if !bad[i] {
			kept = append(kept, e)
		}
	}
	j.batch = kept
}

// revert handles entries that went back to what they were: the ledger has
// the event, but something newer has taken its place since. Saying the same
// again would be the same event, so it is said with the old event as
// evidence.
func (j *importJob) revert(ctx context.Context) error {
	if len(j.known) == 0 {
		return nil
	}
	if err := j.s.current(ctx); err != nil {
		return err
	}
	for _, id := range j.known {
		if err := j.revertOne(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (j *importJob) revertOne(ctx context.Context, id int64) error {
	for current := id; ; {
		latest, err := j.s.latestOfSame(ctx, current)
		if err != nil || latest == 0 || j.seen[latest] {
			return err
		}
		old, err := j.s.Event(ctx, AllReader(), current)
		if err != nil {
			return err
		}
		d := Delta{Kind: old.Kind, Scope: old.Scope, Payload: old.Payload,
			Provenance: parseProvenance(old.Provenance).Provenance, Evidence: []int64{current}}
		events, err := j.s.propose(ctx, j.p, j.req.DryRun, []Delta{d})
		if err != nil {
			return err
		}
		if !events[0].Existing {
			j.report.Added++
			j.report.Unchanged--
			return nil
		}
		current = events[0].ID
		j.seen[current] = true
	}
}

// latestOfSame returns the newest event about what event id is about, or 0.
func (s *Store) latestOfSame(ctx context.Context, id int64) (int64, error) {
	var latest int64
	err := s.reader(AllReader()).use(ctx, func(c *conn) error {
		err := c.each(ctx, `SELECT max(n.event_id) FROM main.entity_history o
			JOIN main.entity_history n ON n.entity_key = o.entity_key
			WHERE o.event_id = ? AND o.entity_key NOT LIKE 'trace:%'`, []any{id},
			func(v []driver.Value) error {
				latest = integer(v[0])
				return nil
			})
		return storageError("read", c.path, err)
	})
	return latest, err
}

// cut shortens s to at most so many runes.
func cut(s string, most int) string {
	s = strings.TrimSpace(s)
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most])
	}
	return s
}

// cleanTags trims, cuts and deduplicates tags.
func cleanTags(tags []string) []string {
	var out []string
	for _, t := range tags {
		t = cut(strings.TrimPrefix(strings.TrimSpace(t), "#"), 64)
		if t != "" && !slices.Contains(out, t) && len(out) < 64 {
			out = append(out, t)
		}
	}
	return out
}
