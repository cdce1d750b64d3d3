package wasm

import (
	"errors"
	"strings"
	"testing"
)

func mustCaps(t *testing.T, src string) *Caps {
	t.Helper()
	c, err := ParseCaps("policy.caps", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParseCaps(t *testing.T) {
	c := mustCaps(t, `[capabilities]
fs = ["/srv/notes", { path = "/srv/out", write = true }]
net = ["b.example.com", "a.example.com:8443"]
time = true
kb_read = ["notes", "contacts"]
kb_write = true
secrets = ["runloop/mail/password"]
model = true
exec = ["git"]
`)
	want := "to read /srv/notes; read and write /srv/out; reach a.example.com:8443, b.example.com; " +
		"tell the time; read contacts, notes from the knowledge base; add everything to the knowledge base; " +
		"use the secrets runloop/mail/password; ask a model; run git"
	if got := c.Describe(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !c.KBRead.Has("notes") || c.KBRead.Has("artifacts") || c.KBRead.Has(DomainContactsRaw) {
		t.Errorf("kb_read %+v", c.KBRead)
	}
	if mustCaps(t, "").Describe() != "nothing" || !mustCaps(t, "[capabilities]").IsZero() {
		t.Error("no capabilities are something")
	}
}

func TestParseCapsRefuses(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{"unknown key", "[capabilities]\nnett = [\"x\"]", `policy.caps:2:1: unknown key "capabilities.nett"`},
		{"unknown table", "[caps]\ntime = true", "unknown key"},
		{"not TOML", "[capabilities\n", "policy.caps:1:"},
		{"wrong type", "[capabilities]\ntime = 1", "policy.caps:2:"},
		{"relative path", "[capabilities]\nfs = [\"notes\"]", "not a clean absolute path"},
		{"dots", "[capabilities]\nfs = [\"/a/../b\"]", "not a clean absolute path"},
		{"trailing slash", "[capabilities]\nfs = [\"/a/\"]", "not a clean absolute path"},
		{"twice", "[capabilities]\nfs = [\"/a\", \"/a\"]", "granted twice"},
		{"fs key", "[capabilities]\nfs = [{ path = \"/a\", rw = true }]", `unknown key "rw"`},
		{"fs number", "[capabilities]\nfs = [1]", "a grant is a path"},
		{"write", "[capabilities]\nfs = [{ path = \"/a\", write = 1 }]", "true or false"},
		{"domain", "[capabilities]\nkb_read = [1]", "kb_read: 1 is not a name"},
		{"domains", "[capabilities]\nkb_write = \"all\"", "kb_write: want true, false or a list"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseCaps("policy.caps", []byte(tt.src))
			if !errors.Is(err, &Error{Code: CodeBundle}) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestIntersect(t *testing.T) {
	all := `[capabilities]
fs = [{ path = "/srv", write = true }]
net = ["a", "b"]
time = true
kb_read = true
kb_write = ["notes"]
model = true
exec = true
`
	for _, tt := range []struct{ name, a, b, want string }{
		{"with nothing", all, "", "nothing"},
		{"narrower path", all, "[capabilities]\nfs = [\"/srv/notes\"]", "to read /srv/notes"},
		{"wider path", "[capabilities]\nfs = [\"/srv/notes\"]", all, "to read /srv/notes"},
		{"a sibling whose name begins alike", all, "[capabilities]\nfs = [\"/srv2\"]", "nothing"},
		{"hosts", all, "[capabilities]\nnet = [\"b\", \"c\"]", "to reach b"},
		{"all and some domains", all, "[capabilities]\nkb_read = [\"notes\"]",
			"to read notes from the knowledge base"},
		{"all lifts no redaction", all, "[capabilities]\nkb_read = [\"contacts_raw\"]", "nothing"},
		{"programs", all, "[capabilities]\nexec = [\"git\"]", "to run git"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := mustCaps(t, tt.a), mustCaps(t, tt.b)
			if got := Intersect(a, b).Describe(); got != tt.want {
				t.Errorf("a∩b: %s, want %s", got, tt.want)
			}
			if got := Intersect(b, a).Describe(); got != tt.want {
				t.Errorf("b∩a: %s, want %s", got, tt.want)
			}
		})
	}
}

func TestCapsDigestIsOfTheMeaning(t *testing.T) {
	a := mustCaps(t, "[capabilities]\nnet = [\"x\", \"y\"]\ntime = false")
	b := mustCaps(t, "# the same\n[capabilities]\nnet = [\"y\", \"x\", \"x\"]")
	c := mustCaps(t, "[capabilities]\nnet = [\"y\"]")
	if a.Digest() != b.Digest() || a.Digest() == c.Digest() {
		t.Error("the digest does not follow the meaning")
	}
}
