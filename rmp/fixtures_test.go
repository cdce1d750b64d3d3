package rmp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/rmp"
)

// put32 returns an edit that writes v at an offset of the header.
func put32(off int, v uint32) func([]byte) []byte {
	return func(b []byte) []byte {
		binary.BigEndian.PutUint32(b[rmp.PrefixLen+off:], v)
		return b
	}
}

// put64 is put32 for eight bytes.
func put64(off int, v uint64) func([]byte) []byte {
	return func(b []byte) []byte {
		binary.BigEndian.PutUint64(b[rmp.PrefixLen+off:], v)
		return b
	}
}

// body returns an edit that replaces the body.
func body(s string) func([]byte) []byte {
	return func([]byte) []byte { return frameOf([]byte(s)) }
}

// frameCase is a golden frame with something wrong in it. Its fixture is
// called error-<want>-<name>.
type frameCase struct {
	name string
	want *rmp.Error
	edit func([]byte) []byte
}

const typeReport = "\xa4type\xaferror.report.v1"

var frameCases = []frameCase{
	{"empty", rmp.ErrTruncatedHeader, func([]byte) []byte { return []byte{0} }},
	{"prefix-only", rmp.ErrTruncatedHeader, func(b []byte) []byte { return b[:4] }},
	{"63-bytes", rmp.ErrTruncatedHeader, func(b []byte) []byte { return b[:67] }},
	{"frame-len-63", rmp.ErrTruncatedHeader, put32(-4, 63)},
	{"frame-len-0-bad-magic", rmp.ErrTruncatedHeader, func(b []byte) []byte { return put32(0, 0)(put32(-4, 0)(b)) }},
	{"lower-case", rmp.ErrInvalidMagic, put32(0, 0x726d7030)},
	{"and-version", rmp.ErrInvalidMagic, put64(0, 0x524d5031_0001_0040)},
	{"version-1", rmp.ErrUnsupportedVersion, put32(4, 0x0001_0040)},
	{"header-len-65", rmp.ErrUnsupportedVersion, put32(4, 65)},
	{"and-flags", rmp.ErrUnsupportedVersion, func(b []byte) []byte { return put32(8, 1)(put32(4, 0)(b)) }},
	{"flags", rmp.ErrInvalidHeaderFlags, put32(8, 0x80000000)},
	{"reserved2", rmp.ErrInvalidHeaderFlags, put32(12, 10<<16|1)},
	{"reserved4", rmp.ErrInvalidHeaderFlags, put32(60, 1)},
	{"and-too-large", rmp.ErrInvalidHeaderFlags, func(b []byte) []byte { return put32(16, math.MaxUint32)(put32(8, 1)(b)) }},
	{"max-plus-1", rmp.ErrBodyTooLarge, put32(16, rmp.DefaultMaxBody+1)},
	{"4g", rmp.ErrBodyTooLarge, func(b []byte) []byte { return put32(-4, math.MaxUint32)(put32(16, math.MaxUint32)(b)) }},
	{"and-mismatch", rmp.ErrBodyTooLarge, func(b []byte) []byte { return put32(-4, 64)(put32(16, 1<<31)(b)) }},
	{"one-less", rmp.ErrLengthMismatch, put32(-4, 159)},
	{"one-more", rmp.ErrLengthMismatch, put32(-4, 161)},
	{"4g", rmp.ErrLengthMismatch, put32(-4, math.MaxUint32)},
	{"body-cut", rmp.ErrLengthMismatch, func(b []byte) []byte { return b[:len(b)-1] }},
	{"no-body", rmp.ErrLengthMismatch, func(b []byte) []byte { return b[:68] }},
	{"and-schema", rmp.ErrLengthMismatch, func(b []byte) []byte { return put32(12, 0)(put32(-4, 64)(b)) }},
	{"zero", rmp.ErrUnknownSchema, put32(12, 0)},
	{"gap", rmp.ErrUnknownSchema, put32(12, 11<<16)},
	{"vendor", rmp.ErrUnknownSchema, put32(12, 0x1000<<16)},
	{"max", rmp.ErrUnknownSchema, put32(12, math.MaxUint16<<16)},
	{"and-ttl", rmp.ErrUnknownSchema, func(b []byte) []byte { return put64(28, 0)(put32(12, 0)(b)) }},
	{"zero", rmp.ErrInvalidTTL, put64(28, 0)},
	{"and-body", rmp.ErrInvalidTTL, func([]byte) []byte { return put64(28, 0)(frameOf(nil)) }},
	{"max", rmp.ErrInvalidExpiry, put64(28, math.MaxUint64)},
	{"one-over", rmp.ErrInvalidExpiry, func(b []byte) []byte { return put64(28, 1)(put64(20, math.MaxUint64)(b)) }},
	{"empty", rmp.ErrBodyDecode, body("")},
	{"nil", rmp.ErrBodyDecode, body("\xc0")},
	{"array", rmp.ErrBodyDecode, body("\x93\xa4type\xaferror.report.v1\xc0")},
	{"no-payload", rmp.ErrBodyDecode, body("\x81" + typeReport)},
	{"no-type", rmp.ErrBodyDecode, body("\x81\xa7payload\xc0")},
	{"type-not-string", rmp.ErrBodyDecode, body("\x82\xa4type\x01\xa7payload\xc0")},
	{"type-bin", rmp.ErrBodyDecode, body("\x82\xa4type\xc4\x01e\xa7payload\xc0")},
	{"type-bad-utf8", rmp.ErrBodyDecode, body("\x82\xa4type\xa1\xff\xa7payload\xc0")},
	{"meta-not-map", rmp.ErrBodyDecode, body("\x83" + typeReport + "\xa7payload\xc0\xa4meta\x90")},
	{"meta-nil", rmp.ErrBodyDecode, body("\x83" + typeReport + "\xa7payload\xc0\xa4meta\xc0")},
	{"trailing", rmp.ErrBodyDecode, body("\x82" + typeReport + "\xa7payload\xc0\xc0")},
	{"dup-type", rmp.ErrBodyDecode, body("\x83" + typeReport + "\xa7payload\xc0" + typeReport)},
	{"dup-unknown", rmp.ErrBodyDecode, body("\x84" + typeReport + "\xa7payload\xc0\xa1x\xc0\xa1x\xc0")},
	{"int-key", rmp.ErrBodyDecode, body("\x83" + typeReport + "\xa7payload\xc0\x01\xc0")},
	{"bin-key", rmp.ErrBodyDecode, body("\x83" + typeReport + "\xa7payload\xc0\xc4\x01k\xc0")},
	{"bad-utf8-key", rmp.ErrBodyDecode, body("\x83" + typeReport + "\xa7payload\xc0\xa1\xff\xc0")},
	{"int-key-inside", rmp.ErrBodyDecode, body("\x82" + typeReport + "\xa7payload\x91\x81\x01\xc0")},
	{"bad-utf8-key-inside", rmp.ErrBodyDecode, body("\x82" + typeReport + "\xa7payload\x81\xa2\xc3\x28\xc0")},
	{"reserved-byte", rmp.ErrBodyDecode, body("\x82" + typeReport + "\xa7payload\xc1")},
	{"value-missing", rmp.ErrBodyDecode, body("\x82" + typeReport + "\xa7payload")},
	{"map-claims-4g", rmp.ErrBodyDecode, body("\xdf\xff\xff\xff\xff")},
	{"bin-claims-4g", rmp.ErrBodyDecode, body("\x82" + typeReport + "\xa7payload\xc6\xff\xff\xff\xff")},
	{"length-cut", rmp.ErrBodyDecode, body("\x82" + typeReport + "\xa7payload\xc6\xff")},
	{"too-deep", rmp.ErrBodyDecode, body("\x82" + typeReport + "\xa7payload" +
		strings.Repeat("\x91", rmp.MaxFrameDepth) + "\xc0")},
	{"other", rmp.ErrBodyTypeMismatch, body("\x82\xa4type\xb1intent.control.v1\xa7payload\xc0")},
	{"longer", rmp.ErrBodyTypeMismatch, body("\x82\xa4type\xb0error.report.v10\xa7payload\xc0")},
	{"empty", rmp.ErrBodyTypeMismatch, body("\x82\xa4type\xa0\xa7payload\xc0")},
}

// TestFixtures keeps the files in testdata what the table says, so that an
// implementation in another language can be run over the same frames.
func TestFixtures(t *testing.T) {
	want := map[string][]byte{
		"golden.bin": golden(),
		// What a receiver refuses although the codec takes it.
		"receiver-Expired.bin":   golden(),
		"receiver-Duplicate.bin": append(golden(), golden()...),
	}
	for _, c := range frameCases {
		want["error-"+c.want.Name()+"-"+c.name+".bin"] = c.edit(golden())
	}
	for name, b := range want {
		path := filepath.Join(fixtures, name)
		if *update {
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s is not what the table says (%v); run go test -update", name, err)
		}
	}
	if files := readAll(t, "*.bin"); len(files) != len(want) {
		t.Errorf("testdata has %d frames, the table %d", len(files), len(want))
	}
}

// TestFrameErrors drives each fixture through every way of reading a frame.
func TestFrameErrors(t *testing.T) {
	covered := make(map[string]bool)
	for file, b := range readAll(t, "error-*.bin") {
		t.Run(file, func(t *testing.T) {
			name, _, _ := strings.Cut(strings.TrimPrefix(file, "error-"), "-")
			covered[name] = true
			f, err := rmp.ParseFrame(b)
			if rmp.ErrorName(err) != name {
				t.Errorf("ParseFrame: %v, want %s", err, name)
			}
			if f.Bytes != nil || f.Payload != nil {
				t.Error("ParseFrame returned a frame with its error")
			}
			for how, src := range sources(b) {
				if err := rmp.NewReader(src, rmp.Codec{}).Next(&f); rmp.ErrorName(err) != name {
					t.Errorf("Reader of %s: %v, want %s", how, err, name)
				}
			}
		})
	}
	for _, c := range frameCases {
		delete(covered, c.want.Name())
	}
	if len(covered) != 0 {
		t.Errorf("fixtures of names that no case has: %v", covered)
	}
	if got := errors.Is(rmp.ErrExpired, rmp.ErrDuplicate); got {
		t.Error("two errors are one")
	}
}

// TestEveryErrorHasAFixture compares the table of cases with the spec's.
func TestEveryErrorHasAFixture(t *testing.T) {
	have := make(map[*rmp.Error]int)
	for _, c := range frameCases {
		have[c.want]++
	}
	for _, e := range []*rmp.Error{
		rmp.ErrTruncatedHeader, rmp.ErrInvalidMagic, rmp.ErrUnsupportedVersion,
		rmp.ErrInvalidHeaderFlags, rmp.ErrBodyTooLarge, rmp.ErrLengthMismatch,
		rmp.ErrUnknownSchema, rmp.ErrInvalidTTL, rmp.ErrInvalidExpiry,
		rmp.ErrBodyDecode, rmp.ErrBodyTypeMismatch,
	} {
		if have[e] == 0 {
			t.Errorf("no fixture for %s", e.Name())
		}
	}
	if len(have) != 11 {
		t.Errorf("%d errors in fixtures, the table has 11", len(have))
	}
}

// sources returns b as streams that arrive in different portions.
func sources(b []byte) map[string]io.Reader {
	return map[string]io.Reader{
		"all at once":  bytes.NewReader(b),
		"byte by byte": &portions{b: b, n: 1},
		"by seven":     &portions{b: b, n: 7},
	}
}

// portions is a source that gives n bytes at a time.
type portions struct {
	b []byte
	n int
}

func (p *portions) Read(to []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(to, p.b[:min(p.n, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}
