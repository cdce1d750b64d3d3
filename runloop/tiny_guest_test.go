package runloop

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lukechampine.com/blake3"

	"github.com/runloop-os/runloop/rmp"
)

// tinyGuest is a small agent, a WebAssembly module of its own: it makes its
// hostcalls one after the other, writes its output and exits.
type tinyGuest struct {
	calls  []tinyCall
	output string
	exit   int
}

type tinyCall struct {
	op   string
	args map[string]any
}

// Places in the memory of a tiny guest.
const (
	tinyIOVec  = 16   // address and length of the output
	tinyRead   = 64   // where answers go
	tinyData   = 4096 // requests, then the output
	tinyAnswer = 1024 // how much of an answer is read
)

func leb(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

// sleb is a signed LEB128, for constants.
func sleb(n int) []byte {
	var b []byte
	for {
		c := byte(n & 0x7f)
		n >>= 7
		if n == 0 && c&0x40 == 0 || n == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func section(id byte, body ...[]byte) []byte {
	all := slices.Concat(body...)
	return slices.Concat([]byte{id}, leb(len(all)), all)
}

func named(s string) []byte { return append(leb(len(s)), s...) }

// module compiles the guest.
func (g *tinyGuest) module(t testing.TB) []byte {
	t.Helper()
	data, code := []byte{}, []byte{}
	i32 := func(n int) { code = append(append(code, 0x41), sleb(n)...) }
	call := func(f byte) { code = append(code, 0x10, f) }
	for _, c := range g.calls {
		doc, err := json.Marshal(map[string]any{"op": c.op, "args": c.args})
		if err != nil {
			t.Fatal(err)
		}
		req, err := rmp.AppendMsgpack(nil, doc)
		if err != nil {
			t.Fatal(err)
		}
		i32(tinyData + len(data))
		i32(len(req))
		call(0) // hostcall
		code = append(code, 0x1a)
		i32(tinyRead)
		i32(tinyAnswer)
		call(1) // hostcall_read
		code = append(code, 0x1a)
		data = append(data, req...)
	}
	vec := binary.LittleEndian.AppendUint32(nil, uint32(tinyData+len(data)))
	vec = binary.LittleEndian.AppendUint32(vec, uint32(len(g.output)))
	data = append(data, g.output...)
	i32(1)
	i32(tinyIOVec)
	i32(1)
	i32(tinyIOVec + 8)
	call(2) // fd_write
	code = append(code, 0x1a)
	if g.exit != 0 {
		i32(g.exit)
		call(3) // proc_exit
	}
	body := slices.Concat([]byte{0}, code, []byte{0x0b})
	imported := func(mod, name string, typ byte) []byte {
		return slices.Concat(named(mod), named(name), []byte{0, typ})
	}
	segment := func(at int, b []byte) []byte {
		return slices.Concat([]byte{0, 0x41}, sleb(at), []byte{0x0b}, leb(len(b)), b)
	}
	const wasi = "wasi_snapshot_preview1"
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, []byte{4, 0x60, 2, 0x7f, 0x7f, 1, 0x7f, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f, 0x60, 1, 0x7f, 0, 0x60, 0, 0}),
		section(2, []byte{4}, imported("runloop", "hostcall", 0), imported("runloop", "hostcall_read", 0),
			imported(wasi, "fd_write", 1), imported(wasi, "proc_exit", 2)),
		section(3, []byte{1, 3}),
		section(5, []byte{1, 0, 2}),
		section(7, []byte{2}, named("memory"), []byte{2, 0}, named("_start"), []byte{0, 4}),
		section(10, []byte{1}, leb(len(body)), body),
		section(11, []byte{2}, segment(tinyIOVec, vec), segment(tinyData, data)))
}

// install writes the guest as a bundle below dir.
func (g *tinyGuest) install(t testing.TB, dir, name string) {
	t.Helper()
	module := g.module(t)
	sum := blake3.Sum256(module)
	manifest := fmt.Sprintf(`[agent]
name = %q
version = "1.0.0"
kind = "wasm32-wasip1"
entry_wasm = { path = "tiny.wasm", blake3 = %q }
[ports.in]
in = "any"
[ports.out]
out = "any"
`, name, hex.EncodeToString(sum[:]))
	for file, content := range map[string]string{
		"manifest.toml": manifest, "policy.caps": "[capabilities]\ntime = true\n", "tiny.wasm": string(module),
	} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// randomGuest draws a guest whose calls all differ.
func randomGuest(r *rand.Rand) *tinyGuest {
	g := &tinyGuest{output: fmt.Sprintf(`{"out":%d}`, r.IntN(1000))}
	for range 1 + r.IntN(5) {
		g.calls = append(g.calls, randomCall(r))
	}
	return g
}

func randomCall(r *rand.Rand) tinyCall {
	switch r.IntN(3) {
	case 0:
		return tinyCall{"time.now", map[string]any{"nonce": r.IntN(1 << 30)}}
	case 1: // denied, which is an answer as well
		return tinyCall{"kb.search", map[string]any{"text": fmt.Sprint(r.IntN(1 << 30))}}
	}
	return tinyCall{"log", map[string]any{"level": "info", "message": fmt.Sprint(r.IntN(1 << 30))}}
}

// mutate changes the guest in one way, and says what a replay must find first:
// the kind of difference and, for hostcalls, the number of the call.
func (g *tinyGuest) mutate(r *rand.Rand) (out *tinyGuest, kind string, call int) {
	out = &tinyGuest{calls: slices.Clone(g.calls), output: g.output}
	n, k := len(g.calls), r.IntN(len(g.calls))
	switch r.IntN(7) {
	case 0: // other arguments, or another operation
		out.calls[k] = randomCall(r)
		return out, "hostcalls", k + 1
	case 1:
		out.calls = slices.Delete(out.calls, k, k+1)
		return out, "hostcalls", k + 1
	case 2:
		k = r.IntN(n + 1)
		out.calls = slices.Insert(out.calls, k, randomCall(r))
		return out, "hostcalls", k + 1
	case 3:
		if k+1 < n {
			out.calls[k], out.calls[k+1] = out.calls[k+1], out.calls[k]
			return out, "hostcalls", k + 1
		}
	case 4:
		out.exit = 1 + r.IntN(200)
		return out, "status", 0
	case 5: // no JSON at all
		out.output = strings.Repeat("x", 1+r.IntN(9))
		return out, "status", 0
	}
	out.output = fmt.Sprintf(`{"out":%d}`, 1000+r.IntN(1000))
	return out, "outputs", 0
}
