package opening

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"lukechampine.com/blake3"
)

// eventLines gives events.ndjson: an event a line, in canonical JSON. The event
// whose payload is the trace refers to it.
func (l *LedgerPart) eventLines(trace json.RawMessage) []byte {
	var out bytes.Buffer
	for _, e := range l.Events {
		if e.PayloadIn != "" {
			e.Payload = nil
		}
		if !e.Redacted && bytes.Equal(e.Payload, trace) {
			e.Payload, e.PayloadIn = nil, fileTrace
		}
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
	if err := l.readEvents(events, b.TraceJSON); err != nil {
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
func (l *LedgerPart) readEvents(text []byte, trace json.RawMessage) error {
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
		if err := e.resolve(trace); err != nil {
			return fmt.Errorf("event %d: %w", e.ID, err)
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

// resolve fetches the payload and checks the hash of an event.
func (e *LedgerEvent) resolve(trace json.RawMessage) error {
	switch {
	case e.PayloadIn == "" && len(e.Payload) == 0,
		e.PayloadIn != "" && (len(e.Payload) > 0 || e.PayloadIn != fileTrace):
		return errors.New("it has no payload, or more than one")
	case e.PayloadIn != "":
		e.Payload = trace
	}
	if e.Redacted {
		return nil
	}
	if got := e.hash(); got != e.Hash {
		return fmt.Errorf("its hash is %s, not %s", shortHash(got), shortHash(e.Hash))
	}
	return nil
}

// hash is what the ledger knows an event by (spec/05).
func (e *LedgerEvent) hash() string {
	return hashHex(mustJSON(map[string]any{
		"actor": e.Actor, "kind": e.Kind, "scope": e.Scope, "payload": e.Payload, "provenance": e.Provenance,
	}))
}

// checkEvents holds what the events say of the run against the bundle.
func (b *RunBundle) checkEvents() error {
	redacted := false
	runs := map[string]*Trace{}
	for _, t := range b.Trace.runs() {
		runs[t.TraceID] = t
	}
	for _, e := range b.Ledger.Events {
		redacted = redacted || e.Redacted
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
	if redacted && !b.Redacted {
		return errors.New("an event was redacted, but the manifest does not say so")
	}
	return nil
}
