package runloop

import (
	"bytes"
	"strings"
	"testing"

	"github.com/runloop-os/runloop/rmp"
)

// TestPanicIsOneAnswer: a defect in one request leaves the daemon and the runs of
// others alone.
func TestPanicIsOneAnswer(t *testing.T) {
	var said bytes.Buffer
	c := &control{session: &session{io: &IO{Stderr: &said}}} // without all that status needs
	raw := c.carryOut(t.Context(), rmp.TraceID{1}, &ctrlRequest{Op: "status"}, nil)
	answer, err := rmp.AppendJSON(nil, raw)
	if err != nil || !strings.Contains(string(answer), `"code":"internal"`) || !strings.Contains(said.String(), "panic") {
		t.Errorf("%s, %v, %q", answer, err, said.String())
	}
}

// TestArtifactOfTheSameID: an artifact is never replaced by one whose digest only
// begins like its own.
func TestArtifactOfTheSameID(t *testing.T) {
	a := artifactService{dir: t.TempDir()}
	k, err := a.write("x.txt", []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := a.write("x.txt", []byte("one")); err != nil || *again != *k {
		t.Errorf("the same again: %+v %v", again, err)
	}
	if other, err := a.write("x.txt", []byte("two")); err != nil || other.path == k.path {
		t.Errorf("another: %+v %v", other, err)
	}
}
