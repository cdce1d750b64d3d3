package enter

import (
	"os"

	"github.com/runloop-os/runloop/router/str"
)

// EnvPrefix begins every variable that sets a key of the configuration.
const EnvPrefix = "RUNLOOP__"

// Getenv looks variables up in a list of KEY=value; one that is not there is "".
func Getenv(environ []string) func(key string) string {
	return func(key string) string {
		for _, kv := range environ {
			if k, v, _ := str.Cut(kv, "="); k == key {
				return v
			}
		}
		return ""
	}
}

// DefaultWork is the folder for state of an installation that is not configured:
// "" without a home.
func DefaultWork(home string) string {
	if home == "" {
		return ""
	}
	return home + "/.runloop"
}

// inPath reports whether a name is a program in one of the folders of PATH. Package
// filepath is loaded later than this one.
func inPath(name, path string) bool {
	if str.IndexByte(name, '/') >= 0 {
		return executable(name)
	}
	for dir := range str.SplitSeq(path, ":") {
		if str.HasPrefix(dir, "/") && executable(dir+"/"+name) {
			return true
		}
	}
	return false
}

func executable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0
}

// base is the last element of a path.
func base(path string) string { return path[str.LastIndexByte(path, '/')+1:] }
