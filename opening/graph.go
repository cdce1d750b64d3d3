package opening

import (
	"strconv"
	"strings"
)

// checkGraph reports what is wrong with an opening whatever its agents are:
// ends of edges that do not exist, cycles, budgets.
func checkGraph(src *source, o *Opening) {
	g := newGraph(o)
	for i, e := range o.Edges {
		path := "edges/" + strconv.Itoa(i)
		g.checkNode(src, src.val(path+"/from"), e.From.Node)
		g.checkNode(src, src.val(path+"/to"), e.To.Node)
	}
	for i, e := range o.exprs() {
		g.checkNode(src, src.val("success/"+strconv.Itoa(i)), e.Port.Node)
	}
	for i, ref := range o.saved() {
		g.checkNode(src, src.val("artifacts/"+strconv.Itoa(i)), ref.Node)
	}
	g.checkCycles(src)
	limit := o.Policy.BudgetTokens
	for i, n := range o.Nodes {
		if limit > 0 && n.BudgetTokens > limit {
			src.add(src.val("nodes/"+strconv.Itoa(i)+"/budget_tokens"), codeBudget,
				"the node may spend %d tokens, more than the %d of the whole run", n.BudgetTokens, limit)
		}
	}
}

// exprs gives the expressions of success, whichever list they are in.
func (o *Opening) exprs() []Expr {
	if o.Success == nil {
		return nil
	}
	return append(o.Success.AnyOf[:len(o.Success.AnyOf):len(o.Success.AnyOf)], o.Success.AllOf...)
}

// saved gives the ports of artifacts.save.
func (o *Opening) saved() []PortRef {
	if o.Artifacts == nil {
		return nil
	}
	return o.Artifacts.Save
}

// graph is the shape of an opening by numbers.
type graph struct {
	o     *Opening
	index map[string]int
	ids   []string
	out   [][]int // by node, the edges that leave it; both ends exist
}

// newGraph numbers nodes and edges as they come in the file. It also takes
// openings that are wrong, since it is used to find out.
func newGraph(o *Opening) *graph {
	g := &graph{o: o, index: make(map[string]int, len(o.Nodes)), out: make([][]int, len(o.Nodes))}
	for i, n := range o.Nodes {
		g.index[n.ID] = i
		g.ids = append(g.ids, n.ID)
	}
	for i, e := range o.Edges {
		from, okFrom := g.index[e.From.Node]
		if _, okTo := g.index[e.To.Node]; okFrom && okTo {
			g.out[from] = append(g.out[from], i)
		}
	}
	return g
}

// to is the node that an edge reaches.
func (g *graph) to(edge int) int { return g.index[g.o.Edges[edge].To.Node] }

// checkNode reports an id that no node has.
func (g *graph) checkNode(src *source, pos position, id string) {
	if _, ok := g.index[id]; !ok {
		src.add(pos, codeNode, "there is no node %s", quote(id)).
			hint("%s", src.didYouMean(id, g.ids))
	}
}

// Colours of the search for cycles.
const (
	white = iota // not seen
	grey         // on the path that is being followed
	black        // nothing behind it leads back
)

// checkCycles follows the edges in depth and reports one cycle for every edge
// that leads back onto its own path, so that no cycle stays hidden.
func (g *graph) checkCycles(src *source) {
	colour := make([]int, len(g.ids))
	next := make([]int, len(g.ids)) // edges already followed
	var path []int
	for root := range g.ids {
		if colour[root] != white {
			continue
		}
		path = append(path[:0], root)
		colour[root] = grey
		for len(path) > 0 {
			at := path[len(path)-1]
			if next[at] == len(g.out[at]) {
				colour[at] = black
				path = path[:len(path)-1]
				continue
			}
			edge := g.out[at][next[at]]
			next[at]++
			switch to := g.to(edge); colour[to] {
			case white:
				colour[to] = grey
				path = append(path, to)
			case grey:
				g.reportCycle(src, path, edge)
			}
		}
	}
}

// maxCycleShown keeps the message about a long cycle readable.
const maxCycleShown = 20

// reportCycle prints the part of path that edge closes to a cycle.
func (g *graph) reportCycle(src *source, path []int, edge int) {
	to := g.to(edge)
	start := len(path) - 1
	for path[start] != to {
		start--
	}
	var names []string
	for _, n := range path[start:] {
		names = append(names, visible(g.ids[n]))
	}
	if len(names) > maxCycleShown {
		names = append(names[:maxCycleShown], "…")
	}
	names = append(names, visible(g.ids[to]))
	src.add(src.val("edges/"+strconv.Itoa(edge)+"/to"), codeCycle,
		"the nodes wait for each other: %s", strings.Join(names, " → "))
}
