package pog_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/runloop-os/runloop/pog"
)

// A store is opened, told about a person and a note, and asked.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "pog")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := pog.Open(ctx, pog.Options{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	john, err := pog.NewDelta("contact.upserted", map[string]any{"name": "John Smith", "email": "john@example.com"})
	if err != nil {
		log.Fatal(err)
	}
	plan, err := pog.NewDelta("note.added", map[string]any{"title": "Q4 plan", "body": "Tell John about the dates."})
	if err != nil {
		log.Fatal(err)
	}
	events, err := store.Propose(ctx, pog.User(), john, plan)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("appended", len(events))

	// An agent sees the domains it was granted, with addresses masked.
	agent := pog.AgentReader(pog.DomainContacts)
	hits, err := store.Search(ctx, agent, pog.SearchRequest{Text: "jon smit"})
	if err != nil {
		log.Fatal(err)
	}
	for _, h := range hits {
		fmt.Println(h.Title, "from event", h.EventID)
	}
	_, err = store.Query(ctx, agent, "SELECT title FROM notes", nil, pog.Limits{})
	fmt.Println(err)

	// An agent may only say what it was granted, and only as itself.
	_, err = store.Propose(ctx, pog.Agent("writer", pog.DomainArtifacts), plan)
	fmt.Println(err)
	// Output:
	// appended 2
	// John Smith from event 1
	// the query cannot be run: denied:kb_read: a table, function or statement in it does not exist or is not granted
	// refused: delta 0: kind: denied:kb_write:notes is not granted
}
