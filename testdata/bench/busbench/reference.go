package main

import (
	"github.com/runloop-os/runloop/rmp"
	"github.com/tinylib/msgp/msgp"
)

//go:generate go -C ../../.. tool msgp -file testdata/bench/busbench/reference.go -o testdata/bench/busbench/reference_gen.go -io=false -tests=false -unexported

//msgp:limit arrays:100000 maps:4096 marshal:true
//msgp:noduplicates

// rawEnvelope is an envelope as msgp decodes it.
type rawEnvelope struct {
	Type    string   `msg:"type"`
	Payload msgp.Raw `msg:"payload"`
	Meta    msgp.Raw `msg:"meta,omitempty"`
}

// report holds what the frame of an error report says, header and body, for
// msgp's own encoder.
type report struct {
	SchemaID  uint16          `msg:"schema_id"`
	CreatedAt uint64          `msg:"created_at_ms"`
	TTL       uint64          `msg:"ttl_ms"`
	TraceID   [16]byte        `msg:"trace_id"`
	MsgID     uint64          `msg:"msg_id"`
	Type      string          `msg:"type"`
	Payload   rmp.ErrorReport `msg:"payload"`
	Meta      rmp.Meta        `msg:"meta"`
}
