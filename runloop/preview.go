package runloop

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/runloop-os/runloop/broker"
	"github.com/runloop-os/runloop/opening"
	"github.com/runloop-os/runloop/pog"
)

// preview is what a run would be: what is told before anything is sent, and all
// that a dry run gives.
type preview struct {
	Opening   string          `json:"opening"`
	Source    string          `json:"source"` // its file
	OpeningID string          `json:"opening_id"`
	Params    json.RawMessage `json:"params"`
	Nodes     []previewNode   `json:"nodes"`
	Models    []previewModel  `json:"models"` // that may be asked; none: no agent may ask
	Limits    previewLimits   `json:"limits"`
	// Estimate is what earlier runs of the same opening spent; nil: there are none.
	Estimate *previewEstimate `json:"estimate"`
}

// previewEstimate is the median of earlier runs.
type previewEstimate struct {
	Runs   int     `json:"runs"` // that it is made of
	Tokens int64   `json:"tokens"`
	USD    float64 `json:"usd"`
}

// previewNode is one node. Those of an opening inside follow the node that it
// is, as letter/draft.
type previewNode struct {
	Node    string `json:"node"`
	Use     string `json:"use"`
	Version string `json:"version,omitempty"`
	May     string `json:"may"`
	Refused string `json:"refused,omitempty"` // it would not run: why
	Model   string `json:"model,omitempty"`   // that it would ask, as far as its with map says
	Tokens  int64  `json:"budget_tokens,omitempty"`
	MS      int64  `json:"timeout_ms,omitempty"`
}

// previewModel is a model that agents may ask.
type previewModel struct {
	Model string   `json:"model"`          // as it would be asked for
	To    []string `json:"to"`             // provider:model, in the order of trying
	None  string   `json:"none,omitempty"` // why nobody would answer
	// USDAtMost is what it would cost to spend all tokens of the run on it.
	USDAtMost float64 `json:"usd_at_most"`
}

// previewLimits are what bounds the run, each with what set it. A nil one is
// not bounded.
type previewLimits struct {
	Tokens    *previewLimit[int64]   `json:"tokens"`
	USD       *previewLimit[float64] `json:"usd"`
	TimeoutMS *previewLimit[int64]   `json:"timeout_ms"`
}

type previewLimit[T any] struct {
	Most T      `json:"most"`
	From string `json:"from"` // request, opening or config
}

// preview says what the run of a plan would be. asked are limits beyond the
// opening's.
func (d *desk) preview(source string, plan *opening.Plan, asked opening.Limits, models *broker.Broker) *preview {
	p := &preview{
		Opening: plan.Opening.Name, Source: source, OpeningID: opening.OpeningID(plan.IRHash),
		Params: plan.Params, Models: []previewModel{},
		Limits: d.cfg.limitsOf(plan.Opening.Policy, asked),
	}
	p.Nodes = d.previewNodes("", plan.Opening, plan)
	var most int64
	if p.Limits.Tokens != nil {
		most = p.Limits.Tokens.Most
	}
	for _, n := range p.Nodes {
		known := slices.ContainsFunc(p.Models, func(m previewModel) bool { return m.Model == n.Model })
		if n.Model != "" && !known {
			p.Models = append(p.Models, previewOf(models, n.Model, most))
		}
	}
	return p
}

// estimateFrom is how many runs an estimate is made of, at most.
const estimateFrom = 20

// estimateOf looks up what earlier runs of an opening spent. A ledger that cannot
// be read gives none: nothing depends on it.
func (o *IO) estimateOf(ctx context.Context, cfg *Loaded, openingID string) *previewEstimate {
	runs, err := pog.PeekUsage(ctx, o.storeOptions(cfg), openingID, estimateFrom)
	if err != nil || len(runs) == 0 {
		return nil
	}
	slices.SortFunc(runs, func(a, b pog.PeekedUsage) int {
		return cmp.Or(cmp.Compare(a.Tokens, b.Tokens), cmp.Compare(a.USD, b.USD))
	})
	middle := runs[len(runs)/2]
	return &previewEstimate{len(runs), middle.Tokens, middle.USD}
}

// previewNodes lists the nodes of an opening of the plan.
func (d *desk) previewNodes(prefix string, o *opening.Opening, plan *opening.Plan) []previewNode {
	var out []previewNode
	for i, n := range o.Nodes {
		with := n.With // of an opening inside, what it is given is not known
		if o == plan.Opening {
			with = plan.With[i]
		}
		node := previewNode{Node: prefix + n.ID, Use: n.Use, Tokens: n.BudgetTokens, MS: n.TimeoutMS}
		if inner := plan.Openings[n.Nested()]; inner != nil {
			node.May = "what its agents may"
			out = append(append(out, node), d.previewNodes(node.Node+"/", inner, plan)...)
			continue
		}
		d.previewAgent(&node, n.Ref(), with)
		out = append(out, node)
	}
	return out
}

// previewAgent says what the agent of a node may do.
func (d *desk) previewAgent(n *previewNode, ref string, with json.RawMessage) {
	b, err := d.catalog.Bundle(ref)
	if err != nil {
		n.May, n.Refused = "nothing", err.Error()
		return
	}
	e := d.explanation(b)
	n.Version, n.May, n.Refused = e.Version, e.May, e.Refused
	if e.Caps.Model {
		n.Model = cmp.Or(modelIn(with), d.cfg.Models.Default)
	}
}

// modelIn is the model that a with map names.
func modelIn(with json.RawMessage) string {
	var w struct{ Model string }
	if json.Unmarshal(with, &w) != nil || strings.Contains(w.Model, "{{") {
		return ""
	}
	return w.Model
}

// previewOf says where a model's name leads.
func previewOf(models *broker.Broker, model string, tokens int64) previewModel {
	m := previewModel{Model: model, To: []string{}}
	targets, err := models.Resolve(model)
	if err != nil {
		var why *broker.Error
		switch {
		case len(models.Providers()) == 0:
			m.None = "none configured"
		case errors.As(err, &why):
			m.None = why.Msg
		default:
			m.None = err.Error()
		}
		return m
	}
	for _, t := range targets {
		m.To = append(m.To, t.Provider+":"+t.Model)
	}
	m.USDAtMost = models.MostUSD(model, tokens)
	return m
}
