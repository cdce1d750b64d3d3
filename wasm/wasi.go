package wasm

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// Numbers of WASI preview 1 that are used here.
// https://github.com/WebAssembly/WASI/blob/snapshot-01/phases/snapshot/docs.md
const (
	errnoSuccess = 0
	errnoBadf    = 8
	errnoFault   = 21
	errnoInval   = 28
	errnoNotsup  = 58

	eventClock   = 0
	eventFDRead  = 1
	eventFDWrite = 2

	clockRealtime   = 0
	flagAbstime     = 1
	subscriptionLen = 48
	eventLen        = 32
)

// pollMax is how many subscriptions one poll_oneoff may have.
const pollMax = 1024

// hostModule is the import module of our own functions.
const hostModule = "runloop"

const i32 = api.ValueTypeI32

// instantiateHost gives a wazero runtime the two modules that guests may
// import: WASI with its dangerous functions replaced, and our own. It returns
// the types of their functions.
func instantiateHost(ctx context.Context, r wazero.Runtime) (KnownFunc, error) {
	wasi := r.NewHostModuleBuilder(wasi_snapshot_preview1.ModuleName)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(wasi)
	// wazero keeps descriptors in a dense table: renumbering to 2^30 would
	// make it that large.
	export(wasi, "fd_renumber", 2, func(context.Context, api.Module, []uint64) uint32 {
		return errnoNotsup
	})
	// wazero's sleeps without looking at the context, and multiplies the
	// count without looking for overflow.
	export(wasi, "poll_oneoff", 4, pollOneoff)
	own := r.NewHostModuleBuilder(hostModule)
	export(own, "hostcall", 2, hostcall)
	export(own, "hostcall_read", 2, hostcallRead)
	exportOld(own)
	exportMailbox(own)

	types := map[string]FuncType{}
	for module, b := range map[string]wazero.HostModuleBuilder{
		wasi_snapshot_preview1.ModuleName: wasi, hostModule: own,
	} {
		m, err := b.Instantiate(ctx)
		if err != nil {
			return nil, err
		}
		for name, f := range m.ExportedFunctionDefinitions() {
			types[module+"."+name] = NewFuncType(f.ParamTypes(), f.ResultTypes())
		}
	}
	return func(module, name string) (FuncType, bool) {
		t, ok := types[module+"."+name]
		return t, ok
	}, nil
}

// hostFunc is a function for guests: i32 parameters, one i32 result.
type hostFunc func(ctx context.Context, mod api.Module, params []uint64) uint32

func export(b wazero.HostModuleBuilder, name string, params int, f hostFunc) {
	in := make([]api.ValueType, params)
	for i := range in {
		in[i] = i32
	}
	b.NewFunctionBuilder().WithGoModuleFunction(
		api.GoModuleFunc(func(ctx context.Context, mod api.Module, stack []uint64) {
			stack[0] = uint64(f(ctx, mod, stack))
		}), in, []api.ValueType{i32}).Export(name)
}

// abort unwinds a guest whose context has ended, from inside a host function.
func abort() {
	panic(sys.NewExitError(sys.ExitCodeContextCanceled))
}

// pollOneoff waits for the first of several events. Descriptors are always
// ready, because what a guest can hold never blocks; a wait for a clock ends
// with the attempt.
//
// A subscription is 48 bytes: userdata u64, tag u8 at 8, then at 16 either
// fd u32, or clock id u32, timeout u64 at 24, precision u64, flags u16 at 40.
// An event is 32 bytes: userdata u64, errno u16 at 8, type u8 at 10.
func pollOneoff(ctx context.Context, mod api.Module, params []uint64) uint32 {
	in, out := uint32(params[0]), uint32(params[1])
	n, resultAt := uint32(params[2]), uint32(params[3])
	if n == 0 || n > pollMax {
		return errnoInval
	}
	mem := mod.Memory()
	view, ok := mem.Read(in, n*subscriptionLen)
	if !ok {
		return errnoFault
	}
	subs := append([]byte(nil), view...) // the ranges may overlap
	events, errno := readyEvents(subs)
	if errno == errnoSuccess && len(events) == 0 {
		events, errno = waitForClock(ctx, guestFrom(ctx), subs)
	}
	if errno != errnoSuccess {
		return errno
	}
	if !mem.Write(out, events) || !mem.WriteUint32Le(resultAt, uint32(len(events)/eventLen)) {
		return errnoFault
	}
	return errnoSuccess
}

// readyEvents answers the subscriptions for descriptors at once.
func readyEvents(subs []byte) (events []byte, errno uint32) {
	for s := range eachSubscription(subs) {
		switch s[8] {
		case eventClock:
		case eventFDRead, eventFDWrite:
			code := uint16(errnoSuccess)
			if int32(binary.LittleEndian.Uint32(s[16:])) < 0 {
				code = errnoBadf
			}
			events = appendEvent(events, s, code)
		default:
			return nil, errnoInval
		}
	}
	return events, errnoSuccess
}

// waitForClock sleeps until the earliest clock subscription is due and answers
// all that are due then.
func waitForClock(ctx context.Context, g *guest, subs []byte) (events []byte, errno uint32) {
	earliest := time.Duration(math.MaxInt64)
	for s := range eachSubscription(subs) {
		d, errno := g.untilDue(s)
		if errno != errnoSuccess {
			return nil, errno
		}
		earliest = min(earliest, d)
	}
	if !g.sleep(ctx, earliest) {
		abort()
	}
	for s := range eachSubscription(subs) {
		if d, _ := g.untilDue(s); d <= earliest {
			events = appendEvent(events, s, errnoSuccess)
		}
	}
	return events, errnoSuccess
}

// untilDue is how long a clock subscription has to wait, not less than zero.
func (g *guest) untilDue(s []byte) (time.Duration, uint32) {
	timeout := binary.LittleEndian.Uint64(s[24:])
	ns := int64(min(timeout, math.MaxInt64))
	switch binary.LittleEndian.Uint16(s[40:]) {
	case 0:
		return time.Duration(ns), errnoSuccess
	case flagAbstime:
		now := g.clock.nanotime()
		if binary.LittleEndian.Uint32(s[16:]) == clockRealtime {
			sec, nsec := g.clock.walltime()
			now = sec*1e9 + int64(nsec)
		}
		return time.Duration(max(ns-now, 0)), errnoSuccess
	}
	return 0, errnoInval
}

// sleep waits for d, or returns false when the attempt ends before. A replay
// does not wait.
func (g *guest) sleep(ctx context.Context, d time.Duration) bool {
	g.meter.leave()
	defer g.meter.enter()
	g.clock.slept(d)
	if d <= 0 || g.clock.replay {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func eachSubscription(subs []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for ; len(subs) > 0; subs = subs[subscriptionLen:] {
			if !yield(subs[:subscriptionLen]) {
				return
			}
		}
	}
}

func appendEvent(events, sub []byte, errno uint16) []byte {
	var e [eventLen]byte
	copy(e[:8], sub)
	binary.LittleEndian.PutUint16(e[8:], errno)
	e[10] = sub[8]
	return append(events, e[:]...)
}
