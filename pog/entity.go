package pog

import (
	"fmt"
	"strconv"
	"strings"
)

// entity is a parsed name of something in the graph.
type entity struct {
	kind string // contact, artifact, note, trace, action, effect or event
	id   string
}

func (e entity) key() string { return e.kind + ":" + e.id }

// maxEntity bounds the length of an entity's name in bytes.
const maxEntity = 512

// parseEntity reads contact:<key>, artifact:<id>, note:<id>, run:<trace>,
// trace:<uuid>, action:<id>, effect:<key>, event:<id> or a bare event number.
func parseEntity(s string) (entity, error) {
	s = strings.TrimSpace(s)
	if len(s) > maxEntity {
		return entity{}, fmt.Errorf("%w: entity name longer than %d bytes", ErrQuery, maxEntity)
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 {
		return entity{"event", s}, nil
	}
	kind, id, ok := strings.Cut(s, ":")
	if !ok || id == "" {
		return entity{}, fmt.Errorf("%w: %.80q names no entity; want contact:, artifact:, note:, "+
			"run:, trace:, action:, effect: or event: and an id, or a number", ErrQuery, s)
	}
	switch kind {
	case "contact", "artifact", "note", "action", "effect":
		return entity{kind, id}, nil
	case "run", "trace":
		return entity{"trace", normalizeTrace(id)}, nil
	case "event":
		if n, err := strconv.ParseInt(id, 10, 64); err == nil && n > 0 {
			return entity{"event", strconv.FormatInt(n, 10)}, nil
		}
		return entity{}, fmt.Errorf("%w: event id %.40q is not a positive number", ErrQuery, id)
	}
	return entity{}, fmt.Errorf("%w: unknown kind of entity %.40q", ErrQuery, kind)
}

// eventID is the number of an event entity, else 0.
func (e entity) eventID() int64 {
	if e.kind != "event" {
		return 0
	}
	n, _ := strconv.ParseInt(e.id, 10, 64)
	return n
}

// normalizeTrace gives the two spellings of a UUID, 32 hex digits as RMP
// headers have it and the dashed form, one form: dashed and lower case,
// without the trace: or run: that names may carry. Other ids stay as they are.
func normalizeTrace(id string) string {
	id = strings.TrimPrefix(strings.TrimPrefix(id, "run:"), "trace:")
	hex := strings.ToLower(strings.ReplaceAll(id, "-", ""))
	if len(hex) != 32 || strings.Trim(hex, "0123456789abcdef") != "" {
		return id
	}
	return hex[:8] + "-" + hex[8:12] + "-" + hex[12:16] + "-" + hex[16:20] + "-" + hex[20:]
}
