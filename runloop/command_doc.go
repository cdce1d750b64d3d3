package runloop

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// commandDoc is what there is to say about a command or an applet. Help, man
// pages and completion are made of it, so that all three say the same.
type commandDoc struct {
	path     string // "rlp kb search"
	usage    string // in a few words
	args     string // placeholders of the arguments
	examples []string
	about    string // paragraphs
	flags    []flagDoc
	subs     []*commandDoc
}

// flagDoc is one flag.
type flagDoc struct {
	names    []string // without dashes, the long one first
	value    string   // placeholder of its value; "" for a switch
	usage    string
	fallback string // what it is when it is not given, or ""
	again    bool   // it may be given more than once
}

// docOfApp describes an applet and its commands. UsageText has the examples, one
// a line.
func docOfApp(app *cli.App) *commandDoc {
	path := app.Name
	if app.HelpName != "" {
		path = app.HelpName
	}
	d := &commandDoc{
		path: path, usage: app.Usage, args: app.ArgsUsage, examples: linesOf(app.UsageText),
		about: app.Description, flags: docOfFlags(app.Flags),
	}
	if len(app.Commands) > 0 && d.args == "" {
		d.args = "COMMAND"
	}
	for _, c := range app.Commands {
		if !c.Hidden {
			d.subs = append(d.subs, docOfCommand(d.path, c))
		}
	}
	return d
}

func docOfCommand(parent string, c *cli.Command) *commandDoc {
	d := &commandDoc{
		path: parent + " " + c.Name, usage: c.Usage, args: c.ArgsUsage, examples: linesOf(c.UsageText),
		about: c.Description, flags: docOfFlags(c.Flags),
	}
	for _, sub := range c.Subcommands {
		if !sub.Hidden {
			d.subs = append(d.subs, docOfCommand(d.path, sub))
		}
	}
	if len(d.subs) > 0 {
		d.args = "COMMAND"
	}
	return d
}

func linesOf(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func docOfFlags(flags []cli.Flag) []flagDoc {
	var out []flagDoc
	for _, f := range flags {
		if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		out = append(out, docOfFlag(f))
	}
	return out
}

// docOfFlag reads the placeholder out of the flag's usage, where it stands
// between backquotes.
func docOfFlag(f cli.Flag) flagDoc {
	d := flagDoc{names: f.Names()}
	g, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return d
	}
	d.usage = g.GetUsage()
	if before, rest, ok := strings.Cut(d.usage, "`"); ok {
		value, after, _ := strings.Cut(rest, "`")
		d.value, d.usage = value, before+value+after
	}
	switch {
	case !g.TakesValue():
		d.value = ""
	case d.value == "":
		d.value = "VALUE"
	}
	_, d.again = f.(*cli.StringSliceFlag)
	if s, ok := f.(*cli.StringFlag); ok {
		d.fallback = s.Value
	} else if v := g.GetValue(); d.value != "" && v != "0" && v != "0s" && v != "" {
		d.fallback = v
	}
	return d
}

// find is the command that words name, as far as they do; rest is what is left
// of them.
func (d *commandDoc) find(words []string) (found *commandDoc, rest []string) {
	for len(words) > 0 {
		sub := d.sub(words[0])
		if sub == nil {
			break
		}
		d, words = sub, words[1:]
	}
	return d, words
}

func (d *commandDoc) sub(name string) *commandDoc {
	for _, s := range d.subs {
		if s.name() == name {
			return s
		}
	}
	return nil
}

// name is the last word of the path.
func (d *commandDoc) name() string { return d.path[strings.LastIndexByte(d.path, ' ')+1:] }

// synopsis is how the command is called.
func (d *commandDoc) synopsis() string {
	out := d.path
	if len(d.flags) > 0 {
		out += " [flags]"
	}
	if d.args != "" {
		out += " " + d.args
	}
	return out
}

// spelled is a flag as it is written on the command line: "-p, --param KEY=VALUE".
func (f *flagDoc) spelled() string {
	var short, long []string
	for _, n := range f.names {
		if len(n) == 1 {
			short = append(short, "-"+n)
		} else {
			long = append(long, "--"+n)
		}
	}
	out := strings.Join(append(short, long...), ", ")
	if v := f.placeholder(); v != "" {
		out += " " + v
	}
	return out
}

// placeholder stands for the value. Where that is one of several words, which
// the usage lists, it is what the flag is called.
func (f *flagDoc) placeholder() string {
	if len(f.choices()) > 0 {
		return strings.ToUpper(f.names[0])
	}
	return f.value
}

// choices are the words that the value is one of, or nil if it may be anything.
func (f *flagDoc) choices() []string { return choicesOf(f.value) }

// choicesOf reads a placeholder of the form "text|json": words in small letters.
func choicesOf(placeholder string) []string {
	words := strings.Split(placeholder, "|")
	if len(words) < 2 || strings.ToLower(placeholder) != placeholder {
		return nil
	}
	return words
}
