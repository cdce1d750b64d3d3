package runloop

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// offered is what may stand at a place of a command line.
type offered struct {
	items []completionItem
	files fileKind // that fit where no item does
}

// completionItem is one possible word. One that ends in "=" or ":" goes on.
type completionItem struct{ value, about string }

// fileKind says which names of files a shell offers.
type fileKind string

const (
	noFiles  fileKind = "none"
	anyFiles fileKind = "files"
	onlyDirs fileKind = "dirs"
)

func (c *offered) add(value, about string) {
	c.items = append(c.items, completionItem{value, about})
}

// completer works out what may stand at the end of a command line.
type completer struct {
	io   *IO
	doc  *commandDoc
	args []string // arguments of the command before that place
	cur  string   // what is typed of the word there
	out  offered
}

// complete completes the last of words, which begin with the program's name.
// What cannot be found out is left out.
func (o *IO) complete(words []string) *offered {
	if len(words) < 2 {
		return &offered{files: noFiles}
	}
	doc, words := o.completedApplet(words)
	c := &completer{io: o, doc: doc, cur: words[len(words)-1], out: offered{files: noFiles}}
	if doc != nil {
		c.walk(words[:len(words)-1])
	}
	c.out.items = slices.DeleteFunc(c.out.items, func(i completionItem) bool { return !strings.HasPrefix(i.value, c.cur) })
	if len(c.out.items) > 0 {
		c.out.files = noFiles // they would hide what was found; a word with a "/" finds them
	}
	return &c.out
}

// completedApplet is the tree that words belong to, and the words after the
// applet's name.
func (o *IO) completedApplet(words []string) (*commandDoc, []string) {
	name := strings.TrimSuffix(filepath.Base(words[0]), ".exe")
	words = words[1:]
	if name == "runloop" && len(words) == 1 {
		return o.multicallDoc(), words
	}
	if name == "runloop" && o.appOf(words[0]) != nil {
		name, words = words[0], words[1:]
	} else if name == "runloop" {
		name = "rlp" // its commands are applets, too
	}
	app := o.appOf(name)
	if app == nil || len(words) == 0 {
		return nil, []string{""}
	}
	return docOfApp(app), words
}

// appOf is the tree of an applet, or nil.
func (o *IO) appOf(name string) *cli.App {
	for _, a := range applets() {
		if a.name == name {
			return a.tree(o)
		}
	}
	return nil
}

// multicallDoc is the program under its own name: applets and commands of rlp.
func (o *IO) multicallDoc() *commandDoc {
	d := docOfApp(newCLI(o))
	d.flags = nil
	for _, a := range applets() {
		d.subs = append(d.subs, &commandDoc{path: "runloop " + a.name, usage: a.help})
	}
	return d
}

// walk reads the words before the place, down the tree, and then offers what
// fits.
func (c *completer) walk(words []string) {
	flags := true // they may still come
	for i := 0; i < len(words); i++ {
		word := words[i]
		f := c.flag(word)
		switch {
		case flags && word == "--":
			flags = false
		case flags && isFlag(word):
			if f == nil || f.value == "" || strings.Contains(word, "=") {
				continue
			}
			if i++; i == len(words) {
				c.offerValue(f.value, "")
				return
			}
		case len(c.doc.subs) > 0:
			sub := c.doc.sub(word)
			if sub == nil {
				return
			}
			c.doc = sub
		default:
			c.args = append(c.args, word)
		}
	}
	c.offer(words, flags)
}

// flag is the flag that a word names, or nil.
func (c *completer) flag(word string) *flagDoc {
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	all := c.flags()
	if i := slices.IndexFunc(all, func(f flagDoc) bool { return slices.Contains(f.names, name) }); i >= 0 {
		return &all[i]
	}
	return nil
}

// flags are those of the command and those of all commands.
func (c *completer) flags() []flagDoc {
	return append(c.doc.flags[:len(c.doc.flags):len(c.doc.flags)], docOfFlags(commonFlagList())...)
}

// offer offers what fits at the place: the value of a flag, flags, commands, or
// an argument.
func (c *completer) offer(before []string, flags bool) {
	name, _, inline := strings.Cut(c.cur, "=")
	switch f := c.flag(name); {
	case flags && isFlag(c.cur) && inline:
		if f != nil && f.value != "" {
			c.offerValue(f.value, name+"=")
		}
	case flags && strings.HasPrefix(c.cur, "-"):
		c.offerFlags(before)
	case len(c.doc.subs) > 0:
		for _, s := range c.doc.subs {
			c.out.add(s.name(), s.usage)
		}
	default:
		c.offerValue(placeholderAt(c.doc.args, len(c.args)), "")
	}
}

// offerFlags offers the flags that are not there yet, or may be there again.
func (c *completer) offerFlags(before []string) {
	for _, f := range c.flags() {
		given := slices.ContainsFunc(before, func(word string) bool {
			name, _, _ := strings.Cut(word, "=")
			return isFlag(word) && slices.Contains(f.names, strings.TrimLeft(name, "-"))
		})
		if given && !f.again {
			continue
		}
		for _, n := range f.names {
			if len(n) > 1 {
				c.out.add("--"+n, f.usage)
			}
		}
	}
}

// placeholderAt is the placeholder of the n-th argument, such as AGENT, or "".
func placeholderAt(args string, n int) string {
	words := strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(args))
	if n < len(words) {
		return strings.TrimSuffix(words[n], "...")
	}
	if len(words) > 0 && strings.HasSuffix(words[len(words)-1], "...") {
		return strings.TrimSuffix(words[len(words)-1], "...")
	}
	return ""
}
