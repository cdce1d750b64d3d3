package runloop

import (
	"fmt"
	"slices"
	"strings"
)

// manDate is when the texts of the man pages were last gone over.
const manDate = "2026-11-26"

// manWidth is how long lines of a page's source are, in characters; mandoc(1)
// complains from 80 on.
const manWidth = 72

// manPage is a page of the manual in the language of man(7).
type manPage struct {
	name    string
	section int
	volume  string
	b       strings.Builder
	last    string // request
}

// manPages are those that are made of the command trees.
func manPages(o *IO) []*manPage {
	return []*manPage{
		appletPage(docOfApp(newCLI(o)), 1, "runloopd(8), agtop(1), runloop-opening(5)"),
		appletPage(docOfApp(newDaemon(o)), 8, "rlp(1), agtop(1), systemd(1)"),
		appletPage(docOfApp(newAgtop(o)), 1, "rlp(1), runloopd(8)"),
	}
}

// file is what the page is called.
func (p *manPage) file() string { return fmt.Sprintf("%s.%d", p.name, p.section) }

// appletPage is the page of an applet with all its commands.
func appletPage(d *commandDoc, section int, seeAlso string) *manPage {
	p := &manPage{name: d.path, section: section, volume: "User Commands"}
	if section == 8 {
		p.volume = "System Administration"
	}
	p.head(d.usage)
	p.request("SH", "SYNOPSIS")
	p.synopsis(d)
	p.request("SH", "DESCRIPTION")
	if d.about != "" {
		p.prose(d.about)
	} else {
		p.text(manProse(strings.ToUpper(d.usage[:1])+d.usage[1:]) + ".")
	}
	if len(d.flags) > 0 {
		p.request("SH", "OPTIONS")
		p.flags(d.flags)
	}
	if len(d.subs) > 0 {
		p.request("SH", "COMMANDS")
		p.commands(d)
	}
	p.topics()
	p.request("SH", "FILES")
	p.list(manFiles)
	if len(d.examples) > 0 {
		p.request("SH", "EXAMPLES")
		p.example(d.examples)
	}
	p.request("SH", "SEE ALSO")
	p.references(seeAlso)
	return p
}

// manFiles are those that a person may want to look at.
var manFiles = [][2]string{
	{"/etc/runloop/config.yaml", "configuration of the machine; its policy binds everybody"},
	{"~/.runloop/config.yaml", "configuration of the user (rlp config init)"},
	{"~/.runloop/pog/", "the ledger, and what is made of it"},
	{"~/.runloop/sock/rmp.sock", "the daemon's socket"},
	{"~/.runloop/agents/, ~/.runloop/openings/", "agents that were installed, openings of the user"},
}

func (p *manPage) head(usage string) {
	fmt.Fprintf(&p.b, ".\\\" Made of the command tree by make generate: a change here is lost.\n")
	p.request("TH", strings.ToUpper(p.name), fmt.Sprint(p.section), manDate, "Runloop", p.volume)
	p.request("SH", "NAME")
	p.text(p.name + ` \- ` + manProse(usage))
}

// request writes a request with its arguments.
func (p *manPage) request(name string, args ...string) {
	if name == "PP" && (p.last == "SH" || p.last == "SS" || p.last == "PP") {
		return // they begin a paragraph
	}
	p.last = name
	p.b.WriteString("." + name)
	for _, a := range args {
		if strings.ContainsAny(a, " \t") || a == "" {
			a = `"` + strings.ReplaceAll(a, `"`, `\(dq`) + `"`
		}
		p.b.WriteString(" " + a)
	}
	p.b.WriteByte('\n')
}

// text writes escaped text, filled.
func (p *manPage) text(escaped string) {
	p.last = ""
	for line := range strings.SplitSeq(wrap(escaped, manWidth), "\n") {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line
		}
		p.b.WriteString(line + "\n")
	}
}

// prose writes paragraphs. Lines that begin with a space stay as they are.
func (p *manPage) prose(text string) {
	var words []string
	first := true
	flush := func() {
		if len(words) > 0 {
			if !first {
				p.request("PP")
			}
			p.text(manProse(strings.Join(words, " ")))
			words, first = nil, false
		}
	}
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case line == "":
			flush()
		case strings.HasPrefix(line, " "):
			flush()
			p.example([]string{strings.TrimSpace(line)})
		default:
			words = append(words, line)
		}
	}
	flush()
}

func (p *manPage) synopsis(d *commandDoc) {
	p.request("B", manText(d.path))
	rest := ""
	if len(d.flags) > 0 {
		rest += "[flags] "
	}
	if d.args != "" {
		rest += d.args
	}
	if len(d.subs) > 0 {
		rest += " [arguments]"
	}
	p.text(manText(strings.TrimSpace(rest)))
}

// commands writes a part for each command that does something.
func (p *manPage) commands(d *commandDoc) {
	for _, s := range d.subs {
		if len(s.subs) > 0 {
			p.commands(s)
			continue
		}
		p.request("SS", manText(s.synopsis()))
		p.text(manProse(strings.ToUpper(s.usage[:1])+s.usage[1:]) + ".")
		if s.about != "" {
			p.request("PP")
			p.prose(s.about)
		}
		p.flags(s.flags)
		p.example(s.examples)
	}
}

func (p *manPage) flags(flags []flagDoc) { p.list(flagRows(flags)) }

// list writes names and what they mean.
func (p *manPage) list(rows [][2]string) {
	for _, r := range rows {
		p.request("TP")
		p.request("B", manText(r[0]))
		p.text(manProse(r[1]))
	}
}

func (p *manPage) example(lines []string) {
	p.request("PP")
	p.request("RS", "4")
	p.request("EX")
	for _, l := range lines {
		l = manText(l)
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			l = `\&` + l
		}
		p.b.WriteString(l + "\n")
	}
	p.request("EE")
	p.request("RE")
}

// topics writes what rlp help explains beside commands.
func (p *manPage) topics() {
	names := map[string]string{
		"prompt": "PROMPTS", "exit-codes": "EXIT STATUS", "flags": "COMMON FLAGS", "environment": "ENVIRONMENT", "output": "OUTPUT",
	}
	for _, t := range topics() {
		if t.name == "exit-codes" && p.name != "rlp" {
			t.rows = slices.DeleteFunc(slices.Clone(t.rows), func(r [2]string) bool { return strings.HasPrefix(r[1], "rlp route") })
		}
		if t.name == "prompt" && p.name != "rlp" {
			continue
		}
		p.request("SH", names[t.name])
		p.list(t.rows)
		if t.about != "" {
			if len(t.rows) > 0 {
				p.request("PP")
			}
			p.prose(t.about)
		}
	}
}

// references writes "rlp(1), agtop(1)".
func (p *manPage) references(list string) {
	all := strings.Split(list, ", ")
	for i, ref := range all {
		name, section, _ := strings.Cut(ref, "(")
		end := "(" + section
		if i < len(all)-1 {
			end += ","
		}
		p.request("BR", manText(name), end)
	}
}

// manProse escapes text in which hyphens are hyphens, but for those of flags.
func manProse(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		escaped := manText(w)
		if !strings.HasPrefix(strings.TrimLeft(w, `("`), "-") {
			escaped = strings.ReplaceAll(escaped, `\-`, "-")
		}
		words[i] = escaped
	}
	return strings.Join(words, " ")
}

// manText escapes text for man(7): what is typed must come out as it is typed.
func manText(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case r == '\'':
			b.WriteString(`\(aq`)
		case r == '`':
			b.WriteString("\\(ga")
		case r == '^':
			b.WriteString(`\(ha`)
		case r == '~':
			b.WriteString(`\(ti`)
		case r > 0x7e:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
