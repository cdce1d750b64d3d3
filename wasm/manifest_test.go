package wasm

import (
	"errors"
	"strings"
	"testing"
)

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

func manifestSource(change ...string) string {
	src := `[agent]
name = "greeter"
version = "1.2.3"
kind = "wasm32-wasip1"
description = "Says hello"
entry_wasm = { path = "bin/greeter.wasm", blake3 = "` + zeros + `" }

[ports.in]
who = "toolresult.contacts.resolved.v1"

[ports.out]
out = "any"
extra = { "$ref" = "schemas/extra.json" }

[schemas.with]
type = "object"
properties.tone.type = "string"

[limits]
memory_mb = 32
`
	for i := 0; i < len(change); i += 2 {
		src = strings.Replace(src, change[i], change[i+1], 1)
	}
	return src
}

func TestParseManifest(t *testing.T) {
	m, err := ParseManifest("manifest.toml", []byte(manifestSource()))
	if err != nil {
		t.Fatal(err)
	}
	if m.Name != "greeter" || m.Caps.Path != "policy.caps" || m.Limits.MemoryMB != 32 {
		t.Errorf("manifest %+v", m)
	}
	if m.In["who"].Type != "toolresult.contacts.resolved.v1" || m.Out["extra"].SchemaRef.Path != "schemas/extra.json" {
		t.Errorf("ports %+v %+v", m.In, m.Out)
	}
	if want := `{"properties":{"tone":{"type":"string"}},"type":"object"}`; string(m.With) != want {
		t.Errorf("with schema %s", m.With)
	}
}

func TestParseManifestWithListsOfPorts(t *testing.T) {
	src := manifestSource("[ports.in]\nwho = \"toolresult.contacts.resolved.v1\"\n\n[ports.out]\nout = \"any\"\n"+
		"extra = { \"$ref\" = \"schemas/extra.json\" }", "[ports]\nin = [\"who\"]\nout = [\"out\"]")
	m, err := ParseManifest("manifest.toml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	if m.In["who"].Type != AnyType || m.Out["out"].Type != AnyType {
		t.Errorf("ports %+v %+v", m.In, m.Out)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	for _, tt := range []struct{ name, old, new, want string }{
		{"name", `"greeter"`, `"Greeter"`, "agent.name"},
		{"path as name", `"greeter"`, `"../x"`, "agent.name"},
		{"version", `"1.2.3"`, `"1.2"`, "SemVer"},
		{"kind", "wasm32-wasip1", "native", "agent.kind"},
		{"absolute entry", "bin/greeter.wasm", "/etc/passwd", "clean relative path"},
		{"untidy entry", "bin/greeter.wasm", "bin/../greeter.wasm", "clean relative path"},
		{"digest", zeros, "00", "64 lower-case hex digits"},
		{"port type", `who = "toolresult.contacts.resolved.v1"`, `who = 1`, "ports.in: who"},
		{"empty port type", `who = "toolresult.contacts.resolved.v1"`, `who = ""`, "content type is empty"},
		{"port name", "who =", `"a b" =`, "port name"},
		{"port ref", `"$ref" = "schemas/extra.json"`, `"$ref" = "/x.json"`, "clean relative path"},
		{"limit", "memory_mb = 32", "memory_mb = -1", "negative"},
		{"unknown key", "memory_mb = 32", "memory = 32", "unknown key"},
		{"NUL in args", `description = "Says hello"`, "args = [\"a\\u0000b\"]", "NUL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := manifestSource(tt.old, tt.new)
			if src == manifestSource() {
				t.Fatal("the change changes nothing")
			}
			_, err := ParseManifest("manifest.toml", []byte(src))
			if !errors.Is(err, &Error{Code: CodeBundle}) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}
