package opening

import (
	"strconv"
	"strings"
)

// nodes reads the nodes that have an id; other checks can then find them, even
// when something else in them is wrong.
func (d *decoder) nodes(t *tree, o *Opening) {
	items := d.list(t, "nodes")
	if t.kind == kindList && len(items) == 0 {
		d.src.add(t.pos, codeValue, "an opening has at least one node")
	}
	if len(items) > maxNodes {
		d.src.add(t.pos, codeSize, "an opening may have %d nodes; this one has %d", maxNodes, len(items))
		return
	}
	first := map[string]position{}
	for _, item := range items {
		path := "nodes/" + strconv.Itoa(len(o.Nodes))
		n := d.node(item, path)
		if n.ID == "" {
			continue
		}
		pos := d.src.val(path + "/id")
		if at, twice := first[n.ID]; twice {
			d.src.add(pos, codeDuplicate, "the node id %s is already used, in line %d", quote(n.ID), at.Line)
			continue
		}
		first[n.ID] = pos
		o.Nodes = append(o.Nodes, n)
	}
}

// node reads one node and notes where its parts stand.
func (d *decoder) node(t *tree, path string) Node {
	var n Node
	t.record(d.src, path, position{})
	d.fields(t, "a node", []field{
		{"id", true, func(t *tree) { n.ID = d.identifier(t, "the id of a node") }},
		{"use", true, func(t *tree) { n.Use = d.use(t) }},
		{"with", false, func(t *tree) { n.With = d.mapJSON(t, "with") }},
		{"retry", false, func(t *tree) { n.Retry = d.retry(t) }},
		{"timeout_ms", false, func(t *tree) { n.TimeoutMS = d.milliseconds(t, "timeout_ms") }},
		{"budget_tokens", false, func(t *tree) { n.BudgetTokens = d.tokens(t, "budget_tokens") }},
		{"tags", false, func(t *tree) { n.Tags = d.stringList(t, "tags") }},
	})
	return n
}

// use reads agent:<name>[@<variant>] or opening:<name> and gives "" for anything else.
func (d *decoder) use(t *tree) string {
	s, ok := d.str(t, "use")
	if !ok {
		return ""
	}
	if name, ok := strings.CutPrefix(s, "opening:"); ok {
		if !isIdentifier(name) {
			d.src.add(t.at(len("opening:")), codeValue, "%s is not the name of an opening: it must be %s",
				quote(name), identifierRule)
			return ""
		}
		return s
	}
	name, variant, hasVariant := strings.Cut(strings.TrimPrefix(s, "agent:"), "@")
	switch {
	case !strings.HasPrefix(s, "agent:"):
		p := d.src.add(t.pos, codeValue, "%s does not say what to use", quote(s))
		if isIdentifier(name) {
			p.hint("write agent:%s, or opening:%s", name, name)
		} else {
			p.hint("write agent:<name>, or opening:<name>")
		}
	case !isIdentifier(name):
		d.src.add(t.at(len("agent:")), codeValue, "%s is not the name of an agent: it must be %s",
			quote(name), identifierRule)
	case hasVariant && !isVariant(variant):
		d.src.add(t.at(len("agent:")+len(name)+1), codeValue,
			"%s is not a variant: it must be up to 64 letters, digits, _ . or -", quote(variant))
	default:
		return s
	}
	return ""
}

// isVariant allows versions, such as 1.2.0-rc.1, besides plain words. A
// variant becomes part of a topic and of a path, so it holds no separator and
// is not "..".
func isVariant(s string) bool {
	if s == "" || len(s) > 64 || strings.HasPrefix(s, ".") {
		return false
	}
	for i := range len(s) {
		if !isWordByte(s[i]) && s[i] != '.' {
			return false
		}
	}
	return true
}

// retry reads a retry map and writes out its defaults, so that a recorded
// opening means the same for ever.
func (d *decoder) retry(t *tree) *Retry {
	r := &Retry{InitialMS: -1, MaxMS: -1, Multiplier: defaultMultiplier, Jitter: defaultJitter}
	day := maxTimeout.Milliseconds()
	wait := func(what string) func(*tree) {
		return func(t *tree) { r.InitialMS = d.integer(t, what, 0, day) }
	}
	d.fields(t, "retry", []field{
		{"max_attempts", true, func(t *tree) {
			r.MaxAttempts = int(d.integer(t, "max_attempts", 1, maxAttempts))
		}},
		{"initial_ms", false, wait("initial_ms")},
		{"backoff_ms", false, wait("backoff_ms")},
		{"max_ms", false, func(t *tree) { r.MaxMS = d.integer(t, "max_ms", 0, day) }},
		{"multiplier", false, func(t *tree) { r.Multiplier = d.number(t, "multiplier", 1, 1000) }},
		{"jitter", false, func(t *tree) { r.Jitter = d.number(t, "jitter", 0, 1) }},
	})
	if t.get("initial_ms") != nil && t.get("backoff_ms") != nil {
		d.src.add(t.pos, codeDuplicate, "retry has both initial_ms and backoff_ms, which mean the same")
	}
	if r.InitialMS < 0 {
		r.InitialMS = defaultInitialMS
		if r.MaxMS >= 0 {
			r.InitialMS = min(r.InitialMS, r.MaxMS)
		}
	}
	if r.MaxMS < 0 {
		r.MaxMS = max(defaultMaxMS, r.InitialMS)
	}
	if r.MaxMS < r.InitialMS {
		d.src.add(t.pos, codeValue, "max_ms (%d) is less than the first wait (%d)", r.MaxMS, r.InitialMS)
	}
	return r
}
