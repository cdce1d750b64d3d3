package rmp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/runloop-os/runloop/rmp"
)

// seedFrames gives a fuzz target every frame of testdata.
func seedFrames(f *testing.F) {
	for _, b := range readAll(f, "*.bin") {
		f.Add(b)
	}
}

// seedBodies gives a fuzz target every body of testdata and every vector.
func seedBodies(f *testing.F) {
	for _, b := range readAll(f, "*.bin") {
		f.Add(b[min(len(b), rmp.PrefixLen+rmp.HeaderLen):])
	}
	for _, b := range readAll(f, "msgpack/*.bin") {
		f.Add(b[:min(len(b), 4096)])
	}
}

// FuzzHeader: a header decodes to a named error or re-encodes to itself.
func FuzzHeader(f *testing.F) {
	for _, b := range readAll(f, "*.bin") {
		f.Add(b[min(len(b), rmp.PrefixLen):])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h rmp.Header
		err := h.Decode(b, rmp.DefaultMaxBody)
		if err != nil {
			if rmp.ErrorName(err) == "" {
				t.Fatalf("unnamed error %v", err)
			}
			return
		}
		var again [rmp.HeaderLen]byte
		if h.Put(&again); !bytes.Equal(again[:], b[:rmp.HeaderLen]) {
			t.Fatalf("%x re-encodes to %x", b[:rmp.HeaderLen], again)
		}
		if err := h.Check(nil); err == nil && h.ExpiresAtMS() <= h.CreatedAtMS {
			t.Fatalf("expires before it was made: %+v", h)
		}
	})
}

// FuzzEnvelope: a body is refused by name, or its parts are in it and the
// generated decoder reads the same.
func FuzzEnvelope(f *testing.F) {
	seedBodies(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := rmp.ParseEnvelope(b)
		if err != nil {
			if !errors.Is(err, rmp.ErrBodyDecode) || e.Type != nil || e.Payload != nil || e.Meta != nil {
				t.Fatalf("%+v, %v", e, err)
			}
			return
		}
		var ref rawEnvelope
		if _, err := ref.UnmarshalMsg(b); err == nil && (ref.Type != string(e.Type) ||
			len(ref.Payload) != 0 && !bytes.Equal(ref.Payload, e.Payload) || !bytes.Equal(ref.Meta, e.Meta)) {
			t.Fatalf("generated code reads %+v", ref)
		}
		if _, _, err := rmp.MetaRoute(e.Meta); err != nil && !errors.Is(err, rmp.ErrBodyDecode) {
			t.Fatal(err)
		}
		for _, p := range payloads() {
			_ = rmp.Unmarshal(e.Payload, p)
		}
	})
}

// FuzzStream: any bytes are frames and named errors.
func FuzzStream(f *testing.F) {
	seedFrames(f)
	f.Add(append(golden(), golden()...))
	f.Fuzz(func(t *testing.T, b []byte) {
		readStream(t, b)
		if frame, err := rmp.ParseFrame(b); err == nil {
			checkTaken(t, &frame)
		} else if rmp.ErrorName(err) == "" {
			t.Fatalf("unnamed error %v", err)
		}
	})
}

// FuzzTranscode: what one transcoder writes the other reads, and comes to the
// same after a full turn.
func FuzzTranscode(f *testing.F) {
	seedBodies(f)
	for _, s := range []string{`{"a":[1,-2.5e3,"\u00e9\n",null,true]}`, `1e999`, `"\ud800"`, ` [ ] `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if text, err := rmp.AppendJSON(nil, b); (err == nil) != (rmp.Valid(b) == nil) {
			t.Fatalf("Valid and AppendJSON disagree: %v", err)
		} else if err == nil {
			fullTurn(t, text)
		}
		msg, err := rmp.AppendMsgpack(nil, b)
		if err != nil {
			return
		}
		if !json.Valid(b) {
			t.Fatalf("took %q, which is not JSON", b)
		}
		if err := rmp.Valid(msg); err != nil {
			t.Fatalf("%q became a value that is not valid: %v", b, err)
		}
		text, err := rmp.AppendJSON(nil, msg)
		if err != nil {
			t.Fatal(err)
		}
		fullTurn(t, text)
	})
}

// fullTurn checks that text, which AppendJSON wrote, is JSON and comes back
// byte for byte.
func fullTurn(t *testing.T, text []byte) {
	if !json.Valid(text) {
		t.Fatalf("wrote %q, which is not JSON", text)
	}
	msg, err := rmp.AppendMsgpack(nil, text)
	if err != nil {
		t.Fatalf("wrote %q, which is refused: %v", text, err)
	}
	if again, err := rmp.AppendJSON(nil, msg); err != nil || !bytes.Equal(again, text) {
		t.Fatalf("%q came back as %q, %v", text, again, err)
	}
}
