package runloop

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"

	"github.com/runloop-os/runloop/opening"
)

// openingCatalog is a planCatalog that knows openings as well, for nodes that
// use one: those that came along with a request, then those in dirs and those
// that are built in.
type openingCatalog struct {
	planCatalog
	along map[string]openingSource
	dirs  []string
}

// Opening implements opening.Openings.
func (c openingCatalog) Opening(name string) (file string, text []byte, err error) {
	if src, ok := c.along[name]; ok {
		return src.name, src.text, nil
	}
	file, text, err = findOpening(name, c.dirs, bytes.NewReader(nil))
	var exit *exitError
	if errors.As(err, &exit) && exit.code == exitNotFound {
		return "", nil, opening.ErrUnknownOpening
	}
	return file, text, err
}

// OpeningNames implements opening.Openings.
func (c openingCatalog) OpeningNames() []string {
	names := openingNames(c.dirs)
	for name := range c.along {
		names = append(names, name)
	}
	return names
}

// openingDirs are where an opening's file finds the openings that it uses:
// beside it, then where openings are looked for.
func openingDirs(cfg *Loaded, f *runFlags, src *openingSource) []string {
	var dirs []string
	if st, err := os.Stat(src.name); err == nil && st.Mode().IsRegular() {
		dirs = append(dirs, filepath.Dir(src.name))
	}
	if f.openingsDir != "" {
		dirs = append(dirs, f.openingsDir)
	}
	return append(dirs, cfg.Openings.SearchDirs...)
}

// alongMax is how many openings may come along with one.
const alongMax = 200

// gatherOpenings finds the openings that o uses and that these use, by name.
// Those that cannot be found or read are left out: whoever plans the run says
// so.
func gatherOpenings(o *opening.Opening, dirs []string) map[string]openingSource {
	found := map[string]openingSource{}
	queue := []*opening.Opening{o}
	for len(queue) > 0 && len(found) < alongMax {
		next := queue[0]
		queue = queue[1:]
		for _, n := range next.Nodes {
			name := n.Nested()
			if _, seen := found[name]; name == "" || seen {
				continue
			}
			file, text, err := findOpening(name, dirs, bytes.NewReader(nil))
			if err != nil {
				continue
			}
			found[name] = openingSource{file, text}
			if inner, err := opening.Parse(file, text); err == nil {
				queue = append(queue, inner)
			}
		}
	}
	return found
}
