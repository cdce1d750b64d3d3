package wasm

import (
	"context"
	"encoding/json"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/runloop-os/runloop/rmp"
)

// Faults of the old mailbox functions, as the guest gets them.
const (
	faultNoSpace = -4 // the message is longer than cap; it stays where it is
	faultStopped = -7 // the agent is to end
)

// exportMailbox adds the entry points that guests of the prototype have for
// agent.ready, mailbox.peek and mailbox.recv. A guest that is no resident has
// no mail, and nobody waits for it to be ready.
func exportMailbox(b wazero.HostModuleBuilder) {
	b.NewFunctionBuilder().WithGoModuleFunction(
		api.GoModuleFunc(func(ctx context.Context, _ api.Module, _ []uint64) { notifyReady(ctx) }),
		nil, nil).Export("notify_ready")
	export(b, "mailbox_peek_meta", 2, mailboxPeekMeta)
	export(b, "mailbox_recv", 2, mailboxRecv)
}

func notifyReady(ctx context.Context) {
	g := guestFrom(ctx)
	if g.ready || !g.isResident() {
		return
	}
	g.ready = true
	g.meter.leave()
	defer g.meter.enter()
	if _, ok := g.door.ask(ctx, opReady, emptyMap); !ok {
		abort()
	}
}

// mailboxPeekMeta(ptr, cap) copies what is known of the next message, without
// its payload, as MsgPack: the bytes copied, 0 for no message, or a fault.
func mailboxPeekMeta(ctx context.Context, mod api.Module, params []uint64) uint32 {
	return oldMail(ctx, mod, params, opMailPeek, nil)
}

// mailboxRecv(ptr, cap) waits for the next message and copies its payload as
// MsgPack: the bytes copied, or a fault.
func mailboxRecv(ctx context.Context, mod api.Module, params []uint64) uint32 {
	args := map[string]any{"max_bytes": uint32(params[1])}
	return oldMail(ctx, mod, params, opMailRecv, args)
}

func oldMail(ctx context.Context, mod api.Module, params []uint64, op string, args any) uint32 {
	g, mem := guestFrom(ctx), mod.Memory()
	ptr, size := uint32(params[0]), uint32(params[1])
	if uint64(ptr)+uint64(size) > uint64(mem.Size()) {
		return fault(faultPointer)
	}
	if !g.isResident() {
		return 0
	}
	g.meter.leave()
	defer g.meter.enter()
	packed := emptyMap
	if args != nil {
		packed, _ = marshalMsgpack(args) // a map with one number
	}
	answer, ok := g.door.ask(ctx, op, packed)
	if !ok {
		abort()
	}
	b, code := mailBytes(answer, op == opMailRecv)
	switch {
	case code != 0:
		return fault(code)
	case len(b) > int(size):
		return fault(faultNoSpace)
	case !mem.Write(ptr, b):
		return fault(faultPointer)
	}
	return uint32(len(b))
}

// mailBytes is what of an answer the old functions copy: the payload of a
// message, or what is known of it; nothing for no message.
func mailBytes(call rmp.Hostcall, payload bool) ([]byte, int32) {
	switch {
	case call.Err != nil && call.Err.Code == CodeNoSpace:
		return nil, faultNoSpace
	case call.Err != nil:
		return nil, faultStopped
	case len(call.OK) == 0 || call.OK[0] == 0xc0: // nil
		return nil, 0
	case !payload:
		return call.OK, 0
	}
	var m struct {
		Payload json.RawMessage `json:"payload"`
	}
	if err := unmarshalMsgpack(call.OK, &m); err != nil {
		return nil, faultStopped
	}
	b, err := rmp.AppendMsgpack(nil, m.Payload)
	if err != nil {
		return nil, faultStopped
	}
	return b, 0
}

func fault(code int32) uint32 { return uint32(code) }
