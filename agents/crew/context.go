package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/runloop-os/runloop/wasm/guest"
)

const (
	snippetsMax = 4
	excerptMax  = 280 // runes
)

// gatherContext looks for what the knowledge base holds on a topic and a
// person. Both searches are needed: a note on the topic need not name the
// person, and the other way round.
func gatherContext(c *guest.Call) error {
	var with struct {
		Topic  string `json:"topic"`
		Prompt string `json:"prompt"`
	}
	if err := c.Bind(&with); err != nil {
		return err
	}
	var who contact
	if _, err := c.Input("contact", &who); err != nil {
		return err
	}
	if strings.TrimSpace(with.Topic) == "" && with.Prompt != "" {
		if with.Topic = topicOf(with.Prompt, who.Mention); with.Topic == "" {
			return fmt.Errorf("the prompt does not say what it is about: add \"about …\", or -p topic=…")
		}
	}
	hits, err := search(c, with.Topic, who.Name)
	if err != nil {
		return err
	}
	out := bundle{Topic: with.Topic, Snippets: []snippet{}}
	for _, h := range hits[:min(len(hits), snippetsMax)] {
		out.Snippets = append(out.Snippets, snippet{
			Title: h.Title, Excerpt: shorten(h.Excerpt, excerptMax), EventID: h.EventID,
		})
	}
	c.Log("info", fmt.Sprintf("%d of %d notes fit %q", len(out.Snippets), len(hits), with.Topic), nil)
	return c.Out("out", out)
}

// search ranks notes by reciprocal rank over two searches, where the topic
// counts twice as much as the person.
func search(c *guest.Call, topic, name string) ([]guest.Hit, error) {
	score := map[int64]float64{}
	byEvent := map[int64]guest.Hit{}
	for _, q := range []struct {
		text   string
		weight float64
	}{{topic, 2}, {name, 1}} {
		if strings.TrimSpace(q.text) == "" {
			continue
		}
		hits, err := c.Search(guest.Search{Text: q.text, K: 12, Domains: []string{"notes"}})
		if err != nil {
			return nil, err
		}
		for rank, h := range hits {
			score[h.EventID] += q.weight / float64(60+rank)
			byEvent[h.EventID] = h
		}
	}
	out := make([]guest.Hit, 0, len(byEvent))
	for _, h := range byEvent {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b guest.Hit) int {
		return cmp.Or(cmp.Compare(score[b.EventID], score[a.EventID]),
			cmp.Compare(a.EventID, b.EventID))
	})
	return out, nil
}
