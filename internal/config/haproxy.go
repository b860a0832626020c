package config

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// haproxyParser reads HAProxy's syntax line by line.
type haproxyParser struct {
	*problems
	env func(string) (string, bool)

	raw      rawConfig
	line     int
	section  string     // the keyword of the section being read; "skipped" after a section that is not served
	global   bool       // the section being read is global
	proxy    *rawProxy  // the section being read, unless it is global
	base     *rawProxy  // the defaults from which it began
	defaults []rawProxy // the defaults sections read so far; the last one applies to a section that names none
}

// skipped stands for a section that was already reported: its lines are not read.
const skipped = "skipped"

// parseHAProxy reads a file in HAProxy's syntax into its raw form. It collects all errors.
func parseHAProxy(collect *problems, text []byte, env func(string) (string, bool)) rawConfig {
	p := &haproxyParser{problems: collect, env: env, defaults: []rawProxy{*haproxyFactory()}}
	p.raw = newRaw()
	p.raw.withoutMemory()
	for line := range bytes.Lines(text) {
		p.line++
		if !bytes.HasSuffix(line, []byte{'\n'}) {
			p.truncated(line)
			break
		}
		words, err := scanLine(strings.TrimSuffix(string(line), "\n"), p.lookUp)
		if err != nil {
			p.wrong(p.line, "syntax", "%v", err)
			p.unreadable(string(line))
			continue
		}
		if len(words) > maxWords {
			p.expected(p.line, "syntax", fmt.Sprintf("at most %d words on a line, as in HAProxy", maxWords), words[maxWords])
			words = words[:maxWords]
		}
		if len(words) > 0 {
			p.statement(words)
		}
	}
	p.endSection()
	return p.raw
}

// unreadable records the keyword of a line that could not be split into words, so that it is not reported as missing.
func (p *haproxyParser) unreadable(line string) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return
	}
	switch word := words[0]; {
	case slices.Contains(servedSections, word):
		p.endSection()
		p.section, p.global, p.raw.partial = skipped, false, true
	case p.proxy != nil:
		p.proxy.tried[word] = true
		p.proxy.rules.broken = p.proxy.rules.broken || word == "acl" || word == "tcp-request"
		p.proxy.delayWrong = p.proxy.delayWrong || word == "tcp-request"
		p.proxy.logWrong = p.proxy.logWrong || word == "log"
		p.proxy.sourceWrong = p.proxy.sourceWrong || word == "source"
	}
}

// maxWords is the number of words that HAProxy allows on a line.
const maxWords = 64

// truncated reports a last line without a newline. The line may be cut off, and lines after it may be missing, so errors in
// it and missing keywords in its section are not reported.
func (p *haproxyParser) truncated(line []byte) {
	const most = 30
	last := string(bytes.TrimSpace(line))
	if len(last) > most {
		last = "..." + last[len(last)-most:]
	}
	p.expected(p.line, "syntax", "a newline at the end of the last line, as in HAProxy: the file may have been truncated", last)
	p.unreadable(string(line))
	p.raw.partial = true
	if p.proxy != nil {
		p.proxy.partial, p.proxy.rules.broken = true, true
		p.proxy.delayWrong, p.proxy.logWrong, p.proxy.sourceWrong = true, true, true
	}
}

// lookUp finds a variable: HAProxy's own three first, then the environment.
func (p *haproxyParser) lookUp(name string) (string, bool) {
	switch name {
	case ".FILE":
		return p.file, true
	case ".LINE":
		return strconv.Itoa(p.line), true
	case ".SECTION":
		if p.proxy != nil && p.proxy.name != "" {
			return p.proxy.name, true
		}
		return p.section, true
	}
	return p.env(name)
}

// foreignSections lists HAProxy's sections that have nothing to do with SMTP.
var foreignSections = []string{
	"peers", "resolvers", "mailers", "userlist", "cache", "program", "http-errors", "ring", "log-forward",
	"fcgi-app", "crt-list", "crt-store", "traces",
}

var servedSections = []string{"global", "defaults", "frontend", "backend", "listen"}

// statement handles one line that is not empty.
func (p *haproxyParser) statement(words []string) {
	switch word := words[0]; {
	case strings.HasPrefix(word, "."):
		p.wrong(p.line, quoteOdd(word), "not served: hushgate knows no conditional blocks")
	case slices.Contains(servedSections, word), slices.Contains(foreignSections, word):
		p.endSection()
		p.beginSection(words)
	case p.section == skipped:
	case p.section == "":
		if meant := p.unknown(p.line, "", word, "section; a file begins with "+orList(servedSections), servedSections); meant != "" {
			p.beginSection(append([]string{meant}, words[1:]...))
			return
		}
		p.section = skipped
	default:
		p.keyword(words)
	}
}

func (p *haproxyParser) beginSection(words []string) {
	word := words[0]
	p.section, p.global, p.proxy = word, false, nil
	switch word {
	case "global":
		p.global = true
		p.most(words, 0)
	case "defaults":
		p.beginProxy(inDefaults, words)
	case "frontend":
		p.beginProxy(inFrontend, words)
	case "listen":
		p.beginProxy(inListen, words)
	case "backend":
		p.beginProxy(inBackend, words)
	default:
		p.wrong(p.line, word, "the section is not served; hushgate serves %s", orList(servedSections))
		p.section = skipped
	}
}

// beginProxy handles `KIND NAME [from DEFAULTS]`; the name of defaults is optional.
func (p *haproxyParser) beginProxy(kind section, words []string) {
	args := words[1:]
	name := ""
	if len(args) > 0 && (args[0] != "from" || kind != inDefaults) {
		name, args = args[0], args[1:]
	}
	if name != "" || kind != inDefaults {
		if err := checkName(name); err != nil {
			p.add(Error{Line: p.line, Keyword: words[0], Expected: "a name", Found: quote(name), Reason: err.Error()})
		}
	}
	base := &p.defaults[len(p.defaults)-1]
	if kind == inDefaults {
		base = &p.defaults[0]
	}
	binds := p.oldBinds(kind, args)
	switch {
	case len(args) == 2 && args[0] == "from":
		base = p.findDefaults(args[1], base)
	case len(binds) > 0:
		found := strings.Join(args, " ")
		p.expected(p.line, words[0], "`bind "+found+"` on a line of its own", found)
	case len(args) > 0:
		p.expected(p.line, words[0], "the section's name and `from DEFAULTS`", strings.Join(args, " "))
	}
	p.checkInherits(kind, words[0], base)
	p.base, p.proxy = base, base.begin(kind, name, p.line)
	if len(binds) > 0 {
		p.proxy.tried["bind"], p.proxy.binds = true, append(p.proxy.binds, binds...)
	}
}

// oldBinds reads addresses with ports after a section's name, as old versions of HAProxy allowed. It returns none if the
// words are something else.
func (p *haproxyParser) oldBinds(kind section, args []string) (list []rawBind) {
	if kind&(inFrontend|inListen) == 0 || len(args) == 0 {
		return nil
	}
	for _, address := range strings.Split(args[0], ",") {
		binds, err := parseBind(address)
		if err != nil {
			return nil
		}
		for _, b := range binds {
			list = append(list, rawBind{b, p.line, address})
		}
	}
	return list
}

// checkInherits reports a section other than a frontend that inherits from a defaults section with rules.
func (p *haproxyParser) checkInherits(kind section, keyword string, base *rawProxy) {
	if len(base.rules.rules)+len(base.rules.admission) > 0 && kind != inFrontend {
		p.wrong(p.line, keyword, "the defaults section on line %d has tcp-request rules, and only a frontend may use such a "+
			"section, as in HAProxy: give the others a defaults section without rules", base.line)
	}
}

func (p *haproxyParser) findDefaults(name string, otherwise *rawProxy) *rawProxy {
	var known []string
	var found *rawProxy
	for i := len(p.defaults) - 1; i > 0; i-- {
		switch {
		case p.defaults[i].name != name:
			known = append(known, p.defaults[i].name)
		case found == nil:
			found = &p.defaults[i]
		default:
			p.wrong(p.line, "from", "lines %d and %d both begin a defaults section called %s", p.defaults[i].line, found.line, quote(name))
		}
	}
	if found != nil {
		return found
	}
	p.add(Error{
		Line: p.line, Keyword: "from", Expected: "the name of a defaults section before this line",
		Found: quote(name), Suggestion: nearest(name, known),
	})
	return otherwise
}

// endSection stores the section that was read.
func (p *haproxyParser) endSection() {
	switch {
	case p.proxy == nil:
	case p.proxy.kind == inDefaults:
		p.defaults = append(p.defaults, *p.proxy)
	default:
		p.raw.proxies = append(p.raw.proxies, p.proxy)
	}
	p.proxy = nil
}

// keyword handles a line of a section: it finds the keyword in the tables and runs its handler.
func (p *haproxyParser) keyword(words []string) {
	negated := false
	if words[0] == "no" && len(words) > 1 {
		negated, words = true, words[1:]
	}
	name := words[0]
	if p.global {
		p.globalKeyword(name, words, negated)
		return
	}
	table := proxySettings
	if findWord(table, name) == nil {
		meant := p.unserved(name, words)
		switch {
		case slices.Contains(servedSections, meant): // it was probably meant to begin another section
			p.endSection()
			p.beginSection(append([]string{meant}, words[1:]...))
			return
		case meant == "":
			return
		}
		name = meant
	}
	k := findWord(table, name)
	p.proxy.tried[name] = true
	switch {
	case negated && !k.canNegate:
		p.wrong(p.line, name, "cannot be negated with no")
	case p.proxy.kind&k.in == 0 && k.notServed && p.proxy.kind == inBackend:
		p.wrong(p.line, name, "not served in a backend section: clients are judged by their frontend's rules")
	case p.proxy.kind&k.in == 0 && k.structural:
		p.wrong(p.line, name, "not allowed in a %s section", p.section)
	case p.proxy.kind&k.in == 0:
		p.note(p.line, "%s has no effect in a %s section, as in HAProxy", name, p.section)
	case !k.anonymousToo && p.proxy.kind == inDefaults && p.proxy.name == "":
		p.wrong(p.line, name, "not allowed in a defaults section without a name, as in HAProxy")
	case len(words)-1 < k.least:
		p.expected(p.line, name, k.want, strings.Join(words[1:], " "))
	default:
		p.setProxy(k, words[1:], negated)
	}
}

func (p *haproxyParser) setProxy(s *setting[rawProxy], args []string, negated bool) {
	if s.line(p, p.proxy, s.word, args, negated) {
		p.proxy.lines[s.word] = p.line
	}
}

// unserved reports a keyword of a proxy's section that has no handler; with a note if ignoring it does no harm. It returns
// the keyword of this section, or the one that begins another section, that was probably meant.
func (p *haproxyParser) unserved(name string, words []string) (meant string) {
	if why, ok := ignoredProxyKeywords[name]; ok {
		p.note(p.line, "%s is ignored: %s", name, why)
		return ""
	}
	if isHTTP(name) || name == "stats" {
		if p.proxy.kind == inDefaults {
			p.note(p.line, "%s is ignored: %s", name, aboutHTTP)
			return ""
		}
		p.wrong(p.line, name, "not served: hushgate forwards SMTP in mode tcp")
		return ""
	}
	if why, ok := refusedProxyKeywords[name]; ok {
		p.wrong(p.line, name, "not served: %s", why)
		return ""
	}
	known := slices.Concat(wordsAfter(proxySettings, ""), servedSections)
	return p.unknown(p.line, "", words[0], "keyword in a "+p.section+" section", known)
}

// most reports arguments beyond the number that a keyword takes.
func (p *haproxyParser) most(words []string, n int) bool {
	if len(words)-1 <= n {
		return true
	}
	p.expected(p.line, words[0], "nothing more on the line", strings.Join(words[n+1:], " "))
	return false
}
