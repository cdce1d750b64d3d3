package wasm

import (
	"regexp"
	"slices"
	"strings"
)

// RefreshDigests puts the digests of the files that a manifest names into its
// text and leaves the rest of it, comments too, as it is. read returns the
// content of a file of the bundle; name is for errors.
func RefreshDigests(name string, src []byte, read func(path string) ([]byte, error)) ([]byte, error) {
	paths, text, err := namedFiles(name, string(src))
	if err != nil {
		return nil, err
	}
	want := map[string]string{}
	for _, p := range paths {
		content, err := read(p)
		if err != nil {
			return nil, errorf(CodeBundle, "%s: %s: %v", name, p, reason(err))
		}
		want[p] = hexSum(content)
		text = setDigest(text, p, want[p])
	}
	m, err := ParseManifest(name, []byte(text))
	if err != nil {
		return nil, err
	}
	for _, ref := range m.files() {
		if ref.Blake3 != want[ref.Path] {
			return nil, errorf(CodeBundle, "%s: the place for the digest of %s is not plain; put blake3 = %q beside it",
				name, ref.Path, want[ref.Path])
		}
	}
	return []byte(text), nil
}

// namedFiles lists the files that a manifest names, with or without digests,
// and returns the text with a [caps] table, which may be left out.
func namedFiles(name, text string) ([]string, string, error) {
	var f manifestFile
	if err := decodeTOML(name, []byte(text), &f); err != nil {
		return nil, "", err
	}
	if f.Caps.File == "" {
		f.Caps.File = defaultCapsFile
		text = strings.TrimRight(text, "\n") + "\n\n[caps]\nfile = \"" + defaultCapsFile + "\"\n"
	}
	paths := []string{f.Agent.EntryWasm.Path, f.Caps.File}
	if t := f.Artifacts.Tools; t != nil {
		paths = append(paths, t.Path)
	}
	m := &Manifest{}
	if err := m.fill(&f); err != nil {
		return nil, "", errorf(CodeBundle, "%s: %v", name, err)
	}
	for _, ref := range m.schemaRefs() {
		paths = append(paths, ref.Path)
	}
	slices.Sort(paths)
	return slices.Compact(paths), text, nil
}

// files lists what a manifest names, the module first: every file that says
// what the agent does.
func (m *Manifest) files() []FileRef {
	out := append([]FileRef{m.Entry, m.Caps}, m.schemaRefs()...)
	if m.Tools != nil {
		out = append(out, *m.Tools)
	}
	return out
}

// digestKey is a digest that is there already.
var digestKey = lazyRegexp(`\bblake3\s*=\s*"[^"]*"`)

// setDigest writes the digest of a file behind each place that names it: into
// the same inline table, or into the table whose line it is.
func setDigest(text, file, digest string) string {
	named := regexp.MustCompile(`(\bpath|"\$ref"|\bfile)\s*=\s*"` + regexp.QuoteMeta(file) + `"`)
	entry := `blake3 = "` + digest + `"`
	for at := 0; ; {
		loc := named.FindStringIndex(text[at:])
		if loc == nil {
			return text
		}
		name := at + loc[0]
		start := scopeStart(text, name)
		end := name + scopeEnd(text[name:])
		scope := text[start:end]
		if has := digestKey().FindStringIndex(scope); has != nil {
			scope = scope[:has[0]] + entry + scope[has[1]:]
		} else if after := at + loc[1] - start; strings.HasSuffix(scope, "}") {
			scope = scope[:after] + ", " + entry + scope[after:]
		} else {
			scope = scope[:after] + "\n" + entry + scope[after:]
		}
		text = text[:start] + scope + text[end:]
		at = start + len(scope)
	}
}

// scopeStart is where the table that holds text[at:] begins: at the brace of an
// inline one, else, as far as it matters, right there.
func scopeStart(text string, at int) int {
	line := strings.LastIndexByte(text[:at], '\n') + 1
	if i := strings.LastIndexByte(text[line:at], '{'); i >= 0 {
		return line + i
	}
	return at
}

// scopeEnd is where the table that text is in ends: at the brace of an inline
// one, before the head of the next one otherwise.
func scopeEnd(text string) int {
	line, _, _ := strings.Cut(text, "\n")
	if i := strings.IndexByte(line, '}'); i >= 0 {
		return i + 1
	}
	if i := strings.Index(text, "\n["); i >= 0 {
		return i + 1
	}
	return len(text)
}

// EntryOf is the path of the module that a manifest names, whether or not it
// has been built yet; name is for errors.
func EntryOf(name string, src []byte) (agent, entry string, err error) {
	var f manifestFile
	if err := decodeTOML(name, src, &f); err != nil {
		return "", "", err
	}
	if err := checkRef("agent.entry_wasm", f.Agent.EntryWasm, false); err != nil {
		return "", "", errorf(CodeBundle, "%s: %v", name, err)
	}
	return f.Agent.Name, f.Agent.EntryWasm.Path, nil
}
