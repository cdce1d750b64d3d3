package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// payloadSize is the payload of every message, in bytes.
const payloadSize = 128

// result is what a client process prints when it has done its part.
type result struct {
	Rate     float64 // messages a second
	P50, P99 float64 // microseconds
}

// system is one way to bring a message from process to process.
type system struct {
	name   string
	broker string // part that carries the messages
	sink   string // part that receives, or answers
	source string // part that publishes, or asks
}

// streamRows measures publish to deliver.
func streamRows(rounds, messages int) ([]row, error) {
	var rlp, nats []result
	for i := range rounds {
		fmt.Fprintf(os.Stderr, "publish to deliver, round %d\n", i+1)
		for _, s := range []struct {
			system
			to *[]result
		}{
			{system{"rlp", "rlp-broker", "rlp-sub", "rlp-pub"}, &rlp},
			{system{"nats", "nats-broker", "nats-sub", "nats-pub"}, &nats},
		} {
			r, err := s.run(messages)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			*s.to = append(*s.to, r)
		}
	}
	rate := func(r result) float64 { return r.Rate }
	rows := []row{compare("publish to deliver, socket, 128 bytes; reference nats", "msgs/s",
		each(rlp, rate), each(nats, rate), atLeast(2))}
	return rows, nil
}

// requestRows measures request to reply.
func requestRows(rounds, calls int) ([]row, error) {
	var rlp, nats, raw []result
	for i := range rounds {
		fmt.Fprintf(os.Stderr, "request to reply, round %d\n", i+1)
		for _, s := range []struct {
			system
			to *[]result
		}{
			{system{"rlp", "rlp-broker", "rlp-reply", "rlp-ask"}, &rlp},
			{system{"nats", "nats-broker", "nats-reply", "nats-ask"}, &nats},
			{system{"echo", "echo", "", "echo-ask"}, &raw},
		} {
			r, err := s.run(calls)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			*s.to = append(*s.to, r)
		}
	}
	p50 := func(r result) float64 { return r.P50 }
	p99 := func(r result) float64 { return r.P99 }
	return []row{
		compare("request to reply, socket, p50; reference raw echo", "us", each(rlp, p50), each(raw, p50), atMost(4)),
		compare("request to reply, socket, p50; reference nats", "us", each(rlp, p50), each(nats, p50), atMost(0.5)),
		compare("request to reply, socket, p99; reference nats", "us", each(rlp, p99), each(nats, p99), atMost(1)),
	}, nil
}

// each returns one figure of each result.
func each(results []result, figure func(result) float64) []float64 {
	x := make([]float64, len(results))
	for i, r := range results {
		x[i] = figure(r)
	}
	return x
}

// run starts the processes of a system and returns what the one says that
// measures: the receiver of a stream, or who asks.
func (s system) run(n int) (result, error) {
	dir, err := os.MkdirTemp("", "busbench")
	if err != nil {
		return result{}, err
	}
	defer os.RemoveAll(dir)
	var all []*part
	defer func() {
		for _, p := range slices.Backward(all) {
			p.end()
		}
	}()
	path := filepath.Join(dir, "s")
	address := path
	for _, name := range []string{s.broker, s.sink, s.source} {
		if name == "" {
			continue
		}
		p, err := start(name, address, strconv.Itoa(n))
		if err != nil {
			return result{}, err
		}
		all = append(all, p)
		ready, err := p.line()
		if err != nil {
			return result{}, err
		}
		if name == s.broker {
			address = ready
		}
	}
	measured := all[len(all)-1]
	if strings.HasSuffix(s.sink, "-sub") {
		measured = all[1]
	}
	text, err := measured.line()
	if err != nil {
		return result{}, err
	}
	var r result
	return r, json.Unmarshal([]byte(text), &r)
}

// part is a running process.
type part struct {
	name string
	cmd  *exec.Cmd
	in   io.Closer
	out  *bufio.Scanner
}

// start starts this program again as one of its parts.
func start(name string, args ...string) (*part, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &part{name: name, cmd: exec.Command(self, append([]string{"play", name}, args...)...)}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(out)
	return p, p.cmd.Start()
}

// line returns the next line that the part prints.
func (p *part) line() (string, error) {
	if !p.out.Scan() {
		return "", fmt.Errorf("%s ended: %w", p.name, errors.Join(p.out.Err(), p.cmd.Wait()))
	}
	return p.out.Text(), nil
}

// end ends a part: its standard input is closed, on which it leaves.
func (p *part) end() {
	_ = p.in.Close()
	timer := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
	_ = p.cmd.Wait()
	timer.Stop()
}

// play is what a part does: prepare, say so, work, print a result if it has
// one, and stay until standard input is closed. With BUSBENCH_PROFILE set it
// leaves a CPU profile in that directory and says what it cost.
func play(name string, args []string) error {
	parts := map[string]func(address string, n int) error{
		"rlp-broker": rlpBroker, "rlp-sub": rlpSub, "rlp-pub": rlpPub, "rlp-reply": rlpReply, "rlp-ask": rlpAsk,
		"nats-broker": natsBroker, "nats-sub": natsSub, "nats-pub": natsPub, "nats-reply": natsReply, "nats-ask": natsAsk,
		"echo": echo, "echo-ask": echoAsk,
	}
	do, ok := parts[name]
	if !ok || len(args) != 2 {
		return errors.New("no such part")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	if dir := os.Getenv("BUSBENCH_PROFILE"); dir != "" {
		f, err := os.Create(filepath.Join(dir, name+".prof"))
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
		defer printCPU(name, n)
	}
	return do(args[0], n)
}

// printCPU says how much processor time this part used for each message.
func printCPU(name string, n int) {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return
	}
	io, _ := os.ReadFile("/proc/self/io") // says nothing on other systems
	var reads, writes int
	for line := range strings.Lines(string(io)) {
		_, _ = fmt.Sscanf(line, "syscr: %d", &reads)
		_, _ = fmt.Sscanf(line, "syscw: %d", &writes)
	}
	fmt.Fprintf(os.Stderr, "%-12s %5d ns user, %5d ns system a message; %d reads, %d writes, %d switches\n", name,
		use.Utime.Nano()/int64(n), use.Stime.Nano()/int64(n), reads, writes, use.Nvcsw)
}

// ready tells the parent that this part is ready, with an address if it is one
// to connect to.
func ready(address string) { fmt.Println(address) }

// stay waits until the parent is done.
func stay() { _, _ = io.Copy(io.Discard, os.Stdin) }

// done prints the result and stays.
func done(r result) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	stay()
	return nil
}

// meter measures a stream of n messages, from the first to the last.
type meter struct {
	n, got int
	first  time.Time
}

// add counts a message, and reports whether it was the last.
func (m *meter) add() bool {
	if m.got++; m.got == 1 {
		m.first = time.Now()
	}
	return m.got == m.n
}

// result is the rate, once all are there.
func (m *meter) result() result {
	return result{Rate: float64(m.n-1) / time.Since(m.first).Seconds()}
}

// calls runs a call n times, after a tenth as many to warm up, and returns the
// percentiles of the time that one takes.
func calls(n int, call func() error) (result, error) {
	took := make([]float64, 0, n)
	for i := range n + n/10 {
		start := time.Now()
		if err := call(); err != nil {
			return result{}, err
		}
		if i >= n/10 {
			took = append(took, float64(time.Since(start).Nanoseconds())/1e3)
		}
	}
	slices.Sort(took)
	return result{P50: took[n/2], P99: took[n*99/100]}, nil
}
