package rmp_test

import (
	"github.com/runloop-os/runloop/rmp"
	"github.com/tinylib/msgp/msgp"
)

//go:generate go tool msgp -file reference_test.go -o reference_gen_test.go -io=false -tests=false -unexported

//msgp:limit arrays:100000 maps:4096 marshal:true
//msgp:noduplicates

// rawEnvelope is the envelope as msgp would have it: what this package's own
// parser and encoder are measured against and must agree with.
type rawEnvelope struct {
	Type    string   `msg:"type"`
	Payload msgp.Raw `msg:"payload"`
	Meta    msgp.Raw `msg:"meta,omitempty"`
}

// message holds what a frame of an error report says, header and body.
type message struct {
	SchemaID  uint16          `msg:"schema_id"`
	CreatedAt uint64          `msg:"created_at_ms"`
	TTL       uint64          `msg:"ttl_ms"`
	TraceID   [16]byte        `msg:"trace_id"`
	MsgID     uint64          `msg:"msg_id"`
	Type      string          `msg:"type"`
	Payload   rmp.ErrorReport `msg:"payload"`
	Meta      rmp.Meta        `msg:"meta"`
}

// openingMeta is the meta map of the golden frame.
type openingMeta struct {
	OpeningID uint64 `msg:"opening_id"`
}
