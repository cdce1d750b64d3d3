package main

import (
	"io"
	"net"

	"github.com/runloop-os/runloop/rmp"
)

// echo sends back what it reads, on a Unix socket.
func echo(path string, _ int) error {
	ln, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				buf := make([]byte, 64<<10)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if _, err := conn.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	ready(path)
	stay()
	return ln.Close()
}

// echoAsk sends the frame of a request and waits until it is back.
func echoAsk(path string, n int) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	m := message(requestTopic)
	m.Meta.From, m.CreatedAtMS, m.MsgID = replyTopic, 1731465600123, 1<<51
	frame, err := rmp.AppendFrame(nil, m)
	if err != nil {
		return err
	}
	ready(path)
	back := make([]byte, len(frame))
	r, err := calls(n, func() error {
		if _, err := conn.Write(frame); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, back)
		return err
	})
	if err != nil {
		return err
	}
	return done(r)
}
