package enter

import (
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/str"
)

// Settings are what a decision takes from the configuration.
type Settings struct {
	Deny, Allow, Known []string // router.denylist, allowlist and known_commands
	FastpathShell      bool
	Work               string // runtime.workdir, absolute
}

// Lists compiles the settings. compile may be nil if there are no regular
// expressions at hand.
func (s *Settings) Lists(compile func(expr string) (router.Matcher, error)) (*router.Lists, error) {
	return router.NewLists(router.ListConfig{
		Deny: s.Deny, Allow: s.Allow, Known: s.Known, FastpathShell: s.FastpathShell, Compile: compile,
	})
}

// Sources are where the configuration is. Reading it takes longer than all else a
// decision does, so what it said is kept in a small file, with what it was read
// from: the files by name, inode, size and times, and the program that read them.
// When any of that is another, the small file counts for nothing.
type Sources struct {
	Environ []string
	Home    string // "" for none
	System  string // the machine's file
}

// settingsFile is the small file's name in the folder for what can be made anew.
const settingsFile = "router-settings"

// Limits on the small file.
const (
	settingsTitle = "runloop router settings 1"
	settingsMax   = 256 << 10
	// settled is how old the last change of a file has to be. A later one within
	// the same tick of the file system's clock would go unseen, and the coarsest
	// clock ticks every 2 s.
	settled = 3 * time.Second
)

// files are what is read or not read, in this order: the program, the machine's
// file, the user's, and the one that a variable names in their place. Names are ""
// where there is none.
func (s Sources) files() [4]string {
	files := [...]string{"/proc/self/exe", s.System, "", Getenv(s.Environ)("RUNLOOP_CONFIG")}
	if s.Home != "" {
		files[2] = DefaultWork(s.Home) + "/config.yaml"
	}
	return files
}

// setByVariables reports whether the environment sets keys.
func (s Sources) setByVariables() bool {
	for _, kv := range s.Environ {
		if str.HasPrefix(kv, EnvPrefix) {
			return true
		}
	}
	return false
}

// Configured reports whether the configuration may say more than the defaults:
// whether any file or variable of it is there, or cannot be looked at.
func (s Sources) Configured() bool {
	files := s.files()
	if files[3] != "" || s.setByVariables() {
		return true
	}
	for _, file := range files[1:3] {
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

// Identity names what the configuration would be read from now. It is "" if
// nothing can be kept: variables set keys, the home folder depends on the current
// one, or a file cannot be looked at.
func (s Sources) Identity() string {
	id, _ := s.identity()
	return id
}

func relative(path string) bool { return path != "" && path[0] != '/' }

// identity also returns when the newest of the files changed.
func (s Sources) identity() (id string, changed time.Time) {
	files := s.files()
	if s.setByVariables() || relative(s.Home) {
		return "", changed
	}
	b := append(strconv.AppendQuote(nil, s.Home), '\n')
	for _, file := range files {
		b = strconv.AppendQuote(b, file)
		st, err := os.Stat(file)
		switch {
		case err == nil:
			sys := st.Sys().(*syscall.Stat_t)
			for _, n := range [...]int64{int64(sys.Dev), int64(sys.Ino), sys.Size, sys.Mtim.Nano(), sys.Ctim.Nano()} {
				b = strconv.AppendInt(append(b, ' '), n, 10)
			}
			for _, at := range [...]time.Time{st.ModTime(), time.Unix(sys.Ctim.Unix())} {
				if at.After(changed) {
					changed = at
				}
			}
		case !errors.Is(err, fs.ErrNotExist):
			return "", changed
		}
		b = append(b, '\n')
	}
	return string(b), changed
}

// Recall returns what the configuration said when it was last read, if it would
// say the same now. Anything else it meets where the small file belongs is as
// good as nothing.
func (s Sources) Recall() (*Settings, bool) {
	path, id := s.path(), s.Identity()
	if path == "" || id == "" {
		return nil, false
	}
	data, err := readOwn(path, settingsMax)
	if err != nil {
		return nil, false
	}
	title, body, _ := str.Cut(string(data), "\n")
	rest, same := str.CutPrefix(body, id)
	if !same || title != settingsLine(body) {
		return nil, false
	}
	return parseSettings(rest)
}

// settingsLine is the first line of a small file.
func settingsLine(body string) string {
	return settingsTitle + " " + strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(body))), 16)
}

// path is where the small file belongs, "" if there is no such place.
func (s Sources) path() string {
	dir := Getenv(s.Environ)("XDG_CACHE_HOME")
	switch {
	case dir != "" && !relative(dir):
	case s.Home != "" && !relative(s.Home):
		dir = s.Home + "/.cache"
	default:
		return ""
	}
	return dir + "/runloop/" + settingsFile
}

// Remember keeps what the configuration said. id is the Identity from before it
// was read. It keeps nothing, without an error, when a file is so new that a
// change might not show.
func (s Sources) Remember(id string, settings *Settings, now time.Time) error {
	path := s.path()
	again, changed := s.identity()
	if path == "" || id == "" || id != again || now.Sub(changed) < settled {
		return nil
	}
	body := id + formatSettings(settings)
	data := settingsLine(body) + "\n" + body
	if len(data) > settingsMax {
		return nil
	}
	dir := path[:len(path)-len(settingsFile)-1]
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+settingsFile+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(data)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// The settings stand one a line, each a word and a quoted value.
const (
	fieldDeny  = "deny"
	fieldAllow = "allow"
	fieldKnown = "known"
	fieldWork  = "work"
	fieldSlow  = "fastpath_shell=false"
)

func formatSettings(s *Settings) string {
	b := append(append([]byte(fieldWork), ' '), strconv.Quote(s.Work)...)
	b = append(b, '\n')
	for _, list := range [...]struct {
		field  string
		values []string
	}{{fieldDeny, s.Deny}, {fieldAllow, s.Allow}, {fieldKnown, s.Known}} {
		for _, v := range list.values {
			b = append(append(b, list.field...), ' ')
			b = append(strconv.AppendQuote(b, v), '\n')
		}
	}
	if !s.FastpathShell {
		b = append(append(b, fieldSlow...), " \"\"\n"...)
	}
	return string(b)
}

func parseSettings(text string) (*Settings, bool) {
	s := &Settings{FastpathShell: true}
	for line := range str.Lines(text) {
		field, quoted, _ := str.Cut(str.TrimSuffix(line, "\n"), " ")
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, false
		}
		switch field {
		case fieldDeny:
			s.Deny = append(s.Deny, value)
		case fieldAllow:
			s.Allow = append(s.Allow, value)
		case fieldKnown:
			s.Known = append(s.Known, value)
		case fieldWork:
			s.Work = value
		case fieldSlow:
			s.FastpathShell = false
		default:
			return nil, false
		}
	}
	return s, true
}
