package wasm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// QuarantineRecord says since when an agent is not run any more, and why. It
// holds for one bundle: with another digest the agent is another agent.
type QuarantineRecord struct {
	Agent  string    `json:"agent"` // reference
	Digest string    `json:"digest"`
	Since  time.Time `json:"since"`
	Count  int       `json:"crashes"`
	Last   string    `json:"last"` // how the last crash is named
}

// Error says what is wrong and what to do.
func (r *QuarantineRecord) err() *Error {
	return errorf(CodeQuarantined, "agent %s is in quarantine since %s, after %d crashes (the last: %s); "+
		"look at its log, then: rlp agent release %s", r.Agent, r.Since.Local().Format(time.DateTime), r.Count, r.Last, r.Agent)
}

// Quarantine is the folder where crashed agents are noted, a file for each, so
// that it holds across restarts and for all processes of a user. Without Dir it
// holds for this process. The zero value is ready; it is safe for concurrent
// use.
type Quarantine struct {
	Dir string

	mu  sync.Mutex
	mem map[string]*QuarantineRecord // without Dir
}

// Get returns the record of an agent, or nil when there is none for the bundle
// with that digest. An empty digest is any.
func (q *Quarantine) Get(ref, digest string) (*QuarantineRecord, error) {
	r, err := q.read(ref)
	if err != nil || r == nil || digest != "" && r.Digest != digest {
		return nil, err
	}
	return r, nil
}

func (q *Quarantine) read(ref string) (*QuarantineRecord, error) {
	if q.Dir == "" {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.mem[ref], nil
	}
	name, err := q.path(ref)
	if err != nil {
		return nil, err
	}
	src, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	r := &QuarantineRecord{}
	if err == nil {
		err = json.Unmarshal(src, r)
	}
	if err != nil {
		return nil, errorf(CodeHost, "quarantine of %s: %v; `rlp agent release %s` removes it", ref, err, ref)
	}
	return r, nil
}

// Add puts an agent into quarantine.
func (q *Quarantine) Add(r QuarantineRecord) error {
	if q.Dir == "" {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.mem == nil {
			q.mem = map[string]*QuarantineRecord{}
		}
		q.mem[r.Agent] = &r
		return nil
	}
	name, err := q.path(r.Agent)
	if err != nil {
		return err
	}
	src, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.MkdirAll(q.Dir, 0o700)
	}
	if err == nil {
		err = writeFileAtomic(name, append(src, '\n'))
	}
	if err != nil {
		return errorf(CodeHost, "quarantine of %s: %v", r.Agent, err)
	}
	return nil
}

// Release takes an agent out, and reports whether it was in.
func (q *Quarantine) Release(ref string) (bool, error) {
	if q.Dir == "" {
		q.mu.Lock()
		defer q.mu.Unlock()
		_, was := q.mem[ref]
		delete(q.mem, ref)
		return was, nil
	}
	name, err := q.path(ref)
	if err != nil {
		return false, err
	}
	err = os.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, errorf(CodeHost, "quarantine of %s: %v", ref, err)
	}
	return true, nil
}

// path is the file of an agent. References come from requests and must not
// lead elsewhere.
func (q *Quarantine) path(ref string) (string, error) {
	name, variant, has := strings.Cut(ref, "@")
	if !agentName().MatchString(name) || has && !agentName().MatchString(variant) {
		return "", errorf(CodeUnknownAgent, "%q is not an agent's name", ref)
	}
	return filepath.Join(q.Dir, fmt.Sprintf("%s.json", ref)), nil
}
