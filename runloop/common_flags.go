package runloop

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// commonFlags is what was said with the flags that every command knows.
type commonFlags struct {
	color    string // auto, always, never; "" was not said
	progress string
	noInput  bool
	verbose  bool
	help     bool
	version  bool
}

// Values of --color.
const (
	colorAuto   = "auto"
	colorAlways = "always"
	colorNever  = "never"
)

// commonFlagList describes those flags. They may stand anywhere before "--", and
// are taken out before a command's own flags are read.
func commonFlagList() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "color", Usage: "colours: `auto|always|never`"},
		&cli.StringFlag{Name: "progress", Usage: "how what goes on is shown: `auto|tty|text|plain|json|none`"},
		&cli.BoolFlag{Name: "no-input", Usage: "never ask; what would have to be asked fails"},
		&cli.BoolFlag{Name: "verbose", Usage: "show all that an error is made of"},
		&cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "print help for the command"},
		&cli.BoolFlag{Name: "version", Usage: "print the version"},
	}
}

// takeCommon takes the common flags out of args, up to "--" or, if plain is
// set, up to the first argument that is no flag. own are the command's flags:
// their values are left alone, and what they are called is theirs.
func (o *IO) takeCommon(own []cli.Flag, args []string, plain bool) ([]string, error) {
	common := commonFlagList()
	var rest []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		name, value, inline := strings.Cut(arg, "=")
		switch {
		case arg == "--" || plain && !isFlag(arg):
			return append(rest, args[i:]...), nil
		case !isFlag(arg) || flagNamed(common, name) == nil || flagNamed(own, name) != nil:
			rest = append(rest, arg)
			if takesValue(own, arg) && i+1 < len(args) {
				i++
				rest = append(rest, args[i])
			}
			continue
		case takesValue(common, name) && !inline:
			if i++; i == len(args) {
				return nil, usageErrorf("%s needs a value (see rlp help flags)", arg)
			}
			value = args[i]
		}
		if err := o.common.set(strings.TrimLeft(name, "-"), value, inline); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

func isFlag(arg string) bool { return len(arg) > 1 && arg[0] == '-' }

// flagNamed is the flag that an argument such as --name names, or nil.
func flagNamed(flags []cli.Flag, arg string) cli.Flag {
	i := slices.IndexFunc(flags, func(f cli.Flag) bool {
		return slices.Contains(f.Names(), strings.TrimLeft(arg, "-"))
	})
	if i < 0 {
		return nil
	}
	return flags[i]
}

func (c *commonFlags) set(name, value string, inline bool) error {
	switches := map[string]*bool{
		"no-input": &c.noInput, "verbose": &c.verbose, "help": &c.help, "h": &c.help, "version": &c.version,
	}
	if s := switches[name]; s != nil {
		if inline && value != "true" && value != "false" {
			return usageErrorf("--%s=%s: true or false", name, value)
		}
		*s = value != "false"
		return nil
	}
	known := strings.Split(docOfFlag(flagNamed(commonFlagList(), name)).value, "|")
	if !slices.Contains(known, value) {
		return usageErrorf("--%s %q%s: %s", name, value, didYouMean(value, known), strings.Join(known, ", "))
	}
	if name == "color" {
		c.color = value
	} else {
		c.progress = value
	}
	return nil
}
