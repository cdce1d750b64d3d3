package rmp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/rmp"
)

// TestStreamGoesOn puts each bad frame between two good ones. After an error
// that leaves the stream in step the second good frame must be read, after any
// other nothing more.
func TestStreamGoesOn(t *testing.T) {
	for file, bad := range readAll(t, "error-*.bin") {
		if isCut(bad) {
			continue // what follows would be taken for its rest
		}
		stream := append(append(golden(), bad...), golden()...)
		for how, src := range sources(stream) {
			r := rmp.NewReader(src, rmp.Codec{})
			var f rmp.Frame
			if err := r.Next(&f); err != nil {
				t.Fatalf("%s: first frame: %v", file, err)
			}
			err := r.Next(&f)
			if err == nil || rmp.ErrorName(err) == "" {
				t.Errorf("%s, %s: %v", file, how, err)
				continue
			}
			next := r.Next(&f)
			if whole := !strings.HasSuffix(file, "-and-too-large"); rmp.InStep(err) && whole {
				if next != nil || !bytes.Equal(f.Bytes, golden()) || r.Next(&f) != io.EOF {
					t.Errorf("%s, %s: after %v came %v", file, how, err, next)
				}
			} else if next == nil || rmp.InStep(next) || r.Next(&f) != next {
				t.Errorf("%s, %s: after %v came %v", file, how, err, next)
			}
		}
	}
}

// isCut reports whether b ends before the frame does that it announces.
func isCut(b []byte) bool {
	if len(b) < rmp.PrefixLen+rmp.HeaderLen {
		return true
	}
	frameLen := binary.BigEndian.Uint32(b)
	bodyLen := binary.BigEndian.Uint32(b[rmp.PrefixLen+16:])
	return frameLen == rmp.HeaderLen+bodyLen && len(b) < rmp.PrefixLen+int(frameLen)
}

// TestEveryTruncation cuts a stream of two frames at each byte.
func TestEveryTruncation(t *testing.T) {
	stream := append(golden(), golden()...)
	for n := range len(stream) + 1 {
		for how, src := range sources(stream[:n]) {
			r := rmp.NewReader(src, rmp.Codec{})
			var f rmp.Frame
			var err error
			whole := -1
			for err == nil {
				whole++
				err = r.Next(&f)
			}
			rest := n % 164
			want := io.EOF
			if rest >= rmp.PrefixLen+rmp.HeaderLen {
				want = rmp.ErrLengthMismatch
			} else if rest > 0 {
				want = rmp.ErrTruncatedHeader
			}
			if whole != n/164 || !errors.Is(err, want) {
				t.Errorf("%d bytes %s: %d frames, then %v, want %v", n, how, whole, err, want)
			}
		}
	}
}

// TestAnnouncedLengths: a stream that announces much and sends little makes
// the reader hold little.
func TestAnnouncedLengths(t *testing.T) {
	for _, n := range []uint32{0, 1, rmp.DefaultMaxBody, rmp.DefaultMaxBody + 1, 1 << 31, 1<<32 - 1} {
		b := put32(16, n)(put32(-4, rmp.HeaderLen+n)(golden()))
		var err error
		got := allocated(func() {
			var f rmp.Frame
			err = rmp.NewReader(bytes.NewReader(b), rmp.Codec{}).Next(&f)
		})
		if rmp.ErrorName(err) == "" || got > 128<<10 {
			t.Errorf("announcing %d: %v, %d bytes allocated", n, err, got)
		}
	}
}

// TestLargeFrames interleaves sizes around the reader's own buffer sizes.
func TestLargeFrames(t *testing.T) {
	var stream []byte
	sizes := []int{0, 5000, 1, 100 << 10, 300 << 10, 10, 64 << 10, 2 << 20, 3}
	var want [][]byte
	for i, n := range sizes {
		mark := len(stream)
		var err error
		stream, err = rmp.AppendFrame(stream, &rmp.Message{SchemaID: rmp.CTArtifact, TTLMS: 1,
			MsgID: uint64(i), Raw: pack(bytes.Repeat([]byte{byte(i)}, n))})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, stream[mark:])
	}
	for _, portion := range []int{1000, 4096, 70 << 10, len(stream)} {
		r := rmp.NewReader(&portions{b: stream, n: portion}, rmp.Codec{})
		var f rmp.Frame
		for i := range sizes {
			if err := r.Next(&f); err != nil || !bytes.Equal(f.Bytes, want[i]) {
				t.Fatalf("portions of %d: frame %d: %v", portion, i, err)
			}
		}
		if err := r.Next(&f); err != io.EOF {
			t.Errorf("portions of %d: at the end: %v", portion, err)
		}
	}
}

func TestBuffered(t *testing.T) {
	stream := append(append(golden(), put32(8, 1)(golden())...), golden()...)
	r := rmp.NewReader(bytes.NewReader(append(stream, golden()[:80]...)), rmp.Codec{})
	var f rmp.Frame
	if r.Buffered() {
		t.Error("a fresh reader has a frame")
	}
	want := []struct {
		err      error
		buffered bool
	}{{nil, true}, {rmp.ErrInvalidHeaderFlags, true}, {nil, false}, {rmp.ErrLengthMismatch, false}}
	for i, w := range want {
		if err := r.Next(&f); !errors.Is(err, w.err) || r.Buffered() != w.buffered {
			t.Errorf("frame %d: %v, buffered %v", i, err, r.Buffered())
		}
	}
}

func TestSetCodec(t *testing.T) {
	r := rmp.NewReader(bytes.NewReader(bytes.Repeat(golden(), 3)), rmp.Codec{MaxBody: 96})
	var f rmp.Frame
	if err := r.Next(&f); err != nil {
		t.Fatal(err)
	}
	r.SetCodec(rmp.Codec{})
	if err := r.Next(&f); err != nil {
		t.Fatal(err)
	}
	r.SetCodec(rmp.Codec{MaxBody: 95})
	if err := r.Next(&f); !errors.Is(err, rmp.ErrBodyTooLarge) {
		t.Errorf("one byte over the new limit: %v", err)
	}
}

func TestSourceErrors(t *testing.T) {
	broken := errors.New("broken")
	for n := range 170 {
		src := io.MultiReader(bytes.NewReader(append(golden(), golden()...)[:n]), errReader{broken})
		r := rmp.NewReader(src, rmp.Codec{})
		var f rmp.Frame
		err := r.Next(&f)
		if n >= 164 {
			if err != nil {
				t.Errorf("%d bytes: %v", n, err)
			}
			err = r.Next(&f)
		}
		if !errors.Is(err, broken) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	var f rmp.Frame
	if err := rmp.NewReader(errReader{nil}, rmp.Codec{}).Next(&f); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a source without progress: %v", err)
	}
}

// TestTimeouts interrupts a stream of good and bad frames before every byte.
func TestTimeouts(t *testing.T) {
	stream := append(append(golden(), put32(8, 1)(golden())...), golden()...)
	src := &hesitant{b: stream}
	r := rmp.NewReader(src, rmp.Codec{})
	var f rmp.Frame
	for _, want := range []error{nil, rmp.ErrInvalidHeaderFlags, nil, io.EOF} {
		err := r.Next(&f)
		for ; errors.Is(err, os.ErrDeadlineExceeded); err = r.Next(&f) {
			src.interrupted++
		}
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if src.interrupted != len(stream) {
		t.Errorf("interrupted %d times", src.interrupted)
	}
}

// hesitant is a source that gives a byte at a time, each after a timeout.
type hesitant struct {
	b           []byte
	gave        bool
	interrupted int
}

func (h *hesitant) Read(to []byte) (int, error) {
	if h.gave = !h.gave; h.gave && len(h.b) > 0 {
		return 0, os.ErrDeadlineExceeded
	}
	if len(h.b) == 0 {
		return 0, io.EOF
	}
	to[0] = h.b[0]
	h.b = h.b[1:]
	return 1, nil
}

// errReader returns no bytes and its error.
type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func TestWriter(t *testing.T) {
	var out countingWriter
	w := rmp.NewWriter(&out, rmp.Codec{})
	m := goldenMessage()
	for range 1000 {
		if err := errors.Join(w.Message(&m), w.Frame(golden())); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Message(&rmp.Message{}); !errors.Is(err, rmp.ErrUnknownSchema) {
		t.Errorf("bad message: %v", err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), bytes.Repeat(golden(), 2000)) {
		t.Error("what was written is not what was given")
	}
	if out.writes > 10 {
		t.Errorf("%d writes for 2000 frames", out.writes)
	}
	w = rmp.NewWriter(brokenWriter{}, rmp.Codec{})
	if err := errors.Join(w.Flush(), w.Message(&m)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if w.Flush() != io.ErrClosedPipe || w.Message(&m) != io.ErrClosedPipe || w.Frame(nil) != io.ErrClosedPipe {
			t.Error("an error of the destination was forgotten")
		}
	}
}

// countingWriter is a buffer that counts writes.
type countingWriter struct {
	bytes.Buffer
	writes int
}

func (c *countingWriter) Write(b []byte) (int, error) {
	c.writes++
	return c.Buffer.Write(b)
}

// brokenWriter fails.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestReaderReusesItsBuffer(t *testing.T) {
	stream := bytes.Repeat(golden(), 10000)
	n := allocated(func() {
		r := rmp.NewReader(bytes.NewReader(stream), rmp.Codec{})
		var f rmp.Frame
		for r.Next(&f) == nil {
		}
	})
	if n > 256<<10 {
		t.Errorf("%d bytes allocated for a stream of %d", n, len(stream))
	}
	// A hostile prefix of the next frame must not be trusted either.
	short := append(golden(), binary.BigEndian.AppendUint32(nil, 1<<31)...)
	r := rmp.NewReader(bytes.NewReader(short), rmp.Codec{})
	var f rmp.Frame
	if err := r.Next(&f); err != nil || r.Buffered() {
		t.Errorf("%v, buffered %v", err, r.Buffered())
	}
}
