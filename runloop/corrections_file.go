package runloop

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/enter"
)

// writeCorrections replaces the small file.
func writeCorrections(work string, list []router.Correction) error {
	f, err := os.CreateTemp(work, "."+enter.CorrectionsFile+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(router.FormatCorrections(list))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(work, enter.CorrectionsFile))
}
