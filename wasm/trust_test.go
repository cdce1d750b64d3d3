package wasm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// testKey makes a key pair that is the same in every run of a test.
func testKey(t testing.TB, seed byte) *SigningKey {
	t.Helper()
	key, err := ParseSigningKey("ed25519-secret:" + strings.Repeat(string(seed), 42) + "A=\n")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signedFiles is a bundle, with everything that a bundle can have, signed.
func signedFiles(t testing.TB, name, version, caps string, key *SigningKey) fstest.MapFS {
	t.Helper()
	capsSrc, schema, tools := []byte("[capabilities]\n"+caps), []byte(`{"type":"string"}`), []byte(`{"version":1,"tools":[]}`)
	module := []byte("module " + version)
	manifest := []byte(`[agent]
name = "` + name + `"
version = "` + version + `"
kind = "wasm32-wasip1"
entry_wasm = { path = "bin/a.wasm", blake3 = "` + hexSum(module) + `" }
[ports.out]
out = { "$ref" = "schemas/out.json", blake3 = "` + hexSum(schema) + `" }
[caps]
file = "policy.caps"
blake3 = "` + hexSum(capsSrc) + `"
[artifacts.tools]
path = "tools.json"
blake3 = "` + hexSum(tools) + `"
`)
	files := fstest.MapFS{}
	for file, content := range map[string][]byte{
		"manifest.toml": manifest, "policy.caps": capsSrc, "schemas/out.json": schema,
		"tools.json": tools, "bin/a.wasm": module, "README.md": []byte("# a\n"),
	} {
		files[name+"/"+file] = &fstest.MapFile{Data: content, Mode: 0o644}
	}
	if key != nil {
		sig, err := SignManifest("manifest.toml", manifest, key)
		if err != nil {
			t.Fatal(err)
		}
		files[name+"/"+SignatureFile] = &fstest.MapFile{Data: sig, Mode: 0o644}
	}
	return files
}

func mustLoad(t testing.TB, files fstest.MapFS, name string) *Bundle {
	t.Helper()
	b, err := LoadBundle(files, name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKeysHaveOneSpelling(t *testing.T) {
	key := testKey(t, 'a')
	if again, err := ParseSigningKey(key.Text()); err != nil || again.Public() != key.Public() {
		t.Errorf("%v", err)
	}
	good := string(key.Public())
	for _, bad := range []string{
		"", good[8:], good + "\n", good[:len(good)-1], "ed25519:" + strings.Repeat("=", 44),
		good[:len(good)-2] + "/=", key.Text(),
	} {
		if bad == good {
			continue
		}
		if got, err := ParsePublicKey(bad); err == nil {
			t.Errorf("%q was read as %s", bad, got)
		}
	}
	other, err := NewSigningKey()
	if err != nil || other.Public() == key.Public() {
		t.Errorf("a new key: %v", err)
	}
}

// TestEveryTamperedFileIsRefused changes each file of a signed bundle in turn,
// a byte at its beginning, middle and end.
func TestEveryTamperedFileIsRefused(t *testing.T) {
	key := testKey(t, 'a')
	good := signedFiles(t, "a", "1.0.0", "time = true", key)
	if b := mustLoad(t, good, "a"); b.Signer != key.Public() {
		t.Fatalf("signed by %q", b.Signer)
	}
	for file, content := range good {
		for _, at := range []int{0, len(content.Data) / 2, len(content.Data) - 1} {
			files := signedFiles(t, "a", "1.0.0", "time = true", key)
			files[file].Data = slices.Clone(files[file].Data)
			files[file].Data[at] ^= 1
			_, err := LoadBundle(files, "a")
			if harmless := file == "a/README.md"; (err == nil) != harmless {
				t.Errorf("%s flipped at %d: %v", file, at, err)
			}
		}
		files := signedFiles(t, "a", "1.0.0", "time = true", key)
		delete(files, file)
		b, err := LoadBundle(files, "a")
		switch file {
		case "a/README.md":
		case "a/" + SignatureFile:
			if err != nil || b.Signer != "" {
				t.Errorf("without its signature the bundle counts as signed by %q (%v)", b.Signer, err)
			}
		default:
			if err == nil {
				t.Errorf("the bundle loads without %s", file)
			}
		}
	}
}

func TestSignatureOfAnotherManifestDoesNotFit(t *testing.T) {
	key := testKey(t, 'a')
	one, two := signedFiles(t, "a", "1.0.0", "", key), signedFiles(t, "a", "2.0.0", "", key)
	two["a/"+SignatureFile] = one["a/"+SignatureFile]
	if _, err := LoadBundle(two, "a"); !errors.Is(err, &Error{Code: CodeSignature}) {
		t.Errorf("got %v", err)
	}
	// The signature is another key's, under the name of the one that is trusted.
	sig := string(signedFiles(t, "a", "1.0.0", "", testKey(t, 'b'))["a/"+SignatureFile].Data)
	_, rest, _ := strings.Cut(sig, " ")
	one["a/"+SignatureFile] = &fstest.MapFile{Data: []byte(string(key.Public()) + " " + rest)}
	if _, err := LoadBundle(one, "a"); !errors.Is(err, &Error{Code: CodeSignature}) {
		t.Errorf("got %v", err)
	}
}

func TestSigningNeedsEveryDigest(t *testing.T) {
	src := signedFiles(t, "a", "1.0.0", "", nil)["a/manifest.toml"].Data
	for _, line := range []string{"[caps]\nfile = \"policy.caps\"\nblake3", `schemas/out.json", blake3`} {
		at := strings.Index(string(src), line) + len(line)
		end := at + strings.IndexByte(string(src[at:]), '\n')
		cut := string(src[:at-len("blake3")]) + string(src[end:])
		if strings.HasSuffix(line, ", blake3") {
			cut = string(src[:at-len(", blake3")]) + " }" + string(src[end:])
		}
		_, err := SignManifest("manifest.toml", []byte(cut), testKey(t, 'a'))
		if !errors.Is(err, &Error{Code: CodeSignature}) {
			t.Errorf("without %q: %v", line, err)
		}
	}
}

// trusting is a policy whose trust file holds src.
func trusting(t testing.TB, src string) *Policy {
	t.Helper()
	p := &Policy{TrustFile: filepath.Join(t.TempDir(), "trust-policy.toml")}
	if err := os.WriteFile(p.TrustFile, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Now = func() time.Time { return time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC) }
	return p
}

func TestTrust(t *testing.T) {
	key := testKey(t, 'a')
	anchor := "[[anchors]]\nname = \"acme\"\nkey = \"" + string(key.Public()) + "\"\n"
	other := "[[anchors]]\nname = \"other\"\nkey = \"" + string(testKey(t, 'b').Public()) + "\"\n"
	rule := "[[rules]]\nsigner = \"acme\"\nagents = [\"mail_*\"]\n"
	signed := mustLoad(t, signedFiles(t, "mail_out", "1.0.0", "time = true\nmodel = true", key), "mail_out")
	elsewhere := mustLoad(t, signedFiles(t, "files", "1.0.0", "", key), "files")
	unsigned := mustLoad(t, signedFiles(t, "mail_out", "1.0.0", "", nil), "mail_out")
	for _, tt := range []struct {
		name, file string
		b          *Bundle
		strict     bool
		want       string // of the error; "" for none
		inline     bool
	}{
		{"unsigned where that is allowed", "", unsigned, false, "", false},
		{"unsigned where it is not", anchor + rule, unsigned, true, "it is not signed", false},
		{"a stranger's key", other, signed, true, "which nobody here trusts", false},
		{"a stranger's key where unsigned is allowed", other, signed, false, "", false},
		{"an anchor without a rule", anchor, signed, true, "no rule trusts acme", false},
		{"a rule for other agents", anchor + rule, elsewhere, true, "no rule trusts acme", false},
		{"a rule that fits", anchor + rule, signed, true, "", false},
		{"inline", anchor + rule + "inline = true\n", signed, true, "", true},
		{"expired", anchor + "expires = 2026-05-31T00:00:00Z\n" + rule, signed, false, "has expired on 2026-05-31", false},
		{"not yet expired", anchor + "expires = 2026-06-02T00:00:00Z\n" + rule, signed, true, "", false},
		{"revoked", anchor + rule + "inline = true\n[[revocations]]\nkey = \"" + string(key.Public()) +
			"\"\nreason = \"lost\"\n", signed, false, "was revoked (lost)", false},
		{"broken", anchor + "[[rules]]\nsigner = \"acm\"\nagents = [\"*\"]", signed, false, `no anchor "acm"`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := trusting(t, tt.file)
			p.RequireSigned = tt.strict
			_, err := p.Rule(tt.b)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if got := p.TrustedInline(tt.b); got != tt.inline {
				t.Errorf("inline: %v", got)
			}
		})
	}
	builtIn := *unsigned
	builtIn.BuiltIn = true
	strict := &Policy{RequireSigned: true}
	if _, _, err := strict.Effective(&builtIn); err != nil || !strict.TrustedInline(&builtIn) {
		t.Errorf("what came with the binary: %v", err)
	}
}

func TestTrustPolicyRefuses(t *testing.T) {
	key := string(testKey(t, 'a').Public())
	anchor := "[[anchors]]\nname = \"acme\"\nkey = \"" + key + "\"\n"
	for _, tt := range []struct{ name, src, want string }{
		{"unknown key", "[[anchors]]\nnmae = \"x\"", "did you mean name"},
		{"no key", "[[anchors]]\nname = \"x\"\nkey = \"ed25519:AAA\"", "not a public key"},
		{"a name that is none", "[[anchors]]\nname = \"\\u001b[2J\"\nkey = \"" + key + "\"", "a name is of the form"},
		{"twice", anchor + anchor, "comes twice"},
		{"pattern", anchor + "[[rules]]\nsigner = \"acme\"\nagents = [\"[\"]", "syntax error"},
		{"no agents", anchor + "[[rules]]\nsigner = \"acme\"", "agents is empty"},
		{"caps", anchor + "[[rules]]\nsigner = \"acme\"\nagents = [\"*\"]\ncaps.nett = []", "did you mean net"},
		{"revocation", "[[revocations]]\nkey = \"acme\"", "not a public key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseTrust("trust-policy.toml", []byte(tt.src))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestTrustIsWrittenAsItIsRead(t *testing.T) {
	key := string(testKey(t, 'a').Public())
	file := filepath.Join(t.TempDir(), "trust-policy.toml")
	tr := &Trust{
		Anchors: []Anchor{{Name: "acme", Key: key, Expires: time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC)}},
		Rules:   []TrustRule{{Signer: "acme", Agents: []string{"*"}, Inline: true, Caps: map[string]any{"time": true}}},
	}
	if err := errors.Join(tr.Revoke("acme", "lost", time.Unix(1e9, 0)), tr.Revoke("acme", "", time.Unix(2e9, 0)), tr.Write(file)); err != nil {
		t.Fatal(err)
	}
	got, err := ReadTrust(file)
	if err != nil || len(got.Revocations) != 1 || got.Revocations[0].Reason != "lost" ||
		!got.Anchors[0].Expires.Equal(tr.Anchors[0].Expires) || !got.Rules[0].Inline {
		t.Errorf("%+v %v", got, err)
	}
	if err := tr.Revoke("acne", "", time.Now()); err == nil {
		t.Error("somebody unknown was revoked")
	}
	tr.Rules[0].Signer = "nobody"
	if err := tr.Write(file); err == nil {
		t.Error("a policy that does not make sense was written")
	}
	if again, err := ReadTrust(file); err != nil || len(again.Anchors) != 1 {
		t.Errorf("the old file is gone: %v", err)
	}
}

// TestLayersTakeAwayInOrder also checks who is named for what.
func TestLayersTakeAwayInOrder(t *testing.T) {
	key := testKey(t, 'a')
	p := trusting(t, "[[anchors]]\nname = \"acme\"\nkey = \""+string(key.Public())+"\"\n"+
		"[[rules]]\nsigner = \"acme\"\nagents = [\"*\"]\n[rules.caps]\nkb_read = [\"notes\"]\nmodel = true\n")
	p.OverridesDir = t.TempDir()
	if err := os.WriteFile(filepath.Join(p.OverridesDir, "a.toml"),
		[]byte("[capabilities]\nfs = [\"/srv/notes\"]\ntime = true\nsecrets = [\"more\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	system, err := NewCapsLimit(LayerSystem, "/etc/runloop/config.yaml", map[string]any{"model": false, "net": []any{"b"}})
	if err != nil {
		t.Fatal(err)
	}
	p.System = []*CapsLimit{system}
	b := mustLoad(t, signedFiles(t, "a", "1.0.0", `fs = [{ path = "/srv", write = true }]
net = ["a", "b"]
time = true
kb_read = true
model = true`, key), "a")
	r, err := p.Rule(b)
	if err != nil {
		t.Fatal(err)
	}
	want := "to read /srv/notes; reach b; tell the time; read notes from the knowledge base"
	if got := r.Caps.Describe(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var took []string
	for _, l := range r.Layers {
		took = append(took, l.Layer+" "+strings.Join(l.Took, ", "))
	}
	if got, want := strings.Join(took, " | "), "override fs: /srv but /srv/notes | "+
		"trust kb_read: everything but notes | system net: a, model"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "secrets: more") {
		t.Errorf("warnings %q", r.Warnings)
	}
}

func TestTaken(t *testing.T) {
	for _, tt := range []struct{ before, after, want string }{
		{"time = true", "time = true", ""},
		{`fs = [{ path = "/a", write = true }]`, `fs = ["/a"]`, "fs: writing in /a"},
		{`fs = ["/a"]`, "", "fs: /a"},
		{`kb_read = true`, "", "kb_read: everything"},
		{`kb_read = ["notes", "contacts_raw"]`, `kb_read = true`, "kb_read: contacts_raw"},
		{`exec = ["git", "ls"]`, `exec = ["ls"]`, "exec: git"},
		{`secrets = ["s"]` + "\nallow_http = true", "", "allow_http, secrets: s"},
	} {
		before := mustCaps(t, "[capabilities]\n"+tt.before)
		after := Intersect(before, mustCaps(t, "[capabilities]\n"+tt.after))
		if got := strings.Join(Taken(before, after), ", "); got != tt.want {
			t.Errorf("%s → %s: %q, want %q", tt.before, tt.after, got, tt.want)
		}
		if before.Covers(before) != true || after.Covers(before) != (tt.want == "") {
			t.Errorf("%s covers %s wrongly", tt.after, tt.before)
		}
	}
}

// FuzzTrust: a trust policy that is not one is an error, never a panic, and
// one that is comes back the same.
func FuzzTrust(f *testing.F) {
	key := string(testKey(f, 'a').Public())
	f.Add([]byte("[[anchors]]\nname = \"acme\"\nkey = \"" + key + "\"\nexpires = 2030-01-01T00:00:00Z\n"))
	f.Add([]byte("[[revocations]]\nkey = \"" + key + "\"\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		tr, err := ParseTrust("t", src)
		if err != nil {
			return
		}
		file := filepath.Join(t.TempDir(), "t")
		if err := tr.Write(file); err != nil {
			t.Fatalf("%q was read but cannot be written: %v", src, err)
		}
	})
}

// TestEmptyCapsAreAudited: an agent of which policies leave nothing runs, and
// the record says so.
func TestEmptyCapsAreAudited(t *testing.T) {
	b := mustLoad(t, signedFiles(t, "a", "1.0.0", "time = true", nil), "a")
	for _, tt := range []struct {
		caps, asked *Caps
		want        int
	}{{&Caps{}, b.Caps, 1}, {b.Caps, b.Caps, 0}, {&Caps{}, &Caps{}, 0}} {
		var got []CapAudit
		s := Services{Audit: func(_ context.Context, a CapAudit) { got = append(got, a) }}
		bundle := *b
		bundle.Caps = tt.asked
		a := &attempt{bundle: &bundle, caps: tt.caps, tape: &tape{}, door: &door{services: &s}}
		a.auditEmpty(t.Context())
		if len(got) != tt.want || tt.want == 1 && (got[0].Cap != "caps.empty" || got[0].Severity != "warn") {
			t.Errorf("%+v of %+v: %+v", tt.caps, tt.asked, got)
		}
	}
}
