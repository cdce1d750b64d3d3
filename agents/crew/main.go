// Command crew is the one WebAssembly module behind all built-in agents: like
// the host binary it looks at argv[0] to know which of them it is.
package main

import "github.com/runloop-os/runloop/wasm/guest"

// handlers are the built-in agents; each has a file of its own.
var handlers = guest.Handlers{
	"contact_resolver": resolveContact,
	"context_gatherer": gatherContext,
	"writer":           writeDraft,
	"critic":           reviewDraft,
	"mailer":           sendMail,
	"answerer":         answerQuestion,
	"log_patterns":     findPatterns,
	"log_summarizer":   summarizeLog,
}

func main() { guest.Main(handlers) }
