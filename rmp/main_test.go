package rmp_test

import (
	"encoding/binary"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/rmp"
	"github.com/tinylib/msgp/msgp"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite the fixtures in testdata/rmp")

// fixtures is where the frames and vectors are, seen from this package.
const fixtures = "../testdata/rmp"

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}

// goldenHex is the frame of spec/01 "Golden vector".
const goldenHex = `
	000000a0 524d5030 00000040 00000000 000a0000 00000060 00000193 23645c7b
	00000000 0000ea60 11223344 55667788 99aabbcc ddeeff00 00000000 0000002a
	00000000 83a47479 7065af65 72726f72 2e726570 6f72742e 7631a770 61796c6f
	616482a4 636f6465 b0746f6f 6c2e756e 61766169 6c61626c 65a76d65 73736167
	65ae6d61 696c6572 206f6666 6c696e65 a46d6574 6181aa6f 70656e69 6e675f69
	64cd04d2`

// golden returns a fresh copy of the golden frame.
func golden() []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(goldenHex), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// goldenMessage encodes to golden.
func goldenMessage() rmp.Message {
	return rmp.Message{
		SchemaID:    rmp.CTErrorReport,
		CreatedAtMS: 1731465600123,
		TTLMS:       60000,
		TraceID:     mustTrace("112233445566778899aabbccddeeff00"),
		MsgID:       42,
		Payload:     &rmp.ErrorReport{Code: "tool.unavailable", Message: "mailer offline"},
		RawMeta:     pack(map[string]any{"opening_id": uint64(1234)}),
	}
}

func mustTrace(s string) rmp.TraceID {
	t, err := rmp.ParseTraceID(s)
	if err != nil {
		panic(err)
	}
	return t
}

// pack returns v as MsgPack.
func pack(v any) []byte {
	b, err := msgp.AppendIntf(nil, v)
	if err != nil {
		panic(err)
	}
	return b
}

// frameOf puts length prefix and header of the golden frame before body.
func frameOf(body []byte) []byte {
	b := append(golden()[:rmp.PrefixLen+rmp.HeaderLen:rmp.PrefixLen+rmp.HeaderLen], body...)
	binary.BigEndian.PutUint32(b, uint32(rmp.HeaderLen+len(body)))
	binary.BigEndian.PutUint32(b[rmp.PrefixLen+16:], uint32(len(body)))
	return b
}

// readAll returns the contents of the files that match, by base name. It
// fails when there are none: an empty glob would prove nothing.
func readAll(tb testing.TB, pattern string) map[string][]byte {
	tb.Helper()
	names, err := filepath.Glob(filepath.Join(fixtures, pattern))
	if err != nil || len(names) == 0 {
		tb.Fatalf("no fixtures match %s (%v)", pattern, err)
	}
	files := make(map[string][]byte)
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		files[strings.TrimSuffix(filepath.Base(name), ".bin")] = b
	}
	return files
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
