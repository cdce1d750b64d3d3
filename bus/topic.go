package bus

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of topics and filters.
const (
	// MaxTopic is the longest topic or filter, in bytes.
	MaxTopic = 512
	// MaxLevels is the largest number of levels.
	MaxLevels = 32
)

// ErrTopic is returned for a topic or filter that is not one.
var ErrTopic = errors.New("bus: bad topic")

// CheckTopic reports, as an [ErrTopic], why s cannot be published to. A topic
// is levels of printable UTF-8 separated by "/"; no level is empty and none
// has a "+" or "#".
func CheckTopic(s string) error { return check(s, false) }

// CheckFilter reports, as an [ErrTopic], why s cannot be subscribed to. A
// filter is a topic in which a level may be "+", which stands for any one
// level, and the last may be "#", which stands for any number of levels, also
// for none.
func CheckFilter(s string) error { return check(s, true) }

// check does what both checks have in common.
func check(s string, wild bool) error {
	why := ""
	switch {
	case s == "":
		why = "it is empty"
	case len(s) > MaxTopic:
		why = "it is too long"
	case strings.Count(s, "/") >= MaxLevels:
		why = "it has too many levels"
	case s[0] == '/' || s[len(s)-1] == '/' || strings.Contains(s, "//"):
		why = "a level is empty"
	case !wild && strings.ContainsAny(s, "+#") || !wildAlone(s):
		why = "a wildcard stands where none may be"
	case !printable(s):
		why = "it is not printable UTF-8"
	default:
		return nil
	}
	return fmt.Errorf("%w: %.64q: %s", ErrTopic, s, why)
}

// wildAlone reports whether each "+" and "#" is a level of its own, and no "#"
// but at the end. No level is empty.
func wildAlone(s string) bool {
	for i := range len(s) {
		if s[i] != '+' && s[i] != '#' {
			continue
		}
		if i > 0 && s[i-1] != '/' || i+1 < len(s) && (s[i] == '#' || s[i+1] != '/') {
			return false
		}
	}
	return true
}

// printable reports whether s is UTF-8 without control characters and the
// like.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return utf8.ValidString(s) && !strings.ContainsFunc(s, isUnprintable)
		}
	}
	return true
}

func isUnprintable(r rune) bool { return !unicode.IsPrint(r) }

// Matches reports whether a filter takes a topic. Both must be valid.
func Matches(filter, topic string) bool {
	for {
		f, moreF, inF := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, moreT, inT := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		if !inT {
			return !inF || moreF == "#"
		}
		if !inF {
			return false
		}
		filter, topic = moreF, moreT
	}
}

// Overlap reports whether some topic is taken by both filters.
func Overlap(a, b string) bool {
	for {
		x, moreA, inA := strings.Cut(a, "/")
		y, moreB, inB := strings.Cut(b, "/")
		if x == "#" || y == "#" {
			return true
		}
		if x != y && x != "+" && y != "+" {
			return false
		}
		if !inA || !inB {
			return inA == inB || moreA == "#" || moreB == "#"
		}
		a, b = moreA, moreB
	}
}

// node is a level of the tree of filters. A filter ends at the node that its
// levels lead to; "+" and "#" have children of their own.
type node struct {
	kids   map[string]*node
	plus   *node
	hash   *node
	subs   []*target // that end here and are in no group
	groups []*group  // whose filter ends here
}

// find returns the node at which filter ends, and makes it when it is new.
func (n *node) find(filter string) *node {
	for level := range strings.SplitSeq(filter, "/") {
		next := n.child(level)
		if next == nil {
			next = new(node)
			n.setChild(level, next)
		}
		n = next
	}
	return n
}

// child returns the node of one level, nil when there is none.
func (n *node) child(level string) *node {
	switch level {
	case "+":
		return n.plus
	case "#":
		return n.hash
	}
	return n.kids[level]
}

// setChild puts a node at a level, or nothing when it is nil.
func (n *node) setChild(level string, kid *node) {
	switch {
	case level == "+":
		n.plus = kid
	case level == "#":
		n.hash = kid
	case kid == nil:
		delete(n.kids, level)
	default:
		if n.kids == nil {
			n.kids = make(map[string]*node)
		}
		n.kids[level] = kid
	}
}

// prune removes what is empty on the way of filter, so that one-shot topics
// leave nothing behind. It reports whether n itself is empty now.
func (n *node) prune(filter string) bool {
	if filter != "" {
		level, rest, _ := strings.Cut(filter, "/")
		if kid := n.child(level); kid != nil && kid.prune(rest) {
			n.setChild(level, nil)
		}
	}
	return len(n.kids) == 0 && n.plus == nil && n.hash == nil && len(n.subs) == 0 && len(n.groups) == 0
}

// match calls found for each node whose filter takes the topic.
func (n *node) match(topic string, found func(*node)) {
	if n.hash != nil {
		found(n.hash)
	}
	level, rest, more := strings.Cut(topic, "/")
	for _, kid := range [...]*node{n.kids[level], n.plus} {
		switch {
		case kid == nil:
		case more:
			kid.match(rest, found)
		default:
			found(kid)
			if kid.hash != nil {
				found(kid.hash)
			}
		}
	}
}

// without returns list without one element, in the same order.
func without[T comparable](list []T, x T) []T {
	i := slices.Index(list, x)
	if i < 0 {
		return list
	}
	return slices.Delete(list, i, i+1)
}
