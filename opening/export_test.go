package opening

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"lukechampine.com/blake3"
)

// bookBundle is a run of order_book with everything a bundle can hold.
func bookBundle(t testing.TB) *RunBundle {
	t.Helper()
	store := &memStore{}
	bookRun(t, store)
	zero := strings.Repeat("0", 64)
	at := LedgerHead{EventID: 6, Chain: zero, Seal: zero}
	part := &LedgerPart{Before: at}
	records := slices.Insert(store.records, 2, Record{Kind: "note.added", Payload: json.RawMessage(`{"body":"of another run"}`)})
	for i, r := range records {
		e := LedgerEvent{Kind: r.Kind, Payload: r.Payload}
		e.ID, e.TSMillis, e.Actor, e.Scope = int64(i)+7, 1000+int64(i), "system", "system"
		e.Provenance = mustJSON(map[string]any{"trace_id": traceName(testTrace), "rationale": "for ada@example.com"})
		e.Hash = e.hash()
		k := LedgerLink{e.ID, e.TSMillis, e.Hash}
		var err error
		if at, err = at.next(k); err != nil {
			t.Fatal(err)
		}
		part.Links = append(part.Links, k)
		if e.Kind != "note.added" {
			part.Events = append(part.Events, e)
		}
	}
	part.After = at
	tr, err := LoadTrace(t.Context(), part, testTrace)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("a letter to Ada")
	sum := sha256.Sum256(text)
	return &RunBundle{
		Trace: tr, TraceJSON: tr.JSON(), Ledger: part,
		Blobs:  map[string][]byte{hex.EncodeToString(sum[:]): text},
		Agents: map[string][]byte{"finder/manifest.toml": []byte("[agent]\n"), "finder/policy.caps": {}, "crew.wasm": []byte("\x00asm")},
	}
}

func encoded(t testing.TB, b *RunBundle) []byte {
	t.Helper()
	data, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRunBundleRoundTrip(t *testing.T) {
	b := bookBundle(t)
	data := encoded(t, b)
	if again := encoded(t, b); !bytes.Equal(again, data) {
		t.Error("the same run gave two files")
	}
	back, err := ParseRunBundle(data)
	if err != nil {
		t.Fatal(err)
	}
	if back.Head != b.Head || !bytes.Equal(back.TraceJSON, b.TraceJSON) || len(back.Ledger.Events) != len(b.Ledger.Events) || len(back.Blobs) != 1 {
		t.Errorf("read back it is %+v", back)
	}
	if again := encoded(t, back); !bytes.Equal(again, data) {
		t.Error("read and written again it is another file")
	}
	if err := fstest.TestFS(back.AgentFS(), "crew.wasm", "finder/manifest.toml", "finder/policy.caps"); err != nil {
		t.Error(err)
	}
	if found, _ := fs.Glob(back.AgentFS(), "*/manifest.toml"); len(found) != 1 {
		t.Errorf("found %v", found)
	}
	// Tools that know nothing of run bundles read it too.
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if h, err := tar.NewReader(z).Next(); err != nil || h.Name != fileManifest {
		t.Errorf("the first file is %v, %v", h, err)
	}
}

// TestRunBundleFlips changes every byte, one at a time, in each of several ways.
func TestRunBundleFlips(t *testing.T) {
	data := encoded(t, bookBundle(t))
	refused := func(what string, bad []byte) {
		if _, err := ParseRunBundle(bad); !errors.Is(err, ErrRunBundle) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	for i := range data {
		for _, mask := range []byte{0x01, 0x80, 0xff} {
			data[i] ^= mask
			refused(fmt.Sprintf("byte %d of %d", i, len(data)), data)
			data[i] ^= mask
		}
	}
	for range 200 {
		refused("cut", data[:rand.IntN(len(data))])
		refused("longer", append(bytes.Clone(data), make([]byte, 1+rand.IntN(3))...))
	}
}

// TestRunBundleLargeFlips does the same at random places of a large one.
func TestRunBundleLargeFlips(t *testing.T) {
	b := bookBundle(t)
	noise := rand.NewChaCha8([32]byte{7})
	for range 8 {
		blob := make([]byte, 64<<10)
		noise.Read(blob)
		sum := sha256.Sum256(blob)
		b.Blobs[hex.EncodeToString(sum[:])] = blob
	}
	data := encoded(t, b)
	times := 100
	if os.Getenv("RUNLOOP_SOAK") != "" {
		times = 20_000
	}
	for range times {
		i, mask := rand.IntN(len(data)), byte(1+rand.IntN(255))
		data[i] ^= mask
		if _, err := ParseRunBundle(data); !errors.Is(err, ErrRunBundle) {
			t.Fatalf("byte %d ^ %#x: got %v", i, mask, err)
		}
		data[i] ^= mask
	}
	if _, err := ParseRunBundle(data); err != nil {
		t.Fatal(err)
	}
}

// sealed packs files as an adversary would: with a manifest, a head and a digest
// that fit whatever is in them.
func sealed(t *testing.T, change func(m *runManifest, files map[string][]byte)) []byte {
	t.Helper()
	b := bookBundle(t)
	files, err := b.files()
	if err != nil {
		t.Fatal(err)
	}
	m := b.manifest(files)
	change(m, files)
	m.Files = nil
	for _, name := range sortedKeys(files) {
		m.Files = append(m.Files, runFile{name, len(files[name]), hashHex(files[name])})
	}
	m.Head = ""
	m.Head = hashHex(mustJSON(m))
	files[fileManifest] = mustJSON(m)
	data, err := packBundle(files)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestRunBundleForged changes the content and makes every digest around it fit:
// what the ledger's chain and the trace's hashes say still shows it.
func TestRunBundleForged(t *testing.T) {
	edit := func(name, old, new string) func(*runManifest, map[string][]byte) {
		return func(_ *runManifest, files map[string][]byte) {
			changed := bytes.Replace(files[name], []byte(old), []byte(new), 1)
			if bytes.Equal(changed, files[name]) {
				t.Fatalf("%s does not hold %s", name, old)
			}
			files[name] = changed
		}
	}
	if _, err := ParseRunBundle(sealed(t, func(*runManifest, map[string][]byte) {})); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*runManifest, map[string][]byte){
		"output_hash":                  edit(fileTrace, `"stars":4`, `"stars":5`),
		"not what the events say":      edit(fileTrace, `"title":"Ice"`, `"title":"Fire"`),
		"its hash is":                  edit(fileEvents, `for ada@`, `for bob@`),
		"is not in the chain":          edit(fileEvents, `"ts_ms":1003}`, `"ts_ms":1004}`),
		"not in canonical form":        edit(fileEvents, `{"actor"`, `{ "actor"`),
		"the chain ends":               edit(fileLinks, "7 1000 ", "7 1001 "),
		"comes after":                  edit(fileLinks, "8 1001 ", "7 1001 "),
		"is not a link":                edit(fileLinks, "8 1001 ", "8 +1001 "),
		"is not a hash":                edit(fileLinks, "8 1001 ", "8 1001 0"),
		"is not the opening":           edit(fileOpening, `"version":0`, `"version":1`),
		"is not its content's SHA-256": func(_ *runManifest, f map[string][]byte) { f[dirBlobs+strings.Repeat("0", 64)] = nil },
		"belong together":              func(_ *runManifest, f map[string][]byte) { delete(f, fileLinks) },
		"names 9 events":               func(m *runManifest, _ map[string][]byte) { m.Ledger.Events = 9 },
		"its format":                   func(m *runManifest, _ map[string][]byte) { m.Format = "runloop.run/9" },
		"not that of the trace":        func(m *runManifest, _ map[string][]byte) { m.FinalHash = strings.Repeat("0", 64) },
		"differ about what":            func(m *runManifest, _ map[string][]byte) { m.Redacted = true },
		"does not end": func(_ *runManifest, f map[string][]byte) {
			f[fileEvents] = bytes.TrimSuffix(f[fileEvents], []byte("\n"))
		},
		"not a valid trace": func(_ *runManifest, f map[string][]byte) { delete(f, fileTrace) },
		"was redacted, but": func(_ *runManifest, f map[string][]byte) {
			f[fileEvents] = bytes.Replace(f[fileEvents], []byte(`,"scope"`), []byte(`,"redacted":true,"scope"`), 1)
		},
	} {
		_, err := ParseRunBundle(sealed(t, change))
		if !errors.Is(err, ErrRunBundle) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// rawBundle wraps any bytes as a run bundle with a fitting digest.
func rawBundle(t *testing.T, archive []byte) []byte {
	t.Helper()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(archive)
	w.Close()
	body := z.Bytes()[plainHead:]
	sum := blake3.Sum256(body)
	return append(append(bytes.Clone(bundleHead), sum[:]...), body...)
}

func TestRunBundleHostile(t *testing.T) {
	archive := func(headers ...tar.Header) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, h := range headers {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			w.Write(make([]byte, h.Size))
		}
		w.Close()
		return out.Bytes()
	}
	named := func(names ...string) []byte {
		var list []tar.Header
		for _, n := range names {
			list = append(list, tar.Header{Name: n, Mode: 0o644, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR})
		}
		return archive(list...)
	}
	many := make([]string, maxBundleFiles+2)
	for i := range many {
		many[i] = fmt.Sprintf("agents/a%d", i)
	}
	lying := named(fileManifest)
	copy(lying[124:136], "77777777777\x00") // it claims 8 GiB
	sum := 0
	copy(lying[148:156], "        ")
	for _, c := range lying[:512] {
		sum += int(c)
	}
	copy(lying[148:156], fmt.Sprintf("%06o\x00 ", sum))
	good := encoded(t, bookBundle(t))
	for what, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":     {nil, "does not begin"},
		"no gzip":   {[]byte("hello, this is no bundle at all, but long enough to be one ........"), "does not begin"},
		"traversal": {rawBundle(t, named("agents/../../etc/passwd")), "holds no file"},
		"absolute":  {rawBundle(t, named("/etc/passwd")), "holds no file"},
		"hidden":    {rawBundle(t, named("agents/.ssh/id")), "holds no file"},
		"unknown":   {rawBundle(t, named("more.txt")), "holds no file"},
		"deep":      {rawBundle(t, named("agents/"+strings.Repeat("a/", 40)+"a")), "holds no file"},
		"control":   {rawBundle(t, named("agents/a\x1b[2J")), "holds no file"},
		"twice":     {rawBundle(t, named(fileTrace, fileTrace)), "twice"},
		"many":      {rawBundle(t, named(many...)), "more than 10000 files"},
		"lying":     {rawBundle(t, lying), "longer than the archive"},
		"link": {rawBundle(t, archive(tar.Header{Name: fileTrace, Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink,
			Format: tar.FormatUSTAR})), "not a plain file"},
		"pax": {rawBundle(t, archive(tar.Header{Name: fileTrace, Typeflag: tar.TypeReg, Format: tar.FormatPAX,
			PAXRecords: map[string]string{"a.b": "c"}})), "not a plain file"},
		"bomb":            {rawBundle(t, make([]byte, 64<<20)), "unpacks to more than"},
		"nothing":         {rawBundle(t, named()), "has no run.json"},
		"order":           {rawBundle(t, named(fileTrace, fileOpening)), "in another form"},
		"tail":            {rawBundle(t, append(named(fileTrace), make([]byte, 4096)...)), "in another form"},
		"no tar":          {rawBundle(t, bytes.Repeat([]byte("x"), 2000)), "its archive"},
		"too much":        {make([]byte, RunBundleMax+1), "may have"},
		"no json":         {rawBundle(t, named(fileManifest)), "run.json"},
		"bundle in front": {append(bytes.Clone(good), good...), "digest"},
	} {
		_, err := ParseRunBundle(c.data)
		if !errors.Is(err, ErrRunBundle) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want %q, got %v", what, c.want, err)
		} else if strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("%s: the error is raw: %q", what, err)
		}
	}
}

// TestRedact: what people wrote is gone, the chain and the states are there, and
// who has the key can show that both are of the same run.
func TestRedact(t *testing.T) {
	b := bookBundle(t)
	b.Agents = nil
	red := b.Redact(RedactKey{1})
	data := encoded(t, red)
	back, err := ParseRunBundle(data)
	if err != nil {
		t.Fatal(err)
	}
	files, err := unpackBundle(data)
	if err != nil {
		t.Fatal(err)
	}
	all := string(bytes.Join(mapValues(files), nil))
	for _, secret := range []string{"Dispossessed", "Ice", "ada@", "Ada", "SELECT", "not yours", "letter"} {
		if strings.Contains(all, secret) {
			t.Errorf("%s is still there", secret)
		}
	}
	if back.Trace.FinalHash != b.Trace.FinalHash || back.Ledger.After != b.Ledger.After || !back.Redacted {
		t.Error("the redacted bundle is not of the same run")
	}
	if _, err := Replay(t.Context(), back.Trace, &fakeExecutor{}, ReplayOptions{}); err == nil {
		t.Error("a redacted run was replayed")
	}
	if again := b.Redact(RedactKey{1}); !bytes.Equal(encoded(t, again), data) {
		t.Error("the same key gave another bundle")
	}
	if other := b.Redact(RedactKey{2}); bytes.Equal(encoded(t, other), data) {
		t.Error("another key gave the same bundle")
	}
	twice := encoded(t, back.Redact(RedactKey{1}))
	if _, err := ParseRunBundle(twice); err != nil {
		t.Errorf("redacted twice: %v", err)
	}
	var out bytes.Buffer
	if err := back.Trace.Render(&out, FormatText); err != nil || !strings.Contains(out.String(), "Succeeded") {
		t.Errorf("it cannot be shown: %v", err)
	}
}

func mapValues(m map[string][]byte) [][]byte {
	var out [][]byte
	for v := range maps.Values(m) {
		out = append(out, v)
	}
	return out
}

// FuzzRunBundle: whatever comes is refused or is a bundle that comes back the
// same.
func FuzzRunBundle(f *testing.F) {
	b := bookBundle(f)
	f.Add(encoded(f, b))
	f.Add(encoded(f, b.Redact(RedactKey{3})))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > len(bundleHead)+digestLen && IsRunBundle(data) {
			sum := blake3.Sum256(data[len(bundleHead)+digestLen:])
			copy(data[len(bundleHead):], sum[:])
		}
		b, err := ParseRunBundle(data)
		if err != nil {
			return
		}
		if back, err := b.Encode(); err != nil || len(back) == 0 {
			t.Fatal(err)
		}
	})
}
