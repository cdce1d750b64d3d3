package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/runloop-os/runloop/rmp"
)

// Entry points that guests of the prototype import (spec/03 "Hostcalls"). Each
// is an adapter on the door: it makes one hostcall of its arguments, and leaves
// the whole answer for hostcall_read. A request is a map in MsgPack, an object
// in JSON, or where one text says it all, that text.

// Results below zero of the entry points without codes of their own.
const (
	oldInvalid = -1 // out of memory, too long, or not to be read
	oldDenied  = -2
	oldFailed  = -3
)

// Results below zero of model_complete.
const (
	oldModelStreaming = -1
	oldModelBudget    = -2
	oldModelTimeout   = -3
	oldModelProvider  = -4
	oldModelInvalid   = -5
	oldModelNoSpace   = -6
	oldModelCancelled = -7
)

// Results below zero of exec_spawn and exec_spawn_capture.
const (
	oldExecInvalid = -1
	oldExecSpawn   = -2
	oldExecSignal  = -3
	oldExecNoSpace = -4
)

// exportOld adds the entry points of the prototype that make hostcalls.
func exportOld(b wazero.HostModuleBuilder) {
	b.NewFunctionBuilder().WithGoModuleFunction(
		api.GoModuleFunc(func(ctx context.Context, _ api.Module, stack []uint64) {
			g := guestFrom(ctx)
			g.meter.leave()
			defer g.meter.enter()
			stack[0] = uint64(oldTimeNow(ctx, g.door))
		}), nil, []api.ValueType{api.ValueTypeI64}).Export("time_now")
	for name, f := range map[string]oldFunc{
		"http_request": oldHTTPRequest, "kb_read": oldKBRead, "kb_write": oldKBWrite,
		"resolve_secret": oldResolveSecret, "exec_spawn": oldExecSpawnAlone,
	} {
		exportOldFunc(b, name, 2, f)
	}
	exportOldFunc(b, "model_complete", 6, oldModelComplete)
	exportOldFunc(b, "exec_spawn_capture", 6, oldExecCapture)
}

// oldCall is one call of an old entry point: its request, and where in memory
// answers go.
type oldCall struct {
	door    *door
	mem     api.Memory
	request []byte
	out     [2]oldRange // for entry points that have some
}

// oldRange is a range of the guest's memory.
type oldRange struct{ ptr, size uint32 }

type oldFunc func(ctx context.Context, c *oldCall) int32

// exportOldFunc exports f with the request's range in its first parameters and
// ranges for answers in the others. A range that is not in memory is faulted
// before anything happens.
func exportOldFunc(b wazero.HostModuleBuilder, name string, params int, f oldFunc) {
	invalid := int32(oldInvalid)
	if name == "model_complete" {
		invalid = oldModelInvalid
	}
	export(b, name, params, func(ctx context.Context, mod api.Module, p []uint64) uint32 {
		g := guestFrom(ctx)
		g.meter.leave()
		defer g.meter.enter()
		c := &oldCall{door: g.door, mem: mod.Memory()}
		for i := range (params - 2) / 2 {
			c.out[i] = oldRange{uint32(p[2+2*i]), uint32(p[3+2*i])}
		}
		if !c.take(uint32(p[0]), uint32(p[1])) {
			return uint32(invalid)
		}
		return uint32(f(ctx, c))
	})
}

// take copies the request in.
func (c *oldCall) take(ptr, length uint32) bool {
	for _, r := range c.out {
		if uint64(r.ptr)+uint64(r.size) > uint64(c.mem.Size()) {
			return false
		}
	}
	c.door.pending = nil
	if !c.door.open || length == 0 || length > requestMax {
		return false
	}
	view, ok := c.mem.Read(ptr, length)
	c.request = bytes.Clone(view)
	return ok
}

// object reads the request as a map, or as the value of key when it is text.
func (c *oldCall) object(key string) (map[string]any, bool) {
	var v map[string]any
	first := c.request[0]
	switch {
	case first == '{':
		packed, err := rmp.AppendMsgpack(nil, c.request) // stricter than encoding/json
		return v, err == nil && unmarshalMsgpack(packed, &v) == nil
	case first&0xf0 == 0x80 || first == 0xde || first == 0xdf:
		return v, unmarshalMsgpack(c.request, &v) == nil
	case key == "" || first == '[' || !utf8.Valid(c.request) || bytes.ContainsRune(c.request, 0):
		return nil, false
	}
	return map[string]any{key: string(c.request)}, true
}

// ask makes the hostcall and leaves its answer for hostcall_read.
func (c *oldCall) ask(ctx context.Context, op string, args map[string]any) rmp.Hostcall {
	packed, err := marshalMsgpack(args)
	if err != nil {
		return rmp.Hostcall{Err: &rmp.HostcallError{Code: CodeInvalid}}
	}
	call, ok := c.door.ask(ctx, op, packed)
	if !ok {
		abort()
	}
	c.door.pending = encodeAnswer(call)
	return call
}

// oldResult is 0 for an answer, and which kind of error else.
func oldResult(call rmp.Hostcall) int32 {
	switch {
	case call.Err == nil:
		return 0
	case call.Err.Code == CodeDenied:
		return oldDenied
	case call.Err.Code == CodeInvalid:
		return oldInvalid
	}
	return oldFailed
}

// oldTimeNow answers microseconds since the epoch, or less than zero.
func oldTimeNow(ctx context.Context, d *door) int64 {
	if !d.open {
		return oldInvalid
	}
	c := &oldCall{door: d}
	call := c.ask(ctx, "time.now", map[string]any{})
	var micros int64
	if call.Err != nil || unmarshalMsgpack(call.OK, &micros) != nil {
		return int64(min(oldResult(call), oldInvalid))
	}
	return micros
}

// oldHTTPRequest answers the status of the response.
func oldHTTPRequest(ctx context.Context, c *oldCall) int32 {
	args, ok := c.object("url")
	if !ok {
		return oldInvalid
	}
	call := c.ask(ctx, "http.request", args)
	var res struct{ Status int32 }
	if call.Err != nil || unmarshalMsgpack(call.OK, &res) != nil {
		return min(oldResult(call), oldInvalid)
	}
	return res.Status
}

// oldKBRead makes a search or, of a request with sql, a query, and answers how
// many hits or rows there are.
func oldKBRead(ctx context.Context, c *oldCall) int32 {
	args, ok := c.object("text")
	if !ok {
		return oldInvalid
	}
	op := "kb.search"
	if _, query := args["sql"]; query {
		op = "kb.query"
	}
	call := c.ask(ctx, op, args)
	var res struct{ Hits, Rows []json.RawMessage }
	if call.Err != nil || unmarshalMsgpack(call.OK, &res) != nil {
		return min(oldResult(call), oldInvalid)
	}
	return int32(len(res.Hits) + len(res.Rows))
}

func oldKBWrite(ctx context.Context, c *oldCall) int32 {
	args, ok := c.object("")
	if !ok {
		return oldInvalid
	}
	return oldResult(c.ask(ctx, "kb.propose", args))
}

func oldResolveSecret(ctx context.Context, c *oldCall) int32 {
	args, ok := c.object("id")
	if !ok {
		return oldInvalid
	}
	return oldResult(c.ask(ctx, opSecretGet, args))
}

// oldModelComplete copies the text of the answer, whose length it returns, and
// what else is known of it, as JSON behind its length.
func oldModelComplete(ctx context.Context, c *oldCall) int32 {
	args, ok := c.object("prompt")
	if !ok {
		return oldModelInvalid
	}
	if stream, _ := args["stream"].(bool); stream {
		return oldModelStreaming
	}
	delete(args, "stream")
	call := c.ask(ctx, "model.complete", args)
	if call.Err != nil {
		return oldModelError(call.Err.Code)
	}
	var res map[string]any
	if unmarshalMsgpack(call.OK, &res) != nil {
		return oldModelProvider
	}
	text, _ := res["text"].(string)
	delete(res, "text")
	meta, err := json.Marshal(res)
	if err != nil {
		return oldModelProvider
	}
	if len(text) > int(c.out[0].size) || c.out[1].size > 0 && !c.out[1].fits(meta) {
		return oldModelNoSpace
	}
	c.mem.Write(c.out[0].ptr, []byte(text))
	if c.out[1].size > 0 {
		c.out[1].write(c.mem, meta)
	}
	return int32(min(len(text), math.MaxInt32))
}

func oldModelError(code string) int32 {
	switch {
	case strings.HasPrefix(code, "budget"):
		return oldModelBudget
	case code == CodeTimeout || strings.HasPrefix(code, "deadline"):
		return oldModelTimeout
	case code == CodeInvalid || code == CodeDenied:
		return oldModelInvalid
	case strings.HasPrefix(code, "cancel"):
		return oldModelCancelled
	}
	return oldModelProvider
}

func oldExecSpawnAlone(ctx context.Context, c *oldCall) int32 {
	_, code := oldExec(ctx, c)
	return code
}

// oldExecCapture copies the program's output and error output, each behind its
// length as a little-endian u32.
func oldExecCapture(ctx context.Context, c *oldCall) int32 {
	res, code := oldExec(ctx, c)
	if res == nil {
		return code
	}
	out, errOut := res.bytes()
	if !c.out[0].fits(out) || !c.out[1].fits(errOut) {
		return oldExecNoSpace
	}
	c.out[0].write(c.mem, out)
	c.out[1].write(c.mem, errOut)
	return code
}

// oldExec runs a program to its end: {"cmd", "args"} or the arguments of
// exec.run. The result is nil where there is none.
func oldExec(ctx context.Context, c *oldCall) (*ExecResult, int32) {
	args, ok := c.object("cmd")
	if !ok {
		return nil, oldExecInvalid
	}
	if cmd, has := args["cmd"]; has {
		rest, _ := args["args"].([]any)
		delete(args, "cmd")
		delete(args, "args")
		args["argv"] = append([]any{cmd}, rest...)
	}
	call := c.ask(ctx, "exec.run", args)
	res := &ExecResult{}
	switch {
	case call.Err != nil && call.Err.Code == CodeSpawn:
		return nil, oldExecSpawn
	case call.Err != nil && call.Err.Code == CodeTimeout:
		return nil, oldExecSignal
	case call.Err != nil || unmarshalMsgpack(call.OK, res) != nil:
		return nil, oldExecInvalid
	case res.Signal != "":
		return res, oldExecSignal
	}
	return res, int32(res.ExitCode)
}

// fits reports whether b and its length have room in r.
func (r oldRange) fits(b []byte) bool { return len(b)+4 <= int(r.size) }

// write puts b behind its length; that it fits was seen before.
func (r oldRange) write(mem api.Memory, b []byte) {
	mem.Write(r.ptr, append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...))
}
