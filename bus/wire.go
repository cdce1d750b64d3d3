package bus

import "time"

//go:generate go tool msgp -file wire.go -o wire_gen.go -io=false -tests=false -unexported

//msgp:limit arrays:16 maps:64 marshal:true
//msgp:noduplicates

// hello is the first frame of a client.
type hello struct {
	Op    string `msg:"op"` // opHello
	Kind  string `msg:"kind"`
	Name  string `msg:"name"`
	Proto int    `msg:"proto"` // 0
}

// welcome is the server's answer to it.
type welcome struct {
	Op      string `msg:"op"` // opWelcome
	Session string `msg:"session"`
	MaxBody uint32 `msg:"max_body"`
	Server  string `msg:"server"`
}

// control is every other control frame, in both directions.
type control struct {
	Op    string `msg:"op"`
	ID    uint64 `msg:"id,omitempty"`    // of a subscription, chosen by the client
	Topic string `msg:"topic,omitempty"` // filter of a subscription
	Queue string `msg:"queue,omitempty"` // group of a subscription
	N     uint64 `msg:"n,omitempty"`     // what is acknowledged
	// Delivered says, in an ack, how many subscriptions got the frame.
	Delivered int `msg:"delivered,omitempty"`
}

// Operations of control frames (spec/02 "On the socket").
const (
	opHello         = "hello"
	opWelcome       = "hello.ok"
	opSubscribe     = "subscribe"
	opSubscribed    = "subscribe.ok"
	opUnsubscribe   = "unsubscribe"
	opUnsubscribed  = "unsubscribe.ok"
	opPing          = "ping"
	opPong          = "pong"
	opAck           = "ack"
	protocolVersion = 0
)

// controlTTL is the time to live of control frames.
const controlTTL = 30 * time.Second
