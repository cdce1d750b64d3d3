package wasm

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero/experimental/sys"
)

// TapedCall is one call of a recorded attempt, as JSON.
type TapedCall struct {
	Op       string
	Args, OK json.RawMessage
	Code     string // of the error that was answered; "" for an answer
}

// Needs is what recorded attempts cannot do without. The zero value needs
// nothing; Add adds calls to it.
type Needs struct {
	// Queries are the statements of kb.query, which only the knowledge base
	// can tell the domains of.
	Queries []KBQuery

	caps     Caps
	roots    map[string]bool // that were used; true: written to
	targets  []target        // of requests
	programs []string        // argv[0] of programs that ran
	unclear  map[string]bool // keys of capabilities of which the tape tells too little
}

// Add adds what one call needed. What was denied was not needed: the attempt
// went on without. domainOf tells the domain of a kind of event.
func (n *Needs) Add(c TapedCall, domainOf func(kind string) (string, bool)) {
	if c.Code == CodeDenied {
		return
	}
	switch op, _, _ := strings.Cut(c.Op, "."); {
	case c.Op == opClock, c.Op == "time.now":
		n.caps.Time = true
	case op == "kb":
		n.addKB(c, domainOf)
	case op == "model":
		n.caps.Model = true
	case c.Op == "artifact.save":
		n.write(domainArtifacts)
	case op == "fs":
		n.addFile(c)
	default:
		n.addOutside(c)
	}
}

func (n *Needs) addKB(c TapedCall, domainOf func(kind string) (string, bool)) {
	var args struct {
		KBQuery
		Domains []string `json:"domains"`
		Kind    string   `json:"kind"`
	}
	if json.Unmarshal(c.Args, &args) != nil {
		n.unsure("kb_read", "kb_write")
		return
	}
	switch c.Op {
	case "kb.propose":
		domain, known := domainOf(args.Kind)
		if !known {
			n.unsure("kb_write")
		}
		n.write(domain)
	case "kb.search":
		n.read(append(hitDomains(c.OK), args.Domains...)...)
	case "kb.query":
		n.Queries = append(n.Queries, args.KBQuery)
	default:
		n.unsure("kb_read") // an entity's causes may lie in any domain
	}
}

func hitDomains(answer json.RawMessage) []string {
	var res struct{ Hits []KBHit }
	_ = json.Unmarshal(answer, &res) // an answer without hits needed no domain
	var out []string
	for _, h := range res.Hits {
		out = append(out, h.Domain)
	}
	return out
}

func (n *Needs) read(domains ...string) {
	n.caps.KBRead.Names = sortedSet(append(n.caps.KBRead.Names, domains...))
}

// Read adds domains of the knowledge base that a query needed.
func (n *Needs) Read(domains ...string) { n.read(domains...) }

func (n *Needs) write(domain string) {
	n.caps.KBWrite.Names = sortedSet(append(n.caps.KBWrite.Names, domain))
}

func (n *Needs) unsure(keys ...string) {
	if n.unclear == nil {
		n.unclear = map[string]bool{}
	}
	for _, k := range keys {
		n.unclear[k] = true
	}
}

// addFile takes in an operation on a path of a root; what is done to an open
// file was decided when it was opened.
func (n *Needs) addFile(c TapedCall) {
	var args fsArgs
	if json.Unmarshal(c.Args, &args) != nil {
		n.unsure("fs")
		return
	}
	if args.Root == "" {
		return
	}
	if n.roots == nil {
		n.roots = map[string]bool{}
	}
	n.roots[args.Root] = n.roots[args.Root] || writesFile(c.Op, sys.Oflag(args.Flag))
}

// writesFile reports whether an operation on a path needs a root that may be
// written to.
func writesFile(op string, flag sys.Oflag) bool {
	switch op {
	case "fs.open":
		return flag&(sys.O_RDWR|sys.O_WRONLY|sys.O_CREAT|sys.O_TRUNC|sys.O_APPEND) != 0
	case "fs.stat", "fs.lstat", "fs.readlink":
		return false
	}
	return true
}

// addOutside takes in calls that reach beyond Runloop.
func (n *Needs) addOutside(c TapedCall) {
	var args struct {
		URL  string   `json:"url"`
		ID   string   `json:"id"`
		As   string   `json:"as"`
		Argv []string `json:"argv"`
	}
	if json.Unmarshal(c.Args, &args) != nil {
		n.unsure(capsKeys()...)
		return
	}
	switch c.Op {
	case "http.request":
		n.addRequest(args.URL, c.OK)
	case "secret.get":
		n.caps.Secrets = sortedSet(append(n.caps.Secrets, args.ID))
		if args.As == secretValue {
			n.caps.SecretsRaw = sortedSet(append(n.caps.SecretsRaw, args.ID))
		}
	case "exec.run":
		if len(args.Argv) > 0 {
			n.programs = append(n.programs, args.Argv[0])
		}
	case "tool.call":
		n.unsure("net", "allow_http", "secrets", "exec") // what the tool needs is in tools.json
	}
}

// addRequest takes in where a request went. Where redirects led it on the way
// is not told.
func (n *Needs) addRequest(at string, answer json.RawMessage) {
	_, t, err := parseURL(at)
	var res HTTPResponse
	if err != nil || json.Unmarshal(orEmptyObject(answer), &res) != nil || res.URL != "" && !sameURL(res.URL, at) {
		n.unsure("net", "allow_http")
		return
	}
	n.caps.AllowHTTP = n.caps.AllowHTTP || t.scheme == "http"
	n.targets = append(n.targets, t)
}

// sameURL reports whether two URLs lead to the same origin.
func sameURL(a, b string) bool {
	_, x, errX := parseURL(a)
	_, y, errY := parseURL(b)
	return errX == nil && errY == nil && x.origin() == y.origin()
}

// Of is the least of have that the recorded calls needed. Where a recording
// does not tell, it is what have has.
func (n *Needs) Of(have *Caps) *Caps {
	least := n.caps
	least.FS = nil
	for _, g := range have.FS {
		if write, used := n.roots[g.Path]; used {
			least.FS = append(least.FS, FSGrant{g.Path, g.Write && write})
		}
	}
	for _, host := range have.Net {
		g, err := parseNetGrant(host)
		if err == nil && slices.ContainsFunc(n.targets, func(t target) bool { return g == netGrant{t.host, t.port} }) {
			least.Net = append(least.Net, host)
		}
	}
	for _, name := range n.programs {
		least.Exec.List = append(least.Exec.List, have.grantOf(name)...)
	}
	least.Exec.List = sortedSet(least.Exec.List)
	if least.KBRead.Has("contacts") && have.KBRead.Has(DomainContactsRaw) {
		least.KBRead.Names = sortedSet(append(slices.Clone(least.KBRead.Names), DomainContactsRaw))
	}
	n.keepUnclear(&least, have)
	return Intersect(&least, have)
}

func (n *Needs) keepUnclear(least, have *Caps) {
	for key, keep := range map[string]func(){
		"fs":          func() { least.FS = have.FS },
		"net":         func() { least.Net = have.Net },
		"allow_http":  func() { least.AllowHTTP = have.AllowHTTP },
		"time":        func() { least.Time = have.Time },
		"kb_read":     func() { least.KBRead = have.KBRead },
		"kb_write":    func() { least.KBWrite = have.KBWrite },
		"secrets":     func() { least.Secrets = have.Secrets },
		"secrets_raw": func() { least.SecretsRaw = have.SecretsRaw },
		"model":       func() { least.Model = have.Model },
		"exec":        func() { least.Exec = have.Exec },
	} {
		if n.unclear[key] {
			keep()
		}
	}
}

// Without lists capabilities that lack one thing of c each: those that the
// runtimes of languages use on their own, so that a recording does not tell
// whether the agent needs them.
func (c *Caps) Without() []*Caps {
	var out []*Caps
	if c.Time {
		less := *c
		less.Time = false
		out = append(out, &less)
	}
	for i := range c.FS {
		less := *c
		less.FS = slices.Delete(slices.Clone(c.FS), i, i+1)
		out = append(out, &less)
	}
	return out
}
