package rmp_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/runloop-os/runloop/rmp"
)

func TestFrozenRegistry(t *testing.T) {
	var reg *rmp.Registry
	n := 0
	seen := make(map[string]uint16)
	for id := range 1 << 16 {
		typ, ok := reg.TypeOf(uint16(id))
		if !ok {
			continue
		}
		n++
		if other, dup := seen[typ]; dup {
			t.Errorf("%s is %d and %d", typ, other, id)
		}
		seen[typ] = uint16(id)
		if back, ok := reg.IDOf(typ); !ok || int(back) != id {
			t.Errorf("IDOf(%s) = %d, %v", typ, back, ok)
		}
		if !rmp.KnownFamily(rmp.Family(typ)) || !strings.HasSuffix(typ, ".v1") {
			t.Errorf("%d is called %s", id, typ)
		}
	}
	if n != 36 {
		t.Errorf("%d schema ids, the frozen registry has 36", n)
	}
	for id, want := range map[uint16]string{
		rmp.CTRunEvent: "observation.run.event.v1", rmp.CTCtrlResp: "toolresult.ctrl.response.v1",
		rmp.CTBusDropNotice: "error.bus.drop.notice.v1", rmp.CTMailResult: "toolresult.mail.result.v1",
		rmp.CTExecutorAgentResponse: "toolresult.executor.agent.response.v1",
	} {
		if typ, _ := reg.TypeOf(id); typ != want {
			t.Errorf("%d is %s, want %s", id, typ, want)
		}
	}
	for _, typ := range []string{"", "nothing.here.v1"} {
		if id, ok := reg.IDOf(typ); ok {
			t.Errorf("IDOf(%q) = %d", typ, id)
		}
	}
}

func TestRegister(t *testing.T) {
	tests := []struct {
		id  uint16
		typ string
		ok  bool
	}{
		{0x0080, "observation.mine.v1", true},
		{0x0080, "observation.mine.v1", true}, // the same again
		{0x0080, "observation.other.v1", false},
		{0x03FF, "intent.a.b_c.d9.v12", true},
		{0x1000, "error.vendor.thing.v1", true},
		{0xFFFF, "critique.vendor.v2", true},
		{0x1001, "error.vendor.thing.v1", false}, // type is taken
		{0x1001, "error.report.v1", false},
		{200, "intent.contacts.resolve.v1", true}, // frozen, as it is
		{200, "intent.mine.v1", false},
		{0, "intent.zero.v1", false},
		{0x007F, "intent.low.v1", false},
		{0x0400, "intent.gap.v1", false},
		{0x0FFF, "intent.gap.v1", false},
		{0x2000, "verdict.mine.v1", false},
		{0x2000, "intent.v1", false},
		{0x2000, "intent..v1", false},
		{0x2000, "intent.Mine.v1", false},
		{0x2000, "intent.mine.v0", false},
		{0x2000, "intent.mine.v01", false},
		{0x2000, "intent.mine.v", false},
		{0x2000, "intent.mine.1", false},
		{0x2000, "intent.mi\x1bne.v1", false},
		{0x2000, "intent." + strings.Repeat("a", 130) + ".v1", false},
		{0x2000, "", false},
	}
	var reg rmp.Registry
	for _, tt := range tests {
		err := reg.Register(tt.id, tt.typ)
		if (err == nil) != tt.ok || (err != nil && !errors.Is(err, rmp.ErrRegister)) {
			t.Errorf("Register(%d, %.40q) = %v", tt.id, tt.typ, err)
		}
		if typ, _ := reg.TypeOf(tt.id); tt.ok && typ != tt.typ {
			t.Errorf("TypeOf(%d) = %q after registering %q", tt.id, typ, tt.typ)
		}
	}
	if id, ok := reg.IDOf("critique.vendor.v2"); !ok || id != 0xFFFF {
		t.Errorf("IDOf a registered type = %d, %v", id, ok)
	}
	var other rmp.Registry
	if _, ok := other.TypeOf(0x0080); ok {
		t.Error("registration leaked into another registry")
	}
	if n := testing.AllocsPerRun(100, func() { reg.TypeOf(0x1000); reg.TypeOf(8); reg.TypeOf(9999) }); n != 0 {
		t.Errorf("TypeOf allocates %v times", n)
	}
}

func TestRegisteredFrame(t *testing.T) {
	var reg rmp.Registry
	if err := reg.Register(0x1000, "artifact.vendor.v1"); err != nil {
		t.Fatal(err)
	}
	codec := rmp.Codec{Registry: &reg}
	b, err := codec.AppendFrame(nil, &rmp.Message{SchemaID: 0x1000, TTLMS: 1})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := codec.ParseFrame(b); err != nil || f.Type != "artifact.vendor.v1" {
		t.Errorf("own registry: %q, %v", f.Type, err)
	}
	if _, err := rmp.ParseFrame(b); !errors.Is(err, rmp.ErrUnknownSchema) {
		t.Errorf("frozen registry: %v", err)
	}
}

func TestHammerRegister(t *testing.T) {
	var reg rmp.Registry
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				id := uint16(0x1000 + i)
				if g%2 == 0 {
					_ = reg.Register(id, "intent.h"+strings.Repeat("a", i%100)+".v"+string(rune('1'+i/100)))
				} else {
					reg.TypeOf(id)
				}
			}
		})
	}
	wg.Wait()
	if _, ok := reg.TypeOf(0x1000 + 199); !ok {
		t.Error("a registration was lost")
	}
}

func TestTraceID(t *testing.T) {
	const hex = "112233445566778899aabbccddeeff00"
	id := mustTrace(hex)
	if id.String() != hex || id.UUID() != "trace:11223344-5566-7788-99aa-bbccddeeff00" {
		t.Errorf("text forms %s and %s", id, id.UUID())
	}
	for _, s := range []string{id.UUID(), "11223344-5566-7788-99AA-BBCCDDEEFF00", "trace:" + hex} {
		if got, err := rmp.ParseTraceID(s); err != nil || got != id {
			t.Errorf("ParseTraceID(%s) = %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "trace:", hex[1:], hex + "0", "x" + hex[1:], "opening:" + hex,
		"1122334455667788-99aa-bbcc-ddeeff000", "11223344-5566-7788-99aa-bbccddeeff0g"} {
		if got, err := rmp.ParseTraceID(s); err == nil || got != (rmp.TraceID{}) {
			t.Errorf("ParseTraceID(%q) = %s, %v", s, got, err)
		}
	}
}
