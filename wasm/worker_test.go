package wasm

import (
	"testing"
)

func TestWorkerSmoke(t *testing.T) {
	r := newRigIn(t, IsolationWorker, "", Services{}, map[string][]byte{"probe": probeModule(t, LifeCommand)})
	t.Log(out(t, r.do("echo")))
	t.Log(r.do("exit"))

}
