package pog

import (
	"regexp"
	"slices"
	"sync"
)

// Domain is a part of the graph that is granted as a whole, in kb_read and
// kb_write of a bundle's capabilities (spec/03). Names are exact: "Notes" or
// "notes " grant nothing.
type Domain string

// The domains. Events of every kind that a user registered are in
// DomainCustom.
const (
	DomainContacts  Domain = "contacts"
	DomainNotes     Domain = "notes"
	DomainArtifacts Domain = "artifacts"
	DomainEmail     Domain = "email"
	DomainAccounts  Domain = "accounts"
	DomainRuns      Domain = "runs"
	DomainActions   Domain = "actions"
	DomainAudit     Domain = "audit"
	DomainModels    Domain = "models"
	DomainRouting   Domain = "routing"
	DomainCustom    Domain = "custom"
)

// Domains lists every domain, in the order the views are built in.
func Domains() []Domain {
	return []Domain{DomainContacts, DomainNotes, DomainArtifacts, DomainEmail, DomainAccounts,
		DomainRuns, DomainActions, DomainAudit, DomainModels, DomainRouting, DomainCustom}
}

func (d Domain) known() bool { return slices.Contains(Domains(), d) }

// kind is what the store knows of a kind of event apart from its schema.
type kind struct {
	domain Domain
	// hostOnly kinds are the host's record of its own decisions: no agent may
	// propose them, whatever it was granted.
	hostOnly bool
	// large are the fields whose values are kept beside the ledger when they are
	// large.
	large []string
	// project derives the views' rows; nil leaves the kind to the events view.
	project func(*projection, *record) error
}

// builtinKinds is the one table of kinds; it is never written.
var builtinKinds = map[string]kind{
	"contact.upserted": {domain: DomainContacts, project: projectContact},
	"note.added":       {domain: DomainNotes, project: projectNote},
	"artifact.created": {domain: DomainArtifacts, project: projectArtifact},
	"email.sent":       {domain: DomainEmail, project: projectEmail},
	"account.linked":   {domain: DomainAccounts, project: projectAccount},
	"run.started":      {domain: DomainRuns, hostOnly: true, large: []string{"opening_ir", "openings", "params"}, project: projectRun},
	"run.finished":     {domain: DomainRuns, hostOnly: true, project: projectRun},
	"run.paused":       {domain: DomainRuns, hostOnly: true, project: projectRun},
	"run.resumed":      {domain: DomainRuns, hostOnly: true, project: projectRun},
	"run.stopping":     {domain: DomainRuns, hostOnly: true},
	"run.trace":        {domain: DomainRuns, hostOnly: true, large: []string{"ladder"}},
	"node.started":     {domain: DomainRuns, hostOnly: true, project: projectNode},
	"node.parked":      {domain: DomainRuns, hostOnly: true, large: []string{"hostcalls", "ladder"}, project: projectNode},
	"node.retry":       {domain: DomainRuns, hostOnly: true, large: []string{"hostcalls", "ladder"}, project: projectNode},
	"node.finished":    {domain: DomainRuns, hostOnly: true, large: []string{"outputs", "hostcalls", "ladder"}, project: projectNode},
	"effect.begun":     {domain: DomainActions, hostOnly: true, project: projectEffect},
	"effect.done":      {domain: DomainActions, hostOnly: true, large: []string{"answer"}, project: projectEffect},
	"action.requested": {domain: DomainActions, hostOnly: true, large: []string{"details"}, project: projectAction},
	"action.decided":   {domain: DomainActions, hostOnly: true, project: projectAction},
	"cap.audit":        {domain: DomainAudit, hostOnly: true},
	"broker.call":      {domain: DomainModels, hostOnly: true},
	"route.corrected":  {domain: DomainRouting, hostOnly: true},
	"route.forgotten":  {domain: DomainRouting, hostOnly: true},
}

// kindName is what a kind may be called; it is also a file name.
var kindName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}(\.[a-z][a-z0-9_]{0,31}){1,3}$`)
})

// DomainOf returns the domain of a kind of event, and whether the store knows
// the kind. Kinds that a user registered are in DomainCustom.
func (s *Store) DomainOf(kind string) (Domain, bool) {
	k, err := s.kinds.lookup(kind)
	if err != nil {
		return "", false
	}
	return k.domain, true
}
