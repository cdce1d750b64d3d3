package opening

import "time"

// Limits on what a file may hold. An opening may come from anyone, so each is
// checked before the work it bounds is done (spec/00, rule 6).
const (
	maxSource     = 1 << 20 // bytes of a file
	maxIndicators = 1 << 16 // characters that can start a YAML token
	maxTokens     = 1 << 16 // of the brace form
	maxDepth      = 32      // nesting of maps and lists
	maxKeyBytes   = 128     // one key of a map
	maxMapKeys    = 1000    // keys of one block map: the parser copies them n²/2 times
	maxPathBytes  = 8 << 20 // what the parser spends on writing down the path of each key
	maxNodes      = 2000
	maxEdges      = 10000
	maxExprs      = 1000
	maxExprBytes  = 1024
	maxProblems   = 1000    // reported at once; the rest is only said to exist
	maxWithBytes  = 4 << 20 // the with maps of all nodes, templates filled in
	maxAttempts   = 100

	maxLostAttempts = 1 << 20 // number of the last attempt: those of dead processes count, too

	maxTimeout    = 7 * 24 * time.Hour
	maxSchemaSize = 10000 // subschemas of a manifest's schema, references followed
)

// identifierRule says in words what isIdentifier checks.
const identifierRule = "a small letter, then up to 63 small letters, digits or _"

// isIdentifier reports whether s is [a-z][a-z0-9_]{0,63}, which is what names
// of openings, nodes and agents look like (spec/03, spec/04).
func isIdentifier(s string) bool {
	if s == "" || len(s) > 64 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for _, c := range []byte(s) {
		if !isLower(c) && !isDigit(c) && c != '_' {
			return false
		}
	}
	return true
}

// isPortName is wider than isIdentifier: ports are named by manifests, also
// by those of bundles made for the older prototype.
func isPortName(s string) bool {
	if s == "" || len(s) > 64 || isDigit(s[0]) || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if !isWordByte(s[i]) {
			return false
		}
	}
	return true
}

// isWordByte reports whether c may stand in a port name or in a segment of a
// parameter's path.
func isWordByte(c byte) bool {
	return isLower(c) || c >= 'A' && c <= 'Z' || isDigit(c) || c == '_' || c == '-'
}

// isLower is for ASCII: names are never anything else.
func isLower(c byte) bool { return c >= 'a' && c <= 'z' }

// isDigit is for ASCII too.
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
