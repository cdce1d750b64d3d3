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

// reportEnvelope is the body of an error report with typed parts.
type reportEnvelope struct {
	Type    string          `msg:"type"`
	Payload rmp.ErrorReport `msg:"payload"`
	Meta    openingMeta     `msg:"meta"`
}

// openingMeta is the meta map of the golden frame.
type openingMeta struct {
	OpeningID uint64 `msg:"opening_id"`
}
