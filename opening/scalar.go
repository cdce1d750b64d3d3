package opening

import (
	"math/big"
	"strconv"
	"strings"
)

// resolvePlain gives a plain (unquoted) scalar the type that the core schema
// of YAML 1.2 gives it (section 10.3.2): NO, on, 1:20 and 1_000 are strings,
// 0o7 is seven and 07 is seven too. problem says why a number cannot be used.
func resolvePlain(s string) (k kind, text, problem string) {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return kindNull, "", ""
	case "true", "True", "TRUE":
		return kindBool, "true", ""
	case "false", "False", "FALSE":
		return kindBool, "false", ""
	case ".nan", ".NaN", ".NAN":
		return kindNumber, "", "is not a number that JSON has"
	}
	switch strings.TrimLeft(s, "+-") {
	case ".inf", ".Inf", ".INF":
		if len(s) <= 5 {
			return kindNumber, "", "is not a number that JSON has"
		}
	}
	if n, ok := parseInteger(s); ok {
		return integer(n)
	}
	if !isFloat(s) {
		return kindString, s, ""
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return kindNumber, "", "is too large for a number; quote it if it is text"
	}
	return kindNumber, jsonNumber(f), ""
}

// parseInteger reads [-+]?[0-9]+, 0o[0-7]+ and 0x[0-9a-fA-F]+.
func parseInteger(s string) (*big.Int, bool) {
	if len(s) > 400 { // longer than any number a double can hold
		return nil, false
	}
	digits, base := strings.TrimPrefix(s, "+"), 10
	switch {
	case strings.HasPrefix(s, "0o"):
		digits, base = s[2:], 8
	case strings.HasPrefix(s, "0x"):
		digits, base = s[2:], 16
	}
	unsigned := digits
	if base == 10 && digits == s {
		unsigned = strings.TrimPrefix(s, "-")
	}
	if unsigned == "" || strings.ContainsAny(unsigned, "+-_") {
		return nil, false
	}
	return new(big.Int).SetString(digits, base)
}

// integer gives n as a canonical number, or says that a double cannot hold it.
func integer(n *big.Int) (k kind, text, problem string) {
	if !keepsInteger(n) {
		return kindNumber, "", "is too large to be kept exactly; quote it if it is text"
	}
	f, _ := new(big.Float).SetInt(n).Float64()
	return kindNumber, jsonNumber(f), ""
}

// isFloat matches [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?.
func isFloat(s string) bool {
	s = trimSign(s)
	whole, rest := cutDigits(s)
	if strings.HasPrefix(rest, ".") {
		var fraction string
		fraction, rest = cutDigits(rest[1:])
		if whole == "" && fraction == "" {
			return false
		}
	} else if whole == "" {
		return false
	}
	if rest == "" {
		return true
	}
	if rest[0] != 'e' && rest[0] != 'E' {
		return false
	}
	exp, rest := cutDigits(trimSign(rest[1:]))
	return exp != "" && rest == ""
}

// trimSign drops one sign.
func trimSign(s string) string {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		return s[1:]
	}
	return s
}

// cutDigits splits s behind its leading digits.
func cutDigits(s string) (digits, rest string) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return s[:i], s[i:]
}
