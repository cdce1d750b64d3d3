package opening

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"lukechampine.com/blake3"
)

// eventLines gives events.ndjson: an event a line, in canonical JSON.
func (l *LedgerPart) eventLines() []byte {
	var out bytes.Buffer
	for _, e := range l.Events {
		out.Write(mustJSON(e))
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// linkLines gives links.txt: id, time and hash of each event of the stretch.
func (l *LedgerPart) linkLines() []byte {
	var out bytes.Buffer
	for _, k := range l.Links {
		fmt.Fprintf(&out, "%d %d %s\n", k.ID, k.TSMillis, k.Hash)
	}
	return out.Bytes()
}

// readLedger reads the ledger's part and follows its chain.
func (b *RunBundle) readLedger(files map[string][]byte, m *runManifest) error {
	events, hasEvents := files[fileEvents]
	links, hasLinks := files[fileLinks]
	if m.Ledger == nil && !hasEvents && !hasLinks {
		return nil
	}
	if m.Ledger == nil || !hasEvents || !hasLinks {
		return fmt.Errorf("%s, %s and the manifest's ledger belong together", fileEvents, fileLinks)
	}
	l := &LedgerPart{Before: m.Ledger.Before, After: m.Ledger.After}
	b.Ledger = l
	if err := l.readLinks(links); err != nil {
		return fmt.Errorf("%s: %w", fileLinks, err)
	}
	if err := l.readEvents(events); err != nil {
		return fmt.Errorf("%s: %w", fileEvents, err)
	}
	if len(l.Events) != m.Ledger.Events {
		return fmt.Errorf("the manifest names %d events, the bundle holds %d", m.Ledger.Events, len(l.Events))
	}
	return b.checkEvents()
}

// readLinks follows the chain from Before to After.
func (l *LedgerPart) readLinks(text []byte) error {
	at := l.Before
	for line := range strings.Lines(string(text)) {
		k, err := parseLink(line)
		if err != nil {
			return err
		}
		if k.ID <= at.EventID {
			return fmt.Errorf("event %d comes after event %d", k.ID, at.EventID)
		}
		if at, err = at.next(k); err != nil {
			return err
		}
		l.Links = append(l.Links, k)
	}
	if at != l.After {
		return fmt.Errorf("the chain ends with event %d and seal %s, not with %d and %s",
			at.EventID, shortHash(at.Seal), l.After.EventID, shortHash(l.After.Seal))
	}
	return nil
}

// parseLink reads a line that linkLines wrote.
func parseLink(line string) (LedgerLink, error) {
	parts := strings.Split(line, " ")
	bad := fmt.Errorf("%s is not a link", quote(cut(line)))
	if len(parts) != 3 {
		return LedgerLink{}, bad
	}
	id, err := strconv.ParseInt(parts[0], 10, 64)
	ts, err2 := strconv.ParseInt(parts[1], 10, 64)
	k := LedgerLink{ID: id, TSMillis: ts, Hash: strings.TrimSuffix(parts[2], "\n")}
	if err != nil || err2 != nil || fmt.Sprintf("%d %d %s\n", k.ID, k.TSMillis, k.Hash) != line {
		return LedgerLink{}, bad
	}
	return k, nil
}

// next is the head after one more event (spec/05): the chain goes over what
// events say, the seal also over their ids and times.
func (h LedgerHead) next(k LedgerLink) (LedgerHead, error) {
	chain, err := chainOf(h.Chain, k.Hash)
	if err != nil {
		return h, err
	}
	var place [16]byte
	binary.BigEndian.PutUint64(place[:8], uint64(k.ID))
	binary.BigEndian.PutUint64(place[8:], uint64(k.TSMillis))
	seal, err := chainOf(h.Seal, chain+hex.EncodeToString(place[:]))
	return LedgerHead{EventID: k.ID, Chain: chain, Seal: seal}, err
}

// chainOf is the BLAKE3 of two values in hex, one after the other.
func chainOf(before, more string) (string, error) {
	if _, err := parseHash(before); err != nil {
		return "", fmt.Errorf("%s is not a hash", quote(before))
	}
	raw, err := hex.DecodeString(before + more)
	if err != nil || strings.ToLower(before+more) != before+more || len(more) < 64 {
		return "", fmt.Errorf("%s is not a hash", quote(more))
	}
	sum := blake3.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// readEvents reads the events, holds each against its hash and finds it in the
// chain.
func (l *LedgerPart) readEvents(text []byte) error {
	next := 0 // of the links
	for line := range bytes.Lines(text) {
		var e LedgerEvent
		body, ok := bytes.CutSuffix(line, []byte("\n"))
		if !ok {
			return errors.New("its last line does not end")
		}
		if err := strictCanonical(body, &e); err != nil {
			return fmt.Errorf("line %d: %w", len(l.Events)+1, err)
		}
		if got := e.hash(); !e.Redacted && got != e.Hash {
			return fmt.Errorf("event %d: its hash is %s, not %s", e.ID, shortHash(got), shortHash(e.Hash))
		}
		for next < len(l.Links) && l.Links[next].ID < e.ID {
			next++
		}
		if next == len(l.Links) || l.Links[next] != (LedgerLink{e.ID, e.TSMillis, e.Hash}) {
			return fmt.Errorf("event %d is not in the chain as it is here", e.ID)
		}
		next++
		l.Events = append(l.Events, e)
	}
	return nil
}

// hash is what the ledger knows an event by (spec/05).
func (e *LedgerEvent) hash() string {
	return hashHex(mustJSON(map[string]any{
		"actor": e.Actor, "kind": e.Kind, "scope": e.Scope, "payload": e.Payload, "provenance": e.Provenance,
	}))
}

// checkEvents holds what the events say of the run against the bundle: the trace
// is put together from them once more, unless they were redacted.
func (b *RunBundle) checkEvents() error {
	if b.Redacted {
		return b.checkRedacted()
	}
	for _, e := range b.Ledger.Events {
		if e.Redacted {
			return errors.New("an event was redacted, but the manifest does not say so")
		}
	}
	id, err := b.Trace.TraceUUID()
	if err != nil {
		return err
	}
	t, err := LoadTrace(context.Background(), b.Ledger, id)
	if err != nil {
		return fmt.Errorf("the events do not tell of the run: %w", err)
	}
	if !bytes.Equal(t.JSON(), b.Trace.JSON()) {
		return errors.New("the trace is not what the events say")
	}
	return nil
}

// checkRedacted holds the beginnings and ends of runs, whose hashes are not
// redacted, against the trace.
func (b *RunBundle) checkRedacted() error {
	runs := map[string]*Trace{}
	for _, t := range b.Trace.runs() {
		runs[t.TraceID] = t
	}
	for _, e := range b.Ledger.Events {
		var p struct {
			TraceID       string `json:"trace_id"`
			OpeningIRHash string `json:"opening_ir_hash"`
			FinalHash     string `json:"final_hash"`
		}
		if err := json.Unmarshal(e.Payload, &p); err != nil {
			return fmt.Errorf("event %d: its payload is not a map", e.ID)
		}
		t := runs[p.TraceID]
		if e.Kind == kindRunStarted && (t == nil || p.OpeningIRHash != t.OpeningIRHash) ||
			e.Kind == kindRunFinished && (t == nil || p.FinalHash != t.FinalHash) {
			return fmt.Errorf("event %d (%s) is not about this run", e.ID, e.Kind)
		}
	}
	return nil
}

// Records implements [History].
func (l *LedgerPart) Records(_ context.Context, trace uuid.UUID) ([]Record, error) {
	var out []Record
	for _, e := range l.Events {
		var p struct {
			TraceID string `json:"trace_id"`
		}
		if json.Unmarshal(e.Payload, &p) == nil && p.TraceID == traceName(trace) {
			out = append(out, Record{Kind: e.Kind, Payload: e.Payload, TSMillis: e.TSMillis})
		}
	}
	return out, nil
}
