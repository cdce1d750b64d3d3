package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/runloop-os/runloop/wasm/guest"
)

const (
	// ambiguous is the confidence in the first of several that fit as well.
	ambiguous    = 0.6
	runnersUpMax = 4
)

// resolveContact finds out who a name or address means.
func resolveContact(c *guest.Call) error {
	var with struct {
		Query  string `json:"query"`
		Prompt string `json:"prompt"`
	}
	if err := c.Bind(&with); err != nil {
		return err
	}
	query := strings.TrimSpace(with.Query)
	if query == "" && strings.TrimSpace(with.Prompt) != "" {
		return resolveAddressee(c, with.Prompt)
	}
	if query == "" {
		return fmt.Errorf("with.query is empty: give a name or an address")
	}
	known, err := candidates(c, query)
	if err != nil {
		return err
	}
	best := pick(query, known)
	c.Log("info", verdict(query, &best), nil)
	return c.Out("out", best)
}

// resolveAddressee finds out whom a prompt is for.
func resolveAddressee(c *guest.Call, prompt string) error {
	who, err := addressee(c, prompt)
	if err != nil {
		return err
	}
	c.Log("info", verdict(who.Mention, &who), nil)
	return c.Out("out", who)
}

// pick ranks what was found; nobody gives a stub without an address.
func pick(query string, known []contact) contact {
	ranked := rank(query, known)
	if len(ranked) == 0 {
		return contact{ContactID: "stub:" + slug(query), Name: query, Confidence: 0.1}
	}
	if len(ranked) > 1 && ranked[1].Confidence == ranked[0].Confidence {
		for i := range ranked { // none of them is surely meant
			ranked[i].Confidence = min(ranked[i].Confidence, ambiguous)
		}
	}
	best := ranked[0]
	for _, o := range ranked[1:min(len(ranked), runnersUpMax+1)] {
		best.RunnersUp = append(best.RunnersUp, runnerUp{
			ContactID: o.ContactID, Name: o.Name, Org: o.Org, Confidence: o.Confidence,
		})
	}
	return best
}

// candidates are the contacts that a search finds for the query.
func candidates(c *guest.Call, query string) ([]contact, error) {
	hits, err := c.Search(guest.Search{Text: query, K: 20, Domains: []string{"contacts"}})
	if err != nil {
		return nil, err
	}
	keys := []any{query, query}
	for _, h := range hits {
		keys = append(keys, strings.TrimPrefix(h.Entity, "contact:"))
	}
	rows, err := c.Query("SELECT contact_key, name, coalesce(email, ''), coalesce(org, ''), source_event "+
		"FROM contacts WHERE lower(email) = lower(?) OR lower(name) = lower(?)"+
		" OR contact_key IN ("+strings.TrimSuffix(strings.Repeat("?,", len(hits)), ",")+") LIMIT 50", keys...)
	if err != nil {
		return nil, err
	}
	var out []contact
	for _, row := range rows.Rows {
		var k contact
		for i, into := range []any{&k.ContactID, &k.Name, &k.Email, &k.Org, &k.LastEventID} {
			if err := json.Unmarshal(row[i], into); err != nil {
				return nil, fmt.Errorf("contacts: column %s: %w", rows.Columns[i], err)
			}
		}
		k.ContactID = "contact:" + k.ContactID
		out = append(out, k)
	}
	return out, nil
}

// verdict is the line that people see: who it is and who else it could be.
func verdict(query string, best *contact) string {
	if strings.HasPrefix(best.ContactID, "stub:") {
		return fmt.Sprintf("nobody called %q is known", query)
	}
	line := fmt.Sprintf("%q is %s (%s, confidence %.2f)", query, best.Name, cmp.Or(best.Org, "no organisation"),
		best.Confidence)
	for i, o := range best.RunnersUp {
		line += fmt.Sprintf("; %d. %s (%s, %.2f)", i+2, o.Name, cmp.Or(o.Org, "no organisation"), o.Confidence)
	}
	return line
}
