package wasm

import (
	"fmt"
	"strconv"
	"strings"
)

// TOML is the capabilities as a policy.caps file that names every key, so that
// as an override it says of each how much is left.
func (c *Caps) TOML() string {
	var b strings.Builder
	b.WriteString("[capabilities]\n")
	line := func(key, value string) { fmt.Fprintf(&b, "%s = %s\n", key, value) }
	var fs []string
	for _, g := range c.FS {
		if entry := quoteTOML(g.Path); g.Write {
			fs = append(fs, "{ path = "+entry+", write = true }")
		} else {
			fs = append(fs, entry)
		}
	}
	line("fs", "["+strings.Join(fs, ", ")+"]")
	line("net", listTOML(false, c.Net))
	line("allow_http", strconv.FormatBool(c.AllowHTTP))
	line("time", strconv.FormatBool(c.Time))
	line("kb_read", listTOML(c.KBRead.All, c.KBRead.Names))
	line("kb_write", listTOML(c.KBWrite.All, c.KBWrite.Names))
	line("secrets", listTOML(false, c.Secrets))
	line("secrets_raw", listTOML(false, c.SecretsRaw))
	line("model", strconv.FormatBool(c.Model))
	line("exec", listTOML(c.Exec.All, c.Exec.List))
	return b.String()
}

// listTOML is true, or the names. A set of everything that also lifts the
// redaction has no form as a value; it is written without.
func listTOML(all bool, names []string) string {
	if all {
		return "true"
	}
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quoteTOML(n)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quoteTOML is s as a basic string (https://toml.io/en/v1.0.0#string).
func quoteTOML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}
