package wasm

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
)

// coversCall reports whether the capabilities grant what a call that reaches
// out of the machine needs by its arguments.
func (c *Caps) coversCall(op string, args []byte, tools Tools) bool {
	var a struct {
		URL  string   `json:"url"`
		ID   string   `json:"id"`
		As   string   `json:"as"`
		Argv []string `json:"argv"`
	}
	if json.Unmarshal(args, &a) != nil {
		return false
	}
	switch op {
	case "http.request":
		_, t, err := parseURL(a.URL)
		return err == nil && c.mayReach(t)
	case opSecretGet:
		return slices.Contains(c.Secrets, a.ID) && (a.As != secretValue || slices.Contains(c.SecretsRaw, a.ID))
	case "exec.run":
		return len(a.Argv) > 0 && len(c.grantOf(a.Argv[0])) > 0
	case opToolCall:
		return tools[a.ID] == nil || c.coversTool(tools[a.ID])
	}
	return true
}

// coversTool reports whether the capabilities grant what a tool needs.
func (c *Caps) coversTool(t *Tool) bool {
	for _, id := range t.Secrets {
		if !slices.Contains(c.Secrets, id) {
			return false
		}
	}
	if t.Exec != nil {
		return len(c.grantOf(t.Exec.Argv[0])) > 0
	}
	at, _, _ := strings.Cut(t.HTTP.URL, "{{") // behind the host
	_, to, err := parseURL(at)
	return err == nil && c.mayReach(to)
}

// grantOf is the entry of exec by which a program may run, or none; where any
// may, that is its own name.
func (c *Caps) grantOf(name string) []string {
	_, granted := c.programFor(name)
	switch {
	case !granted:
		return nil
	case c.Exec.All || slices.Contains(c.Exec.List, name):
		return []string{name}
	}
	i := slices.IndexFunc(c.Exec.List, func(path string) bool { return filepath.IsAbs(path) && filepath.Base(path) == name })
	return c.Exec.List[i : i+1]
}
