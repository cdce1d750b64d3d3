package runloop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/runloop-os/runloop/broker"
	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
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
	if addr := d.cfg.Observability.Metrics.Listen; addr != "" {
		if err := m.listen(addr); err != nil {
			return nil, err
		}
	}
	m.serving.Go(func() { m.publish(ctx) })
	return m, nil
}

// listen serves the metrics as Prometheus text. An address without a host is
// on loopback.
func (m *metrics) listen(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return usageErrorf("config: observability.metrics.listen: %v", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
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

// publish sends a snapshot each second while somebody listens.
func (m *metrics) publish(ctx context.Context) {
	tick := time.NewTicker(metricsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !m.wanted() {
			continue
		}
		snap, err := m.snapshot(ctx)
		if err != nil {
			continue // the ledger says so elsewhere
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
}

func (m *metrics) wanted() bool {
	for _, s := range m.d.session.bus.Subscriptions() {
		if bus.Matches(s.Filter, topicMetrics) {
			return true
		}
	}
	return false
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
			Memories: h.Memories, MemBytes: h.MemoryBytes,
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

// writePrometheus writes a snapshot in the text format
// (https://prometheus.io/docs/instrumenting/exposition_formats/).
func writePrometheus(w io.Writer, s *snapshot) {
	one := func(name, kind, help string, value any) {
		fmt.Fprintf(w, "# HELP runloop_%s %s\n# TYPE runloop_%s %s\nrunloop_%s %v\n", name, help, name, kind, name, value)
	}
	many := func(name, help, label string, values map[string]uint64) {
		fmt.Fprintf(w, "# HELP runloop_%s %s\n# TYPE runloop_%s counter\n", name, help, name)
		keys := make([]string, 0, len(values))
		for k := range values {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			fmt.Fprintf(w, "runloop_%s{%s=%q} %d\n", name, label, k, values[k])
		}
	}
	one("bus_published_total", "counter", "Frames published.", s.Bus.Published)
	one("bus_delivered_total", "counter", "Copies queued to subscribers.", s.Bus.Delivered)
	many("bus_drops_total", "Copies dropped.", "reason", s.Bus.Drops)
	one("bus_clients", "gauge", "Members of the bus in the daemon.", s.Bus.Clients)
	one("bus_sockets", "gauge", "Clients on the socket.", s.Bus.Sockets)
	one("bus_subscriptions", "gauge", "Subscriptions.", s.Bus.Subscriptions)
	one("runs_active", "gauge", "Runs that go on.", s.Runs.Active)
	one("runs_started_total", "counter", "Runs started.", s.Runs.Started)
	one("agents_running", "gauge", "Attempts that run.", s.Agents.Running)
	many("agent_attempts_total", "Attempts by how they ended.", "status", s.Agents.Attempts)
	one("agent_hostcalls_total", "counter", "Hostcalls.", s.Agents.Calls)
	one("agent_memories", "gauge", "Linear memories that exist.", s.Agents.Memories)
	one("agent_memory_bytes", "gauge", "Bytes that guests made usable.", s.Agents.MemBytes)
	many("broker_calls_total", "Calls to models by how they ended.", "result", s.Broker.Calls)
	one("broker_tokens_in_total", "counter", "Tokens sent to models.", s.Broker.TokensIn)
	one("broker_tokens_out_total", "counter", "Tokens got from models.", s.Broker.TokensOut)
	one("broker_usd_total", "counter", "Dollars spent on models.", s.Broker.USD)
	one("ledger_events_total", "counter", "Events in the ledger.", s.Ledger.Events)
	one("process_goroutines", "gauge", "Goroutines.", s.Process.Goroutines)
	one("process_heap_bytes", "gauge", "Heap in use.", s.Process.HeapBytes)
	one("process_resident_bytes", "gauge", "Resident memory.", s.Process.RSSBytes)
	one("process_open_files", "gauge", "Open file descriptors.", s.Process.OpenFiles)
}
