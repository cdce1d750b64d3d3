package runloop

import (
	"fmt"
	"io"
	"slices"
)

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
	writeAgentMetrics(w, s.Agents.Each)
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
