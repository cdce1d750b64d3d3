package opening

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/google/uuid"

	"github.com/runloop-os/runloop/rmp"
)

// Engine runs plans. Its fields are set before the first run and shared by all
// runs, which do not disturb each other.
type Engine struct {
	Executor Executor
	// Store keeps the records of runs; nil keeps none.
	Store Store
	// Actions tells of requests for confirmation; nil tells of none.
	Actions Actions
	// Artifacts keeps what openings ask to keep; nil keeps nothing.
	Artifacts ArtifactSaver
	// Sink gets the events of a run one by one, in order, when they happen. It
	// holds the run up while it works.
	Sink func(Event)
	// Catalog checks what openings inside others are given against the agents
	// that would get it, once it is known; nil leaves that to the agents.
	Catalog Catalog
	// MaxParallel is how many nodes of a run may be active at once; a node that
	// waits for a person is not. 0 is the number of processors.
	MaxParallel int
	// Now and Rand are the clock and the randomness; nil are the real ones.
	Now  func() time.Time
	Rand io.Reader
}

// RunOptions are what differs from run to run of the same plan.
type RunOptions struct {
	// TraceID names the run; the zero UUID is replaced by a random one.
	TraceID uuid.UUID
	// Seed makes the run repeatable; the zero seed is replaced likewise.
	Seed Seed
	// Flags are kept with the run as they are, for example that confirmations
	// were switched off. They must be a JSON map, or nothing.
	Flags json.RawMessage
	// Control steers the run while it goes on; nil leaves it alone.
	Control *Control
	// Fork takes steps over from an earlier run; nil runs all of them.
	Fork *Fork
	// Limits bound the run beyond its opening's policy. They are on record, so
	// that a run that is gone on with has them.
	Limits Limits

	within *within // of a run that is the attempt of a node
}

// Report says how a run went. Nodes are in the order of the file.
type Report struct {
	TraceID    string          `json:"trace_id"`
	OpeningID  string          `json:"opening_id"`
	Status     Status          `json:"status"` // never StatusSkipped
	Success    bool            `json:"success"`
	Reason     string          `json:"reason,omitempty"` // a sentence, when it is not a success
	DurationMS int64           `json:"duration_ms"`
	Usage      rmp.Usage       `json:"usage"`
	Nodes      []NodeReport    `json:"nodes"`
	Artifacts  []SavedArtifact `json:"artifacts,omitempty"`
	Fork       *ForkReport     `json:"fork,omitempty"` // of a fork
	Trace      *Trace          `json:"-"`
}

// NodeReport says what became of one node.
type NodeReport struct {
	Node       string                     `json:"node"`
	Agent      string                     `json:"agent"`
	State      State                      `json:"state"`
	Attempt    int                        `json:"attempt"` // 0: it never ran
	DurationMS int64                      `json:"duration_ms"`
	Outputs    map[string]json.RawMessage `json:"outputs,omitempty"`
	Error      *rmp.AgentError            `json:"error,omitempty"`
	Reason     string                     `json:"reason,omitempty"`
}

// OpeningID names an opening by its IR: the same opening has the same id
// everywhere. It is a UUID of version 8 (RFC 9562, section 5.8) made from the
// hash, which must be what Opening.Hash gave.
func OpeningID(irHash string) string {
	var id uuid.UUID
	if raw, err := parseHash(irHash); err == nil {
		copy(id[:], raw)
	}
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return "opening:" + id.String()
}

// Run carries a plan out and returns when every node has ended. That a node
// failed or that the run is not a success is in the report; an error means
// that the run could not be carried out or not be recorded. When ctx ends the
// run is cancelled: running agents are stopped, and Run returns once they have.
func (e *Engine) Run(ctx context.Context, p *Plan, opt RunOptions) (*Report, error) {
	if e.Executor == nil {
		return nil, errors.New("run an opening: the engine has no executor")
	}
	if err := e.complete(&opt); err != nil {
		return nil, fmt.Errorf("run an opening: %w", err)
	}
	if opt.Fork != nil {
		if err := opt.Fork.Check(p); err != nil {
			return nil, err
		}
	}
	return newRunner(e, p, opt).carryOut(ctx)
}

// carryOut watches for actions and runs to the end.
func (r *runner) carryOut(ctx context.Context) (*Report, error) {
	if err := r.watchActions(); err != nil {
		return nil, fmt.Errorf("run an opening: %w", err)
	}
	defer r.close()
	return r.run(ctx)
}

// complete fills in what the options leave to the engine.
func (e *Engine) complete(opt *RunOptions) error {
	if err := opt.Limits.Check(); err != nil {
		return err
	}
	random := e.Rand
	if random == nil {
		random = rand.Reader
	}
	if opt.TraceID == (uuid.UUID{}) {
		id, err := uuid.NewRandomFromReader(random)
		if err != nil {
			return err
		}
		opt.TraceID = id
	}
	if opt.Fork != nil {
		opt.Seed = opt.Fork.Source.Seed
	}
	if opt.Seed == (Seed{}) {
		if _, err := io.ReadFull(random, opt.Seed[:]); err != nil {
			return err
		}
	}
	if len(opt.Flags) > 0 {
		flags, err := canonical(opt.Flags)
		if err != nil {
			return fmt.Errorf("the flags of the run: %w", err)
		}
		opt.Flags = flags
	}
	return nil
}

// now reads the engine's clock.
func (e *Engine) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

// maxParallel is the number of places for active nodes.
func (e *Engine) maxParallel() int {
	if e.MaxParallel > 0 {
		return e.MaxParallel
	}
	return runtime.GOMAXPROCS(0)
}
