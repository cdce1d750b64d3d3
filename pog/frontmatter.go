package pog

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/pelletier/go-toml/v2"
)

// frontMatter is what a note says about itself.
type frontMatter struct {
	title, date string
	tags        []string
}

// maxFrontMatter bounds the part of a file that goes to a YAML or TOML
// parser.
const maxFrontMatter = 16 << 10

// cutFrontMatter splits a file into its front matter, YAML between lines of
// three dashes or TOML between lines of three pluses, and the rest. A file
// without any, or whose front matter does not parse, is all rest.
func cutFrontMatter(doc string) (frontMatter, string, error) {
	fence := ""
	for _, f := range []string{"---\n", "+++\n"} {
		if strings.HasPrefix(doc, f) {
			fence = f
		}
	}
	if fence == "" {
		return frontMatter{}, doc, nil
	}
	inner, rest, ok := strings.Cut("\n"+doc[len(fence):]+"\n", "\n"+fence)
	if !ok {
		return frontMatter{}, doc, nil
	}
	if len(inner) > maxFrontMatter {
		return frontMatter{}, doc, fmt.Errorf("larger than %d bytes", maxFrontMatter)
	}
	parse := parseYAML
	if fence == "+++\n" {
		parse = parseTOML
	}
	fields, err := parse([]byte(inner))
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return frontMatter{}, doc, errors.New(first)
	}
	return pickFields(fields), rest, nil
}

// parseYAML decodes a map. Anchors and aliases are refused before decoding:
// a few lines of them can describe more than a machine can hold.
func parseYAML(doc []byte) (map[string]any, error) {
	file, err := parser.ParseBytes(doc, 0)
	if err != nil {
		return nil, err
	}
	for _, d := range file.Docs {
		if d.Body == nil {
			continue
		}
		found := false
		ast.Walk(visitor(func(n ast.Node) {
			t := n.Type()
			found = found || t == ast.AnchorType || t == ast.AliasType || t == ast.MergeKeyType
		}), d.Body)
		if found {
			return nil, errors.New("anchors and aliases are not supported")
		}
	}
	var fields map[string]any
	err = yaml.Unmarshal(doc, &fields)
	return fields, err
}

// visitor adapts a function to ast.Visitor.
type visitor func(ast.Node)

// Visit calls the function and goes on.
func (v visitor) Visit(n ast.Node) ast.Visitor {
	v(n)
	return v
}

func parseTOML(doc []byte) (map[string]any, error) {
	var fields map[string]any
	err := toml.Unmarshal(doc, &fields)
	return fields, err
}

// pickFields reads the fields people use, whatever type they gave them.
func pickFields(fields map[string]any) frontMatter {
	var f frontMatter
	f.title = scalar(fields["title"])
	f.date = scalar(fields["date"])
	switch tags := fields["tags"].(type) {
	case string:
		f.tags = strings.FieldsFunc(tags, func(r rune) bool { return r == ',' || r == ' ' })
	case []any:
		for _, t := range tags {
			f.tags = append(f.tags, scalar(t))
		}
	}
	return f
}

func scalar(v any) string {
	switch v := v.(type) {
	case nil, []any, map[string]any:
		return ""
	case time.Time:
		return v.Format(time.DateOnly)
	default:
		return strings.Join(strings.Fields(fmt.Sprint(v)), " ")
	}
}
