package runloop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/runloop-os/runloop/opening"
)

// paramsMax is the most that parameters may hold, in bytes.
const paramsMax = 4 << 20

// paramFlags are the ways to give parameters to a run.
type paramFlags struct {
	json   string   // --params: JSON, or @file
	file   string   // --params-file: a file, or - for stdin
	prompt *string  // the parameter prompt, nil where there is none
	pairs  []string // -p key=value
}

// read merges all ways into one JSON object; later ways go over earlier ones.
// The opening's defaults tell the types that -p values have.
func (p *paramFlags) read(io *IO, o *opening.Opening) (json.RawMessage, error) {
	out, types := map[string]any{}, map[string]any{}
	if len(o.Params) > 0 {
		if err := mergeObject(types, o.Params, "params of the opening"); err != nil {
			return nil, err
		}
	}
	if known := o.Parameters(); p.prompt != nil && !slices.Contains(known, "prompt") {
		return nil, usageErrorf("the opening %s takes no prompt; %s", o.Name, parametersSay(known))
	}
	if p.json != "" {
		src := []byte(p.json)
		if file, ok := strings.CutPrefix(p.json, "@"); ok {
			var err error
			if src, err = readParamFile(file); err != nil {
				return nil, err
			}
		}
		if err := mergeObject(out, src, "--params"); err != nil {
			return nil, err
		}
	}
	if p.file != "" {
		if err := p.mergeFile(io, out); err != nil {
			return nil, err
		}
	}
	if p.prompt != nil {
		out["prompt"] = *p.prompt
	}
	for _, pair := range p.pairs {
		if err := setPair(out, types, pair); err != nil {
			return nil, err
		}
	}
	return json.Marshal(out)
}

// parametersSay is which parameters an opening has.
func parametersSay(known []string) string {
	if len(known) == 0 {
		return "it has no parameters"
	}
	return "its parameters are " + strings.Join(known, ", ") + " (give them with -p)"
}

func (p *paramFlags) mergeFile(io *IO, out map[string]any) error {
	if p.file == "-" {
		src, err := readLimited(io.Stdin, paramsMax)
		if err != nil {
			return usageErrorf("--params-file: %v", err)
		}
		return mergeObject(out, src, "--params-file")
	}
	src, err := readParamFile(p.file)
	if err != nil {
		return err
	}
	return mergeObject(out, src, "--params-file")
}

func readParamFile(name string) ([]byte, error) {
	src, err := readFileLimited(name, paramsMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exitErrorf(exitNotFound, "no file %s", name)
	}
	return src, err
}

func mergeObject(out map[string]any, src []byte, where string) error {
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return usageErrorf("%s must be a JSON object: %v", where, err)
	}
	if d.More() {
		return usageErrorf("%s holds more than one JSON value", where)
	}
	mergeMaps(out, m)
	return nil
}

// mergeMaps puts src over dst; maps merge, all else replaces.
func mergeMaps(dst, src map[string]any) {
	for k, v := range src {
		sub, isMap := v.(map[string]any)
		old, wasMap := dst[k].(map[string]any)
		if isMap && wasMap {
			mergeMaps(old, sub)
			continue
		}
		dst[k] = v
	}
}

// setPair takes one -p key=value. The key may be a dotted path. The value is
// text where the opening's default is text; elsewhere true, false, null and
// numbers are what they say. @file is the text of a file, and \@ begins a text
// with @.
func setPair(out, types map[string]any, pair string) error {
	key, text, ok := strings.Cut(pair, "=")
	if !ok || key == "" {
		return usageErrorf("-p %q: want key=value", pair)
	}
	path := strings.Split(key, ".")
	for _, p := range path {
		if p == "" {
			return usageErrorf("-p %q: the key has an empty part", pair)
		}
	}
	_, isText := lookup(types, path).(string)
	v, err := pairValue(text, isText)
	if err != nil {
		return fmt.Errorf("-p %s: %w", key, err)
	}
	setAt(out, path, v)
	return nil
}

func lookup(m map[string]any, path []string) any {
	var v any = m
	for _, key := range path {
		sub, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = sub[key]
	}
	return v
}

func pairValue(text string, isText bool) (any, error) {
	if file, ok := strings.CutPrefix(text, "@"); ok {
		b, err := readParamFile(file)
		return strings.ToValidUTF8(string(b), "\uFFFD"), err
	}
	if rest, ok := strings.CutPrefix(text, `\@`); ok {
		return "@" + rest, nil
	}
	if isText {
		return text, nil
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if d.Decode(&v) == nil && !d.More() {
		switch v.(type) {
		case bool, nil, json.Number:
			return v, nil
		}
	}
	return text, nil
}
