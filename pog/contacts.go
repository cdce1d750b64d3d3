package pog

import (
	"encoding/json"
	"slices"
	"strings"
)

// contactPayload is the payload of contact.upserted.
type contactPayload struct {
	Name       string   `json:"name"`
	Email      string   `json:"email"`
	Emails     []string `json:"emails"`
	Org        string   `json:"org"`
	Title      string   `json:"title"`
	Trust      *float64 `json:"trust"`
	ExternalID string   `json:"external_id"`
	Tags       []string `json:"tags"`
	Source     string   `json:"source"`
}

// aliases are what a contact can be recognized by, the strongest first: the
// id it has in its source, its address, or, when it has neither, its name.
func (c *contactPayload) aliases() []string {
	var out []string
	if c.ExternalID != "" {
		out = append(out, "uid:"+c.ExternalID)
	}
	if c.Email != "" {
		out = append(out, "email:"+strings.ToLower(c.Email))
	}
	if len(out) == 0 {
		out = append(out, "name:"+normalizeName(c.Name))
	}
	return out
}

// projectContact creates a contact or brings it up to date. A person's word
// counts more than an agent's: what the user entered, an agent's event can
// complete but not change. Otherwise a poisoned document could, through an
// agent, turn a known name into another address.
func projectContact(p *projection, r *record) error {
	var c contactPayload
	if err := json.Unmarshal(r.Payload, &c); err != nil {
		return nil // stays in the events view; a view must not stop on a bad row
	}
	old, err := p.findContact(&c)
	if err != nil {
		return err
	}
	fresh := row{
		"name": c.Name, "email": c.Email, "org": c.Org, "title": c.Title,
		"external_id": c.ExternalID, "source": c.Source,
	}
	if c.Trust != nil {
		fresh["trust"] = *c.Trust
	}
	fresh["tags"] = jsonList(c.Tags)
	v := old
	if v == nil {
		v = row{"contact_key": p.red.key("contact:" + c.aliases()[0])}
	}
	guarded := old != nil && integer(old["confirmed"]) != 0 && !r.confirmed
	emails := otherAddresses(v, &c, guarded)
	mergeRow(v, fresh, guarded)
	if v["emails"] = emails(v.str("email")); guarded {
		err = p.write(&contactsTable, v, false)
	} else {
		err = p.save(&contactsTable, r, v)
	}
	if err != nil {
		return err
	}
	if err := p.saveAliases(&c, v); err != nil {
		return err
	}
	return p.history(r, "contact:"+v.str("contact_key"))
}

// mergeRow copies what is set in fresh into v; with guarded, only where v has
// nothing yet.
func mergeRow(v, fresh row, guarded bool) {
	for name, value := range fresh {
		if value == nil || value == "" {
			continue
		}
		if has := v[name] != nil && v[name] != ""; !guarded || !has {
			v[name] = value
		}
	}
}

// otherAddresses returns a function that lists every address the contact has
// or had apart from the one it goes by now.
func otherAddresses(v row, c *contactPayload, guarded bool) func(current string) any {
	var known []string
	_ = json.Unmarshal([]byte(v.str("emails")), &known)
	known = append(known, v.str("email"))
	if !guarded || len(known) == 1 && known[0] == "" {
		known = append(append(known, c.Email), c.Emails...)
	}
	return func(current string) any {
		var list []string
		for _, address := range known {
			same := func(s string) bool { return strings.EqualFold(s, address) }
			if address != "" && !same(current) && !slices.ContainsFunc(list, same) {
				list = append(list, address)
			}
		}
		return jsonList(list)
	}
}

// findContact returns the contact the payload is about, or nil. An address
// shared by two cards with ids of their own belongs to two contacts.
func (p *projection) findContact(c *contactPayload) (row, error) {
	for _, alias := range c.aliases() {
		id, err := p.db.int(`SELECT contact_id FROM contact_aliases WHERE alias = ?`, alias)
		if err != nil {
			return nil, err
		}
		if id == 0 {
			continue
		}
		v, err := p.find(&contactsTable, `id = ?`, id)
		if err != nil || v == nil {
			return nil, err
		}
		other := v.str("external_id")
		if c.ExternalID == "" || other == "" || other == c.ExternalID {
			return v, nil
		}
	}
	return nil, nil
}

// saveAliases remembers what the contact is recognized by from now on: only
// what its row took over.
func (p *projection) saveAliases(c *contactPayload, v row) error {
	for _, alias := range c.aliases() {
		taken := alias == "uid:"+v.str("external_id") ||
			alias == "email:"+strings.ToLower(v.str("email")) || strings.HasPrefix(alias, "name:")
		if !taken {
			continue
		}
		err := p.db.exec(`INSERT OR IGNORE INTO contact_aliases(alias, contact_id) VALUES(?,?)`,
			alias, v["id"])
		if err != nil {
			return err
		}
	}
	return nil
}

// collectAddresses adds the addresses in text, in lower case, to set.
func collectAddresses(text string, set map[string]bool) {
	for {
		at, width := findAt(text)
		if at < 0 {
			return
		}
		start := localStart(text[:at])
		end := at + width + domainLen(text[at+width:])
		if start < at && end > at+width {
			set[strings.ToLower(strings.Trim(text[start:at], `"'<`)+"@"+text[at+width:end])] = true
		}
		text = text[max(end, at+width):]
	}
}
