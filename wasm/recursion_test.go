package wasm

import (
	"context"
	"errors"
	"testing"
)

// slowRecursion is a module that calls itself without end in sight and
// without a loop: f(n) { if n { f(n-1); f(n-1) } }, begun with n = 60.
func slowRecursion() []byte {
	types := asmSec(1, asmVec(asmVoid, []byte{0x60, 1, 0x7f, 0}))
	f := []byte{0x20, 0, 0x04, 0x40, 0x20, 0, 0x41, 1, 0x6b, 0x10, 1, 0x20, 0, 0x41, 1, 0x6b, 0x10, 1, 0x0b}
	return asmCat(asmHeader, types, asmSec(3, asmVec([]byte{0}, []byte{1})), asmOnePage,
		asmSec(7, asmVec(asmExport("_start", 0, 0), asmMemory)),
		asmSec(10, asmVec(asmFunc([]byte{0x41, 60, 0x10, 1}), asmFunc(f))))
}

// TestSlowRecursionEnds: not every endless program has a loop.
func TestSlowRecursionEnds(t *testing.T) {
	for _, where := range []Isolation{IsolationWorker, IsolationInline} {
		_, err := testRuntime().RunWASI(context.Background(), WASIConfig{
			Module: slowRecursion(), Args: []string{"x"}, Isolation: where, Limits: Limits{WallMS: soon},
		})
		if !errors.Is(err, &Error{Code: CodeDeadline}) {
			t.Errorf("%s: %v", where, err)
		}
	}
}
