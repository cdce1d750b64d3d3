package pog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const blobTrace = `"trace_id":"trace:0b51d2c0-9a55-4e0e-8f3a-000000000001"`

func blobsIn(t *testing.T, s *Store) (n int) {
	t.Helper()
	if err := s.opts.blobs().each(func(Hash, fs.FileInfo) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestBlobs: what is large is kept once beside the ledger, and every reader sees
// it whole.
func TestBlobs(t *testing.T) {
	s := newStore(t)
	big := strings.Repeat("large ", 2000)
	outputs := fmt.Sprintf(`{"out":%q,"small":1}`, big)
	want := `{` + `"node":"a","outputs":` + outputs + `,"status":"ok",` + blobTrace + `}`
	propose(t, s, System(),
		delta("run.started", `{`+blobTrace+`,"opening_id":"o1"}`),
		delta("node.finished", want),
		delta("node.finished", `{"node":"b","outputs":`+outputs+`,"status":"ok",`+blobTrace+`}`),
	)
	if n := blobsIn(t, s); n != 1 {
		t.Errorf("%d blobs", n)
	}
	ctx := context.Background()
	e, err := s.Event(ctx, AllReader(), 2)
	if err != nil || string(e.Payload) != want {
		t.Errorf("event: %.80s, %v", e.Payload, err)
	}
	stored, err := s.Events(ctx, AllReader(), Filter{Stored: true, Kinds: []string{"node.finished"}})
	if err != nil || len(stored) != 2 || len(stored[0].Payload) > 400 {
		t.Errorf("stored: %d, %v", len(stored), err)
	}
	for _, read := range []func() ([]Event, error){
		func() ([]Event, error) { return s.RunEvents(ctx, "0b51d2c0-9a55-4e0e-8f3a-000000000001") },
		func() ([]Event, error) { return PeekRun(ctx, s.opts, "0b51d2c0-9a55-4e0e-8f3a-000000000001") },
	} {
		events, err := read()
		if err != nil || len(events) != 3 || string(events[1].Payload) != want {
			t.Errorf("run: %d events, %v", len(events), err)
		}
	}
	if got := query(t, s, AllReader(), `SELECT length(payload_json) FROM events WHERE id = 2`); got != fmt.Sprint(len(want)) {
		t.Errorf("query: %s", got)
	}
	if r, err := s.Verify(ctx, VerifyOptions{}); err != nil || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestBlobsThatLookLikeBlobs: an agent cannot have another's value read out by
// putting a reference to it out.
func TestBlobsThatLookLikeBlobs(t *testing.T) {
	s := newStore(t)
	secret := fmt.Sprintf(`%q`, strings.Repeat("secret", 1000))
	forged := fmt.Sprintf(`{"$blob":%q,"size":%d}`, blobHash([]byte(secret)), len(secret))
	for i, out := range []string{
		secret, forged, `[` + forged + `]`, `{"x":{"$blob":1}}`, `{"$blob":{"$blob":2}}`, `{"$blob":` + secret + `}`,
		`[` + strings.Repeat(`"`+strings.Repeat("x", 3000)+`",`, 9) + forged + `]`,
	} {
		want := fmt.Sprintf(`{"node":"n%d","outputs":{"out":%s},"status":"ok",`+blobTrace+`}`, i, out)
		events := propose(t, s, System(), delta("node.finished", want))
		e, err := s.Event(context.Background(), AllReader(), events[0].ID)
		if err != nil || string(e.Payload) != want {
			t.Errorf("%.60s came back as %.200s, %v", out, e.Payload, err)
		}
	}
}

// TestNoPayloadIsAReference: neither can an agent by a field of a kind of the
// user's own, whatever it is called.
func TestNoPayloadIsAReference(t *testing.T) {
	s := newStore(t)
	dir := filepath.Join(s.opts.Dir, "schemas")
	err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "my.thing.json"), []byte(`{"type":"object"}`), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	forged := fmt.Sprintf(`{"$blob":%q,"size":3}`, blobHash([]byte(`"x"`)))
	for _, want := range []string{
		forged, `{"x":` + forged + `}`, `{"x":[1,` + forged + `]}`, `{"$blob":{"$blob":` + forged + `}}`, `{"$blob":1,"raw":true}`,
	} {
		events := propose(t, s, Agent("a", DomainCustom), delta("my.thing", want))
		e, err := s.Event(context.Background(), AllReader(), events[0].ID)
		if err != nil || string(e.Payload) != want {
			t.Errorf("%s came back as %.200s, %v", want, e.Payload, err)
		}
	}
	verifyOK(t, s)
}

// TestBlobsOfAnything: whatever the values are, they come back as they were.
func TestBlobsOfAnything(t *testing.T) {
	b := Options{Dir: t.TempDir()}.blobs()
	leaf := rapid.OneOf(
		rapid.Just[any]("x"), rapid.Just[any](strings.Repeat("y", blobMin)), rapid.Just[any](strings.Repeat("z", blobMin/2)),
		rapid.Just[any](map[string]any{"$blob": "00", "size": 1}), rapid.Just[any](nil), rapid.Just[any](1.5),
	)
	value := rapid.Custom(func(t *rapid.T) any {
		var v any = leaf.Draw(t, "leaf")
		for range rapid.IntRange(0, 4).Draw(t, "depth") {
			if rapid.Bool().Draw(t, "list") {
				v = []any{v, leaf.Draw(t, "leaf")}
			} else {
				v = map[string]any{rapid.SampledFrom([]string{"a", "$blob", "é"}).Draw(t, "key"): v, "b": leaf.Draw(t, "leaf")}
			}
		}
		return v
	})
	rapid.Check(t, func(t *rapid.T) {
		doc, err := json.Marshal(map[string]any{"outputs": value.Draw(t, "value"), "node": "n"})
		if err == nil {
			doc, err = canonical(doc)
		}
		if err != nil {
			t.Fatal(err)
		}
		small, blobs := split(doc, []string{"outputs"})
		for h, content := range blobs {
			if err := b.put(h, content); err != nil {
				t.Fatal(err)
			}
		}
		if back, err := b.whole(small); err != nil || string(back) != string(doc) {
			t.Fatalf("%.100s came back as %.100s, %v", doc, back, err)
		}
		if len(small) > 2*blobMin || !isCanonical(small) {
			t.Fatalf("%d bytes are left; canonical %v", len(small), isCanonical(small))
		}
	})
}

// TestBlobDamage: a value that is missing or changed is found, and not read.
func TestBlobDamage(t *testing.T) {
	s := newStore(t)
	out := fmt.Sprintf(`{"out":%q}`, strings.Repeat("v", 2*blobMin))
	propose(t, s, System(), delta("node.finished", `{"node":"a","outputs":`+out+`,"status":"ok",`+blobTrace+`}`))
	var path string
	_ = s.opts.blobs().each(func(h Hash, _ fs.FileInfo) error { path = s.opts.blobs().path(h); return nil })
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[5] ^= 1
	for name, damage := range map[string]func() error{
		"changed": func() error { return os.WriteFile(path, content, 0o600) },
		"cut":     func() error { return os.Truncate(path, 10) },
		"gone":    func() error { return os.Remove(path) },
	} {
		if err := damage(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if _, err := s.Event(context.Background(), AllReader(), 1); CodeOf(err) != ErrCorrupt {
			t.Errorf("%s: %v", name, err)
		}
		r, err := s.Verify(context.Background(), VerifyOptions{})
		if err != nil || len(r.Damages) != 1 || r.Damages[0].Kind != "blob" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}
