package wasm

import (
	"context"
	"io"
	"math/rand/v2"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

// guest is what one attempt gives to the module that runs it: everything a
// guest can see or touch is a field here.
type guest struct {
	args   []string
	env    map[string]string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	clock  *clock
	random io.Reader
	fs     wazero.FSConfig // nil: no files
	door   *door
	// memory is the most linear memory, in bytes.
	memory uint64
	// onMemory is told of the instance's memory. Nil for nobody.
	onMemory func(*guestMemory)
	meter    *meter // nil measures nothing
	ready    bool   // a resident that has said so
}

// envLife tells a guest that it is to stay.
const envLife = "RUNLOOP_LIFE"

func (g *guest) isResident() bool { return g.env[envLife] == LifeResident.String() }

type guestKey struct{}

// withGuest makes g the one that host functions called under ctx serve.
func withGuest(ctx context.Context, g *guest) context.Context {
	return context.WithValue(ctx, guestKey{}, g)
}

func guestFrom(ctx context.Context) *guest {
	return ctx.Value(guestKey{}).(*guest)
}

// newRandom is the random stream for a seed: the same numbers in every replay.
func newRandom(seed [32]byte) io.Reader { return rand.NewChaCha8(seed) }

// newInitGuest serves _initialize of a reactor, which runs before it is known
// for which attempt. It is the same each time, so that it does not matter
// whether an instance was made ahead.
func newInitGuest(args []string, memory uint64) *guest {
	return &guest{
		args: args, memory: memory,
		stdin: eof{}, stdout: io.Discard, stderr: io.Discard,
		clock: newVirtualClock(), random: newRandom([32]byte{}), door: closedDoor(),
	}
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// instance is one instantiated module. wazero fixes a module's streams and
// clocks when it is instantiated, a reactor gets its attempt later: so they
// lead here and from here to the guest of the moment.
type instance struct {
	mod    api.Module
	stop   api.MutableGlobal // of its gates; nil where it has none
	memory *guestMemory
	cur    *guest
}

// within calls an export of the guest, which is stopped when ctx ends.
func (in *instance) within(ctx context.Context, export string, params ...uint64) ([]uint64, error) {
	if in.stop != nil {
		defer context.AfterFunc(ctx, func() { in.stop.Set(1 << 31) })()
	}
	return in.mod.ExportedFunction(export).Call(ctx, params...)
}

// close gives everything back. No call may be under way.
func (in *instance) close() {
	in.mod.Close(context.Background()) // an instance that is gone cannot fail to go
	in.memory.Release()
}

// config is the wazero configuration that leads every effect through in.
func (in *instance) config() wazero.ModuleConfig {
	const microsecond = sys.ClockResolution(1000)
	cfg := wazero.NewModuleConfig().
		WithName(""). // anonymous: many at a time
		WithStartFunctions().
		WithArgs(in.cur.args...).
		WithStdin(readFunc(func(p []byte) (int, error) { return in.cur.read(p) })).
		WithStdout(writeFunc(func(p []byte) (int, error) { return in.cur.stdout.Write(p) })).
		WithStderr(writeFunc(func(p []byte) (int, error) { return in.cur.stderr.Write(p) })).
		WithRandSource(readFunc(func(p []byte) (int, error) { return in.cur.random.Read(p) })).
		WithWalltime(func() (int64, int32) { return in.cur.clock.walltime() }, microsecond).
		WithNanotime(func() int64 { return in.cur.clock.nanotime() }, microsecond)
	for k, v := range in.cur.env {
		cfg = cfg.WithEnv(k, v)
	}
	if in.cur.fs != nil {
		cfg = cfg.WithFSConfig(in.cur.fs)
	}
	return cfg
}

// read reads stdin, and ends the guest where waiting for it is over.
func (g *guest) read(p []byte) (int, error) {
	n, err := g.stdin.Read(p)
	if err == errGuestEnds {
		abort()
	}
	return n, err
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }
