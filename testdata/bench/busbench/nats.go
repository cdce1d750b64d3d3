package main

import (
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// natsBroker is a NATS server on the loopback interface with nothing but its
// core: it has no Unix sockets. It may hold as much for a subscriber as the
// run sends, since it would drop what is more.
func natsBroker(string, int) error {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		MaxPending: 4 << 30})
	if err != nil {
		return err
	}
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("it does not start")
	}
	ready(s.ClientURL())
	stay()
	s.Shutdown()
	return nil
}

func natsSub(url string, n int) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	m, all := meter{n: n}, make(chan result)
	s, err := nc.Subscribe("bench.stream", func(*nats.Msg) {
		if m.add() {
			all <- m.result()
		}
	})
	if err != nil {
		return err
	}
	if err := errors.Join(s.SetPendingLimits(-1, -1), nc.Flush()); err != nil {
		return err
	}
	ready(url)
	return done(<-all)
}

func natsPub(url string, n int) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	ready(url)
	payload := make([]byte, payloadSize)
	for range n {
		if err := nc.Publish("bench.stream", payload); err != nil {
			return err
		}
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	stay()
	return nil
}

func natsReply(url string, _ int) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	if _, err := nc.Subscribe("bench.request", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		return err
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	ready(url)
	stay()
	return nil
}

func natsAsk(url string, n int) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	ready(url)
	payload := make([]byte, payloadSize)
	r, err := calls(n, func() error {
		_, err := nc.Request("bench.request", payload, 10*time.Second)
		return err
	})
	if err != nil {
		return err
	}
	return done(r)
}
