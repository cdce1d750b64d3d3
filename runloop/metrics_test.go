package runloop

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/runloop-os/runloop/bus"
	"github.com/runloop-os/runloop/rmp"
)

func matches(t testing.TB, pattern, text string) bool {
	t.Helper()
	re, err := regexp.Compile(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return re.MatchString(text)
}

// nextSnapshot subscribes to the daemon's metrics for one of them.
func (d *daemonConn) nextSnapshot(t testing.TB) *snapshot {
	t.Helper()
	sub, err := d.Subscribe(t.Context(), topicMetrics, bus.SubOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	return recvSnapshot(t, sub)
}

func recvSnapshot(t testing.TB, sub *bus.Subscription) *snapshot {
	t.Helper()
	msg, err := sub.Recv(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	js, err := rmp.AppendJSON(nil, msg.Payload)
	snap := &snapshot{}
	if err == nil {
		err = json.Unmarshal(js, snap)
	}
	if err != nil || msg.SchemaID != rmp.CTMetricsSnapshot {
		t.Fatalf("schema %d, %s, %v", msg.SchemaID, js, err)
	}
	return snap
}

// TestMetricsTopic: a snapshot each second for those who listen, and none while
// nobody does.
func TestMetricsTopic(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.daemon()
	c := h.dial(bus.KindTUI)
	sub, err := c.Subscribe(t.Context(), topicMetrics, bus.SubOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first := recvSnapshot(t, sub)
	second := recvSnapshot(t, sub)
	if gap := second.TSMillis - first.TSMillis; gap < 500 { // a busy machine may be late with the first
		t.Errorf("%d ms between two", gap)
	}
	if first.Bus.Sockets != 1 || first.Bus.Subscriptions == 0 || first.Process.RSSBytes == 0 || first.Ledger.Events != 0 {
		t.Errorf("snapshot %+v", first)
	}
	sub.Close()
	time.Sleep(2500 * time.Millisecond)
	// A snapshot that was sent meanwhile would have counted.
	if third := c.nextSnapshot(t); third.Bus.Published > second.Bus.Published+2 {
		t.Errorf("%d frames published while nobody listened", third.Bus.Published-second.Bus.Published)
	}
}

// TestMetricsHTTP: Prometheus text on loopback, of a daemon that has worked.
func TestMetricsHTTP(t *testing.T) {
	t.Parallel()
	h := newHome(t, "RUNLOOP__OBSERVABILITY__METRICS__LISTEN=:0")
	d := h.daemon()
	h.people()
	h.rlp("run", "compose_email", "--yes", "-p", "recipient=John Okafor", "-p", "topic=Q4 plan")
	address, _ := d.logged("metrics")["address"].(string)
	if !strings.HasPrefix(address, "http://127.0.0.1:") {
		t.Fatalf("listens on %q", address)
	}
	res, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("%s, %s", res.Status, res.Header.Get("Content-Type"))
	}
	values := prometheus(t, res.Body)
	for name, least := range map[string]float64{
		"runloop_runs_started_total": 1, `runloop_agent_attempts_total{status="ok"}`: 5, "runloop_agent_hostcalls_total": 3,
		"runloop_ledger_events_total": 20, "runloop_bus_published_total": 20, "runloop_process_resident_bytes": 1 << 20,
		"runloop_process_open_files": 5,
	} {
		if values[name] < least {
			t.Errorf("%s is %g", name, values[name])
		}
	}
	if res, err := http.Get(strings.TrimSuffix(address, "/metrics")); err != nil || res.StatusCode != http.StatusNotFound {
		t.Errorf("elsewhere: %v, %v", res.Status, err)
	}
}

// prometheus reads the text format, each name with its help and type before it.
func prometheus(t testing.TB, r io.Reader) map[string]float64 {
	t.Helper()
	values, typed := map[string]float64{}, map[string]bool{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := lines.Text()
		if fields := strings.Fields(line); strings.HasPrefix(line, "# TYPE ") {
			typed[fields[2]] = fields[3] == "counter" || fields[3] == "gauge"
		} else if !strings.HasPrefix(line, "#") {
			v, err := strconv.ParseFloat(fields[1], 64)
			name, _, _ := strings.Cut(fields[0], "{")
			if err != nil || !typed[name] || len(fields) != 2 {
				t.Errorf("line %q: %v", line, err)
			}
			values[fields[0]] = v
		}
	}
	return values
}
