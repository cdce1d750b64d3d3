package wasm

import (
	"errors"
	"strings"
	"testing"
)

func TestRefreshDigests(t *testing.T) {
	files := map[string]string{"bin/a.wasm": "module", "policy.caps": "", "in.json": "{}", "tools.json": "[]"}
	read := func(p string) ([]byte, error) {
		if s, ok := files[p]; ok {
			return []byte(s), nil
		}
		return nil, errors.New("no such file")
	}
	head := "# mine\n[agent]\nname = \"a\" # the name\nversion = \"1.0.0\"\nkind = \"wasm32-wasip1\"\n"
	for _, tt := range []struct{ name, src, err string }{
		{"none of them", head + "entry_wasm = { path = \"bin/a.wasm\" }\n[ports.in]\nin = { \"$ref\" = \"in.json\" }\n" +
			"[artifacts.tools]\npath = \"tools.json\"\nversion = 1\n[caps]\nfile = \"policy.caps\"\n", ""},
		{"old ones", head + "entry_wasm = { blake3 = \"" + strings.Repeat("0", 64) + "\", path = \"bin/a.wasm\" }\n", ""},
		{"behind the path", head + "entry_wasm = { path = \"bin/a.wasm\", blake3 = \"old\" }\n[caps]\nfile = \"policy.caps\"\n" +
			"# a comment\nblake3 = \"older\"\n[artifacts.tools]\npath = \"tools.json\"\n", ""},
		{"not plain", head + "[agent.entry_wasm]\nblake3 = \"old\"\npath = \"bin/a.wasm\"\n", "already defined"},
		{"a missing file", head + "entry_wasm = { path = \"bin/b.wasm\" }\n", "bin/b.wasm: no such file"},
		{"not a manifest", "[agent", "manifest.toml:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := RefreshDigests("manifest.toml", []byte(tt.src), read)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v", err)
			}
			m, err := ParseManifest("manifest.toml", got)
			if err != nil || m.needDigests() != nil || m.Entry.Blake3 != hexSum([]byte("module")) ||
				!strings.HasPrefix(string(got), "# mine\n[agent]\nname = \"a\" # the name\n") {
				t.Errorf("%v\n%s", err, got)
			}
			again, err := RefreshDigests("manifest.toml", got, read)
			if err != nil || string(again) != string(got) {
				t.Errorf("a second time it is another: %v\n%s", err, again)
			}
		})
	}
}
