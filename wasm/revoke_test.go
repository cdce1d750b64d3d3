package wasm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/runloop-os/runloop/rmp"
)

// trusted is a rig with one signed and granted agent, and the policy it runs under.
type trusted struct {
	*rig
	dir    string // trust-policy.toml, overrides/, grants/
	bundle *Bundle

	mu    sync.Mutex
	now   time.Time
	audit []CapAudit
	told  []string
}

func newTrusted(t *testing.T, where Isolation, files fstest.MapFS) *trusted {
	t.Helper()
	key, manifest := testKey(t, 'a'), files["probe/"+ManifestFile]
	manifest.Data = append(manifest.Data, "[caps]\nfile = \"policy.caps\"\nblake3 = \""+hexSum(files["probe/policy.caps"].Data)+"\"\n"...)
	sig, err := SignManifest(ManifestFile, manifest.Data, key)
	if err != nil {
		t.Fatal(err)
	}
	files["probe/"+SignatureFile] = &fstest.MapFile{Data: sig, Mode: 0o644}
	p := &trusted{dir: t.TempDir(), now: time.Now()}
	p.trust(t, &Trust{
		Anchors: []Anchor{{Name: "acme", Key: string(key.Public()), Expires: p.now.Add(time.Hour)}},
		Rules:   []TrustRule{{Signer: "acme", Agents: []string{"*"}}},
	})
	policy := &Policy{
		TrustFile: filepath.Join(p.dir, "trust-policy.toml"), OverridesDir: filepath.Join(p.dir, "overrides"),
		Grants: &Grants{Dir: filepath.Join(p.dir, "grants")}, RequireSigned: true,
		Now: func() time.Time {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.now
		},
	}
	catalog := NewCatalog(Source{Name: "probe", FS: files})
	if p.bundle, err = catalog.Bundle("probe"); err == nil {
		err = errors.Join(policy.Grants.Add(p.bundle, p.now), os.Mkdir(policy.OverridesDir, 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	services := Services{Audit: func(_ context.Context, a CapAudit) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.audit = append(p.audit, a)
	}}
	p.rig = newRigWith(t, services, func(h *HostConfig) {
		h.Catalog, h.Isolation, h.Policy, h.Residents = catalog, where, policy, quick
		h.PolicyEvery = 5 * time.Millisecond
		h.Warn = func(err error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.told = append(p.told, err.Error())
		}
	})
	return p
}

func (p *trusted) trust(t testing.TB, trust *Trust) {
	t.Helper()
	if err := trust.Write(filepath.Join(p.dir, "trust-policy.toml")); err != nil {
		t.Fatal(err)
	}
}

// change edits the trust policy, as rlp trust does.
func (p *trusted) change(t testing.TB, edit func(*Trust)) {
	t.Helper()
	trust, err := ReadTrust(filepath.Join(p.dir, "trust-policy.toml"))
	if err != nil {
		t.Fatal(err)
	}
	edit(trust)
	p.trust(t, trust)
}

func (p *trusted) override(t testing.TB, caps string) {
	t.Helper()
	name := filepath.Join(p.dir, "overrides", "probe.toml")
	if err := writeFileAtomic(name, []byte("[capabilities]\n"+caps)); err != nil {
		t.Fatal(err)
	}
}

func (p *trusted) warnings() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.told, "\n")
}

const trustedCaps = "time = true\nnet = [\"api.example.com\"]"

// takenBack are the ways to take back what an agent was allowed, each with what is
// said, and how the next attempt ends.
var takenBack = []struct {
	name string
	take func(*testing.T, *trusted)
	want string
	next string // code
}{
	{"key revoked", func(t *testing.T, p *trusted) {
		p.change(t, func(trust *Trust) {
			if err := trust.Revoke("acme", "stolen", time.Now()); err != nil {
				t.Fatal(err)
			}
		})
	}, "which was revoked (stolen)", CodeUntrusted},
	{"key expired", func(_ *testing.T, p *trusted) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.now = p.now.Add(2 * time.Hour)
	}, "whose key has expired", CodeUntrusted},
	{"rule gone", func(t *testing.T, p *trusted) {
		p.change(t, func(trust *Trust) { trust.Rules = nil })
	}, "no rule trusts acme", CodeUntrusted},
	{"grant gone", func(t *testing.T, p *trusted) {
		if err := p.host.cfg.Policy.Grants.Remove("probe"); err != nil {
			t.Fatal(err)
		}
	}, "nobody agreed", CodeNotGranted},
	{"less allowed", func(t *testing.T, p *trusted) {
		p.override(t, "net = []")
	}, "policies took away: net: api.example.com", ""},
}

// TestRevokedWhileItRuns: an attempt ends soon after it may not go on, wherever it
// runs, and the next does not begin.
func TestRevokedWhileItRuns(t *testing.T) {
	for _, where := range []Isolation{IsolationInline, IsolationWorker} {
		for _, tt := range takenBack {
			t.Run(string(where)+"/"+tt.name, func(t *testing.T) {
				p := newTrusted(t, where, bundleFiles("probe", trustedCaps, probeModule(t, LifeCommand)))
				// What takes nothing from it, and what cannot be read, stops nothing.
				p.override(t, "net = [\"api.example.com\", \"other.example.com\"]")
				req := p.request("probe", `{"Do":"forever"}`, func(q *rmp.AgentRequest) { q.Budget.DeadlineMillis = 300_000 })
				go func() {
					p.waitFor(func() bool {
						for _, l := range p.host.running {
							return l.under != nil
						}
						return false
					})
					for _, harmless := range []string{"time = true\nnet = [\"api.example.com\"]", "time = maybe"} {
						p.override(t, harmless)
						p.host.ApplyPolicy()
					}
					p.host.ApplyPolicy()
					p.waitFor(func() bool { return len(p.host.running) == 1 && p.host.policyErr != "" })
					p.override(t, "net = [\"api.example.com\"]")
					tt.take(t, p)
				}()
				res := p.send(req)
				if res.Status != rmp.StatusFailed || res.Error.Code != CodeRevoked || res.Error.Retryable || !strings.Contains(res.Error.Message, tt.want) {
					t.Errorf("%s %+v", res.Status, res.Error)
				}
				if told := p.warnings(); strings.Count(told, "go on as they began") != 1 {
					t.Errorf("warnings %s", told)
				}
				p.mu.Lock()
				audit := p.audit
				p.mu.Unlock()
				if len(audit) != 1 || audit[0].Cap != "caps.revoked" || audit[0].Decision != "deny" || audit[0].Node != "n" {
					t.Errorf("audit %+v", audit)
				}
				next := p.do("echo")
				if got := next.Error; tt.next == "" && next.Status != rmp.StatusOK || tt.next != "" && (got == nil || got.Code != tt.next) {
					t.Errorf("the next: %s %+v", next.Status, got)
				}
			})
		}
	}
}

// TestRevokedResident: one that stays goes at once, says why, refuses those who
// wait, and does not come back before it may.
func TestRevokedResident(t *testing.T) {
	for _, where := range []Isolation{IsolationInline, IsolationWorker} {
		for _, tt := range takenBack {
			t.Run(string(where)+"/"+tt.name, func(t *testing.T) {
				files := residentBundle("probe", trustedCaps, probeModule(t, LifeCommand))
				p := newTrusted(t, where, files)
				out(t, p.do("count"))
				waiting := make(chan *rmp.AgentResponse)
				go func() {
					waiting <- p.send(p.request("probe", `{"Do":"forever"}`, func(q *rmp.AgentRequest) { q.Budget.DeadlineMillis = 300_000 }))
				}()
				eventually(t, func() bool { return p.state("probe").Working != "" })
				if !p.host.anyToJudge() {
					t.Error("nobody looks at the policy for it")
				}
				tt.take(t, p)
				if res := <-waiting; res.Status != rmp.StatusFailed || res.Error.Code != CodeRevoked || !strings.Contains(res.Error.Message, tt.want) {
					t.Errorf("%s %+v", res.Status, res.Error)
				}
				eventually(t, func() bool { return p.host.residents.get("probe") == nil })
				eventually(t, func() bool { return !p.host.anyToJudge() }) // and the daemon sleeps
				if s := p.state("probe"); s.State != StateFailed || !strings.Contains(s.Error, tt.want) || s.PID != 0 || s.Crashes != 0 {
					t.Errorf("state %+v", s)
				}
				if !strings.Contains(p.warnings(), tt.want) {
					t.Errorf("warnings %s", p.warnings())
				}
				next := p.do("count")
				if tt.next == "" {
					if got := out(t, next); got != "1" {
						t.Errorf("the next has a memory: %s", got)
					}
					return
				}
				if next.Error == nil || next.Error.Code != tt.next {
					t.Errorf("the next: %s %+v", next.Status, next.Error)
				}
				if err := p.host.StartAgent(t.Context(), "probe"); !errors.Is(err, &Error{Code: tt.next}) {
					t.Errorf("started: %v", err)
				}
			})
		}
	}
}

// TestRevokedBuiltIn: what came with the binary is nobody's to take back.
func TestRevokedBuiltIn(t *testing.T) {
	r := residentRig(t, quick, "time = true", Services{}, map[string][]byte{"probe": probeModule(t, LifeCommand)})
	out(t, r.do("count"))
	r.host.cfg.Policy.TrustFile = "/nonexistent/trust"
	r.host.ApplyPolicy()
	if got := out(t, r.do("count")); got != "2" {
		t.Errorf("it says %s", got)
	}
}
