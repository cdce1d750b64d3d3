package enter

import (
	"errors"
	"strconv"

	"github.com/runloop-os/runloop/router"
	"github.com/runloop-os/runloop/router/str"
)

// Flags are the arguments of rlp route.
type Flags struct {
	Line      string
	Given     bool // there was a line among the arguments
	Stdin     bool // the line is there
	TimeoutMS int
	Shell     router.Shell
	FirstKind router.Kind
	FirstDir  bool
	JSON      bool
	Help      bool

	Was         router.Route // record a correction
	Forget      bool         // take one back
	Corrections bool         // list them
}

// Limits of --timeout-ms.
const (
	TimeoutMS    = 200 // unless something else is said (spec/08)
	timeoutMaxMS = 60_000
)

// NoFlagError is an argument that looks like a flag and is none.
type NoFlagError string

func (e NoFlagError) Error() string { return "no flag " + string(e) }

// errWhichLine is misuse that has no argument to blame.
var errWhichLine = errors.New("which line? rlp route PROMPT, or --stdin (see rlp route --help)")

// ParseFlags reads the arguments after "route". Words that are no flags are the
// line, as they stand.
//
// Errors: [NoFlagError]; any other is a line that says what is wrong.
func ParseFlags(args []string, getenv func(string) string) (*Flags, error) {
	f := &Flags{TimeoutMS: TimeoutMS}
	if err := f.fromEnvironment(getenv); err != nil {
		return nil, err
	}
	for i := 0; i < len(args); i++ {
		arg, value, inline := str.Cut(args[i], "=")
		if args[i] == "--" {
			f.Line, f.Given = str.Join(args[i+1:], " "), i+1 < len(args)
			break
		}
		if !str.HasPrefix(arg, "--") && arg != "-h" {
			f.Line, f.Given = str.Join(args[i:], " "), true
			break
		}
		if f.setBool(arg) {
			if inline {
				return nil, errors.New(arg + " takes no value (see rlp route --help)")
			}
			continue
		}
		if wants(arg) == "" {
			return nil, NoFlagError(arg)
		}
		if !inline {
			if i++; i >= len(args) {
				return nil, errors.New(arg + " needs a value (see rlp route --help)")
			}
			value = args[i]
		}
		if err := f.set(arg, value); err != nil {
			return nil, err
		}
	}
	return f, f.check()
}

// fromEnvironment reads the variables that mean the same as flags.
func (f *Flags) fromEnvironment(getenv func(string) string) error {
	for _, v := range [...]struct{ name, flag string }{
		{"RUNLOOP_ROUTER_TIMEOUT_MS", "--timeout-ms"},
		{"RUNLOOP_ROUTER_SHELL", "--shell"},
		{"RUNLOOP_ROUTER_FIRST_KIND", "--first-kind"},
	} {
		value := getenv(v.name)
		if value == "" {
			continue
		}
		if f.set(v.flag, value) != nil {
			return errors.New(v.name + "=" + value + ": " + wants(v.flag))
		}
	}
	f.FirstDir = getenv("RUNLOOP_ROUTER_FIRST_DIR") == "1"
	return nil
}

func (f *Flags) setBool(arg string) bool {
	switch arg {
	case "--stdin":
		f.Stdin = true
	case "--first-dir":
		f.FirstDir = true
	case "--json":
		f.JSON = true
	case "--forget":
		f.Forget = true
	case "--corrections":
		f.Corrections = true
	case "--help", "-h":
		f.Help = true
	default:
		return false
	}
	return true
}

// wants says what the value of a flag must be; "" for a flag without one.
func wants(arg string) string {
	switch arg {
	case "--timeout-ms":
		return "want milliseconds, 1 to 60000"
	case "--shell":
		return "want zsh or bash"
	case "--first-kind":
		return "want alias, function, builtin, keyword, command or none"
	case "--was":
		return "want shell or agent"
	}
	return ""
}

func (f *Flags) set(arg, value string) error {
	ok := false
	switch arg {
	case "--timeout-ms":
		ms, err := strconv.Atoi(value)
		f.TimeoutMS, ok = ms, err == nil && ms >= 1 && ms <= timeoutMaxMS
	case "--shell":
		f.Shell = router.Shell(value)
		ok = f.Shell == router.Zsh || f.Shell == router.Bash
	case "--first-kind":
		f.FirstKind, ok = firstKind(value)
	case "--was":
		f.Was = router.Route(value)
		ok = f.Was == router.ToShell || f.Was == router.ToAgent
	}
	if !ok {
		return errors.New(arg + " " + strconv.Quote(value) + ": " + wants(arg))
	}
	return nil
}

// firstKind reads a kind in our words, in those of bash's `type -t` and in
// those of zsh's `whence -w`. Nothing means that nobody asked.
func firstKind(value string) (router.Kind, bool) {
	switch value {
	case "file", "hashed":
		return router.KindCommand, true
	case "reserved":
		return router.KindKeyword, true
	case "alias", "function", "builtin", "keyword", "command", "none", "":
		return router.Kind(value), true
	}
	return "", false
}

// check refuses flags that contradict each other.
func (f *Flags) check() error {
	asked := 0
	for _, on := range []bool{f.Was != "", f.Forget, f.Corrections} {
		if on {
			asked++
		}
	}
	switch {
	case f.Help:
		return nil
	case asked > 1:
		return errors.New("--was, --forget and --corrections are one at a time (see rlp route --help)")
	case f.Stdin && f.Given:
		return errors.New("the line comes from stdin or from the arguments, not both")
	case f.Corrections && (f.Stdin || f.Given):
		return errors.New("--corrections takes no line")
	case f.Forget || f.Corrections || f.Stdin || f.Given:
		return nil
	}
	return errWhichLine
}

// decides reports whether the flags ask for a decision.
func (f *Flags) decides() bool { return !f.Help && f.Was == "" && !f.Forget && !f.Corrections }

// Input is what the router is asked, what only the configuration and the grammar
// know apart.
func (f *Flags) Input(getenv func(string) string) router.Input {
	return router.Input{
		Line: f.Line, Shell: f.Shell, FirstKind: f.FirstKind, FirstIsDir: f.FirstDir,
		Lookup: func(name string) bool { return inPath(name, getenv("PATH")) },
	}
}
