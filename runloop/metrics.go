package runloop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/runloop-os/runloop/broker"
	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// topicMetrics is where snapshots go while somebody listens.
const topicMetrics = "rlp/sys/metrics"

// metricsEvery is how often.
const metricsEvery = time.Second

// snapshot is the payload of a metrics snapshot. Counters count from the start
// of the daemon.
type snapshot struct {
	TSMillis int64          `json:"ts_ms"`
	Bus      busMetrics     `json:"bus"`
	Runs     runMetrics     `json:"runs"`
	Agents   agentMetrics   `json:"agents"`
	Broker   brokerMetrics  `json:"broker"`
	Ledger   ledgerMetrics  `json:"ledger"`
	Process  processMetrics `json:"process"`
}

type busMetrics struct {
	Published     uint64            `json:"published_total"`
	Delivered     uint64            `json:"delivered_total"`
	Drops         map[string]uint64 `json:"drops_total"`
	Clients       int               `json:"clients"`
	Sockets       int               `json:"sockets"`
	Subscriptions int               `json:"subscriptions"`
}

type runMetrics struct {
	Active  int    `json:"active"`
	Started uint64 `json:"started_total"`
}

type agentMetrics struct {
	Running  int               `json:"running"`
	Attempts map[string]uint64 `json:"attempts_total"` // by how they ended
	Calls    uint64            `json:"hostcalls_total"`
	Memories int               `json:"memories"`     // linear memories that exist
	MemBytes int64             `json:"memory_bytes"` // that guests made usable
	Each     []wasm.AgentState `json:"each"`
}

type brokerMetrics struct {
	Calls     map[string]uint64 `json:"calls_total"` // by error kind; ok, cached
	TokensIn  uint64            `json:"tokens_in_total"`
	TokensOut uint64            `json:"tokens_out_total"`
	USD       float64           `json:"usd_total"`
}

type ledgerMetrics struct {
	Events int64 `json:"events_total"`
}

type processMetrics struct {
	Goroutines int    `json:"goroutines"`
	HeapBytes  uint64 `json:"heap_bytes"`
	RSSBytes   int64  `json:"rss_bytes"`
	OpenFiles  int    `json:"open_files"`
}

// callCounter adds up what the broker reports.
type callCounter struct {
	mu    sync.Mutex
	total brokerMetrics
}

func (c *callCounter) add(r broker.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total.Calls == nil {
		c.total.Calls = map[string]uint64{}
	}
	kind := "ok"
	switch {
	case r.ErrorKind != "":
		kind = string(r.ErrorKind)
	case r.Cached:
		kind = "cached"
	}
	c.total.Calls[kind]++
	c.total.TokensIn += uint64(max(r.TokensIn, 0))
	c.total.TokensOut += uint64(max(r.TokensOut, 0))
	c.total.USD += r.USD
}

func (c *callCounter) read() brokerMetrics {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.total
	out.Calls = map[string]uint64{}
	for k, n := range c.total.Calls {
		out.Calls[k] = n
	}
	return out
}

// metrics publishes snapshots and serves them over HTTP.
type metrics struct {
	d       *daemon
	client  *bus.Client
	http    *http.Server
	address string // of http, once it listens
	serving sync.WaitGroup
}

// startMetrics publishes until ctx ends, and listens where the configuration
// says so.
func (d *daemon) startMetrics(ctx context.Context) (*metrics, error) {
	m := &metrics{d: d, client: d.session.bus.Client("metrics", bus.KindAgent)}
	addr, err := metricsAddress(d.cfg)
	if err == nil && addr != "" {
		err = m.listen(addr)
	}
	if err != nil {
		m.client.Close()
		return nil, err
	}
	m.serving.Go(func() { m.publish(ctx) })
	m.serving.Go(func() { m.publishAgents(ctx) })
	return m, nil
}

// metricsAddress is where to listen, "" for nowhere. An address without a host
// is on loopback; one that is not needs the word of the configuration.
func metricsAddress(cfg *Loaded) (string, error) {
	const key = "observability.metrics.listen"
	c := cfg.Observability.Metrics
	if c.Listen == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "", usageErrorf("config: %s %q: want HOST:PORT or :PORT", key, c.Listen)
	}
	if host == "" || host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return "", usageErrorf("config: %s %q: the host must be an IP address", key, c.Listen)
	case !ip.IsLoopback() && !c.AllowRemote:
		return "", usageErrorf("config: %s %q: others than this machine could read there what agents do; "+
			"use a loopback address, or set observability.metrics.allow_remote", key, c.Listen)
	}
	return net.JoinHostPort(host, port), nil
}

// listen serves the metrics as Prometheus text.
func (m *metrics) listen(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("observability.metrics.listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		snap, err := m.snapshot(r.Context())
		if err != nil {
			http.Error(w, "the ledger cannot be read", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		writePrometheus(w, snap)
	})
	m.http = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	m.address = ln.Addr().String()
	m.d.log.Info("metrics", "address", "http://"+m.address+"/metrics")
	m.serving.Go(func() {
		if err := m.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			m.d.log.Error("metrics", "error", err)
		}
	})
	return nil
}

func (m *metrics) close() {
	if m.http != nil {
		m.http.Close()
	}
	m.serving.Wait()
	m.client.Close()
}

// publish sends a snapshot each second while somebody listens, and sleeps while
// nobody does.
func (m *metrics) publish(ctx context.Context) {
	changed, stop := m.d.session.bus.Watch(topicMetrics)
	defer stop()
	tick := time.NewTimer(metricsEvery)
	defer tick.Stop()
	for last := (time.Time{}); ; {
		switch wait := metricsEvery - time.Since(last); {
		case !m.d.session.bus.Wanted(topicMetrics):
			tick.Stop()
		case wait > 0:
			tick.Reset(wait)
		default:
			last = time.Now()
			m.send(ctx)
			tick.Reset(metricsEvery)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
	}
}

// send publishes one snapshot.
func (m *metrics) send(ctx context.Context) {
	snap, err := m.snapshot(ctx)
	if err != nil {
		return // the ledger says so elsewhere
	}
	raw, err := packJSON(snap)
	if err == nil {
		err = m.client.Send(ctx, &rmp.Message{
			SchemaID: rmp.CTMetricsSnapshot, TTLMS: uint64(10 * metricsEvery.Milliseconds()),
			Meta: rmp.Meta{Topic: topicMetrics, From: "runloopd"}, Raw: raw,
		})
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, bus.ErrBackpressure) {
		m.d.log.Warn("metrics", "error", err)
	}
}

func (m *metrics) snapshot(ctx context.Context) (*snapshot, error) {
	s := m.d.session
	head, err := s.store.Head(ctx)
	if err != nil {
		return nil, err
	}
	b, h := s.bus.Stats(), s.host.Stats()
	active, started := m.d.runs.counts()
	return &snapshot{
		TSMillis: time.Now().UnixMilli(),
		Bus: busMetrics{
			Published: b.Published, Delivered: b.Delivered, Drops: b.Drops, Clients: b.Clients,
			Sockets: m.d.server.Conns(), Subscriptions: b.Subscriptions,
		},
		Runs: runMetrics{Active: active, Started: started},
		Agents: agentMetrics{
			Running: h.Running, Attempts: h.Attempts, Calls: h.Hostcalls,
			Memories: h.Memories, MemBytes: h.MemoryBytes, Each: s.host.Agents(),
		},
		Broker: s.calls.read(), Ledger: ledgerMetrics{Events: head.EventID}, Process: readProcess(),
	}, nil
}

func readProcess() processMetrics {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	p := processMetrics{Goroutines: runtime.NumGoroutine(), HeapBytes: mem.HeapAlloc}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		p.OpenFiles = len(fds)
	}
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil { // proc(5): size resident …, in pages
		if fields := strings.Fields(string(statm)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			p.RSSBytes = pages * int64(os.Getpagesize())
		}
	}
	return p
}
