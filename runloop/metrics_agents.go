package runloop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
	"github.com/runloop-os/runloop/wasm"
)

// topicAgentMetrics is where the state of one agent goes while somebody
// listens to it (spec/02 "Topics"), filterAgentMetrics takes all of these.
func topicAgentMetrics(ref string) string { return "rlp/agents/" + ref + "/metrics" }

const filterAgentMetrics = "rlp/agents/+/metrics"

// publishAgents sends the states of agents each second while somebody listens
// to some, and sleeps while nobody does.
func (m *metrics) publishAgents(ctx context.Context) {
	changed, stop := m.d.session.bus.Watch(filterAgentMetrics)
	defer stop()
	tick := time.NewTimer(metricsEvery)
	defer tick.Stop()
	for {
		if m.agentsWanted() {
			m.sendAgents(ctx)
			tick.Reset(metricsEvery)
		} else {
			tick.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
	}
}

func (m *metrics) agentsWanted() bool {
	return slices.ContainsFunc(m.d.session.bus.Subscriptions(), func(s bus.SubStats) bool {
		return bus.Overlap(s.Filter, filterAgentMetrics)
	})
}

// sendAgents publishes the state of each agent that somebody listens to.
func (m *metrics) sendAgents(ctx context.Context) {
	s := m.d.session
	for _, state := range s.host.Agents() {
		topic := topicAgentMetrics(state.Agent)
		if !s.bus.Wanted(topic) {
			continue
		}
		raw, err := packJSON(state)
		if err == nil {
			err = m.client.Send(ctx, &rmp.Message{
				SchemaID: rmp.CTMetricsSnapshot, TTLMS: uint64(10 * metricsEvery.Milliseconds()),
				Meta: rmp.Meta{Topic: topic, From: "runloopd"}, Raw: raw,
			})
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, bus.ErrBackpressure) {
			m.d.log.Warn("metrics", "agent", state.Agent, "error", err)
		}
	}
}

// agentMetric is one metric of each agent.
type agentMetric struct {
	name, kind, help string
	of               func(*wasm.AgentState) float64
}

// isState is a metric that is 1 in one of some states.
func isState(states ...string) func(*wasm.AgentState) float64 {
	return func(s *wasm.AgentState) float64 {
		if slices.Contains(states, s.State) {
			return 1
		}
		return 0
	}
}

// agentMetricList has the metrics of each agent but attempts, which have two
// labels.
func agentMetricList() []agentMetric {
	return []agentMetric{
		{"agent_up", "gauge", "1 while a resident is ready or an attempt runs.",
			isState(wasm.StateReady, wasm.StateRunning)},
		{"agent_quarantined", "gauge", "1 while the agent is not run because it crashed.",
			isState(wasm.StateQuarantined)},
		{"agent_restarts_total", "counter", "Times that a resident was started again.",
			func(s *wasm.AgentState) float64 { return float64(s.Restarts) }},
		{"agent_crashes_total", "counter", "Violent ends.",
			func(s *wasm.AgentState) float64 { return float64(s.Crashes) }},
		{"agent_calls_total", "counter", "Hostcalls of the agent.",
			func(s *wasm.AgentState) float64 { return float64(s.Hostcalls) }},
		{"agent_denied_total", "counter", "Hostcalls that were denied.",
			func(s *wasm.AgentState) float64 { return float64(s.Denied) }},
		{"agent_messages_total", "counter", "Messages taken out of the mailbox.",
			func(s *wasm.AgentState) float64 { return float64(s.Messages) }},
		{"agent_mailbox", "gauge", "Messages that wait.",
			func(s *wasm.AgentState) float64 { return float64(s.Mailbox) }},
		{"agent_busy_seconds_total", "counter", "Time inside of the agent.",
			func(s *wasm.AgentState) float64 { return float64(s.BusyMicros) / 1e6 }},
		{"agent_resident_bytes", "gauge", "Memory that the agent has, or its last instance had.",
			func(s *wasm.AgentState) float64 { return float64(s.MemoryBytes) }},
	}
}

// writeAgentMetrics writes what is known of each agent, with its name as a
// label. Names have no character that a label would have to escape.
func writeAgentMetrics(w io.Writer, agents []wasm.AgentState) {
	head := func(name, kind, help string) {
		fmt.Fprintf(w, "# HELP runloop_%s %s\n# TYPE runloop_%s %s\n", name, help, name, kind)
	}
	for _, m := range agentMetricList() {
		head(m.name, m.kind, m.help)
		for i := range agents {
			fmt.Fprintf(w, "runloop_%s{agent=%q} %v\n", m.name, agents[i].Agent, m.of(&agents[i]))
		}
	}
	head("agent_status_total", "counter", "Attempts of the agent by how they ended.")
	for _, a := range agents {
		for _, status := range slices.Sorted(maps.Keys(a.Attempts)) {
			fmt.Fprintf(w, "runloop_agent_status_total{agent=%q,status=%q} %d\n", a.Agent, status, a.Attempts[status])
		}
	}
}
