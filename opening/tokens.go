package opening

import "github.com/goccy/go-yaml/token"

// tokenGuard looks at the tokens of a file before they are parsed. It refuses
// what openings do not use, which is also what makes YAML dangerous: aliases
// (which multiply), merge keys, tags, directives and complex keys; and shapes
// that the parser would spend too much on.
//
// Nesting is found without parsing. In brackets it is their number; outside, a
// stack of the columns in which maps and lists began:
//
//	nodes:            map at 1
//	  - id: a         map at 1, list at 3, map at 5
//	    with:         map at 1, list at 3, map at 5
//	      x: 1        map at 1, list at 3, map at 5, map at 7
//	edges: []         map at 1
//
// A key or a dash closes all that began further right. Where the columns of a
// file make no sense the stack may be off, and the parser gives up.
type tokenGuard struct {
	src   *source
	open  []level
	flow  int // how many of open are brackets
	paths int // bytes the parser will spend on paths of keys
	docs  int
	ended bool
	bad   bool
}

// level is one map or list that is open at a token.
type level struct {
	flow   bool
	list   bool
	column int
	keys   int
	base   int // bytes of the path in front of the level
	key    int // bytes of its last key
}

// check reports everything it finds and gives false if there was anything.
// Most of it is found token by token; depth ends the check at once.
func (g *tokenGuard) check(tokens token.Tokens) bool {
	for i, tk := range tokens {
		if tk.Position == nil {
			continue
		}
		g.feature(tk)
		switch tk.Type {
		case token.MappingStartType:
			g.push(level{flow: true})
		case token.SequenceStartType:
			g.push(level{flow: true, list: true})
		case token.MappingEndType, token.SequenceEndType:
			g.close()
		case token.SequenceEntryType:
			g.block(tk.Position.Column, true)
		case token.MappingValueType:
			if i > 0 && tokens[i-1].Position != nil {
				g.key(tokens[i-1])
			}
		}
		if len(g.open) > maxDepth {
			g.fail(tk, codeSize, "maps and lists are nested more than %d deep", maxDepth)
			return false
		}
		if g.paths > maxPathBytes {
			g.fail(tk, codeSize, "too many keys below long keys")
			return false
		}
	}
	return !g.bad
}

// fail reports a problem and remembers that there was one.
func (g *tokenGuard) fail(tk *token.Token, code, format string, args ...any) *Problem {
	g.bad = true
	return g.src.add(tokenPos(tk), code, format, args...)
}

// feature refuses the parts of YAML that openings do without.
func (g *tokenGuard) feature(tk *token.Token) {
	if g.ended && tk.Type != token.CommentType {
		g.ended = false
		g.documents(tk)
	}
	switch tk.Type {
	case token.AnchorType, token.AliasType:
		g.fail(tk, codeFeature, "anchors and aliases (& and *) are not used in openings").
			hint("write the value out, or quote it if it is text")
	case token.MergeKeyType:
		g.fail(tk, codeFeature, "merge keys (<<) are not used in openings").hint("write the keys out")
	case token.TagType:
		g.fail(tk, codeFeature, "tags (!) are not used in openings").hint("quote the value if it is text")
	case token.MappingKeyType:
		g.fail(tk, codeFeature, "complex keys (?) are not used in openings")
	case token.DirectiveType:
		g.fail(tk, codeFeature, "directives (%%) are not used in openings")
	case token.DocumentHeaderType:
		if g.docs++; g.docs > 1 || len(g.open) > 0 {
			g.documents(tk)
		}
	case token.DocumentEndType:
		g.ended = true
	}
}

// documents reports a second document, once.
func (g *tokenGuard) documents(tk *token.Token) {
	if !g.bad {
		g.fail(tk, codeFeature, "the file holds more than one YAML document").
			hint("one file is one opening")
	}
}

// top is the innermost open level.
func (g *tokenGuard) top() *level {
	if len(g.open) == 0 {
		return new(level)
	}
	return &g.open[len(g.open)-1]
}

// push opens a level below the last key. The parser writes a path as
// $.key.key[n]; four bytes are enough for what stands between keys.
func (g *tokenGuard) push(l level) {
	top := g.top()
	l.base = top.base + top.key + 4
	g.open = append(g.open, l)
	if l.flow {
		g.flow++
	}
}

// close ends the innermost bracket and whatever is open inside it.
func (g *tokenGuard) close() {
	for len(g.open) > 0 && g.flow > 0 {
		last := g.open[len(g.open)-1]
		g.open = g.open[:len(g.open)-1]
		if last.flow {
			g.flow--
			return
		}
	}
}

// block enters the block map or list at column, closing those it ends. A list
// may stand in the column of the key it belongs to, but not the other way.
func (g *tokenGuard) block(column int, list bool) {
	if g.flow > 0 {
		return
	}
	for len(g.open) > 0 {
		top := g.top()
		if top.column < column || top.column == column && (top.list == list || list) {
			break
		}
		g.open = g.open[:len(g.open)-1]
	}
	if top := g.top(); len(g.open) > 0 && top.column == column && top.list == list {
		return
	}
	g.push(level{column: column, list: list})
}

// key looks at the key of an entry.
func (g *tokenGuard) key(tk *token.Token) {
	g.block(tk.Position.Column, false)
	top := g.top()
	top.key = len(tk.Value)
	g.paths += top.base + top.key
	if len(tk.Value) > maxKeyBytes {
		g.fail(tk, codeSize, "a key may have %d bytes; this one has %d", maxKeyBytes, len(tk.Value))
	}
	if top.keys++; !top.flow && top.keys == maxMapKeys+1 {
		g.fail(tk, codeSize, "a map may have %d keys", maxMapKeys)
	}
}
