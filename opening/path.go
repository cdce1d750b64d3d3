package opening

import "strings"

// escapeSegment makes a key into one segment of a path (RFC 6901, section 3).
func escapeSegment(key string) string {
	if !strings.ContainsAny(key, "~/") {
		return key
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
