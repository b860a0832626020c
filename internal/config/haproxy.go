package config

import (
	"bytes"
	"maps"
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
	section  string     // the keyword of the section being read; "skipped" after one that is not served
	global   bool       // in the section called global
	proxy    *rawProxy  // the section being read, unless it is global
	defaults []rawProxy // those seen so far; the last one applies to a section that names none
}

// skipped is the section of lines that belong to a section already reported.
const skipped = "skipped"

// parseHAProxy reads a file in HAProxy's syntax into its raw form. What is wrong is collected.
func parseHAProxy(collect *problems, text []byte, env func(string) (string, bool)) rawConfig {
	p := &haproxyParser{problems: collect, env: env, defaults: []rawProxy{*factory()}}
	p.raw.global.firewall.Manage = true
	for line := range bytes.Lines(text) {
		p.line++
		words, err := scanLine(strings.TrimRight(string(line), "\r\n"), p.lookUp)
		if err != nil {
			p.wrong(p.line, "syntax", "%v", err)
			continue
		}
		if len(words) > 0 {
			p.statement(words)
		}
	}
	p.endSection()
	return p.raw
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

// foreignSections are those of HAProxy that say nothing about SMTP.
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
		p.unknown(p.line, "", word, "section; a file begins with "+orList(servedSections), servedSections)
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
	switch {
	case len(args) == 2 && args[0] == "from":
		base = p.findDefaults(args[1], base)
	case len(args) > 0:
		p.expected(p.line, words[0], "the section's name and `from DEFAULTS`", strings.Join(args, " "))
	}
	p.proxy = base.begin(kind, name, p.line)
}

func (p *haproxyParser) findDefaults(name string, otherwise *rawProxy) *rawProxy {
	var known []string
	for i := len(p.defaults) - 1; i > 0; i-- {
		if p.defaults[i].name == name {
			return &p.defaults[i]
		}
		known = append(known, p.defaults[i].name)
	}
	p.add(Error{
		Line: p.line, Keyword: "from", Expected: "the name of a defaults section before this line",
		Found: quote(name), Suggestion: nearest(name, known),
	})
	return otherwise
}

// endSection puts away the section that was read.
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
	p.proxy.tried[name] = true
	k, ok := proxyKeywords[name]
	switch {
	case !ok:
		p.unserved(name, words)
	case negated && !k.canNegate:
		p.wrong(p.line, name, "cannot be negated with no")
	case p.proxy.kind&k.in == 0 && k.structural:
		p.wrong(p.line, name, "not allowed in a %s section", p.section)
	case p.proxy.kind&k.in == 0:
		p.note(p.line, "%s has no effect in a %s section, as in HAProxy", name, p.section)
	case k.anonymousToo || p.proxy.kind != inDefaults || p.proxy.name != "":
		if len(words)-1 < k.least {
			p.add(Error{Line: p.line, Keyword: name, Expected: k.want, Found: "nothing"})
			return
		}
		k.run(p, words[1:], negated)
	default:
		p.wrong(p.line, name, "not allowed in a defaults section without a name, as in HAProxy")
	}
}

// unserved reports a keyword of a proxy's section that has no handler: with a note when nothing is lost by it.
func (p *haproxyParser) unserved(name string, words []string) {
	if why, ok := ignoredProxyKeywords[name]; ok {
		p.note(p.line, "%s is ignored: %s", name, why)
		return
	}
	if isHTTP(name) || name == "stats" {
		if p.proxy.kind == inDefaults {
			p.note(p.line, "%s is ignored: %s", name, aboutHTTP)
			return
		}
		p.wrong(p.line, name, "not served: hushgate forwards SMTP in mode tcp")
		return
	}
	if why, ok := refusedProxyKeywords[name]; ok {
		p.wrong(p.line, name, "not served: %s", why)
		return
	}
	p.unknown(p.line, "", words[0], "keyword in a "+p.section+" section", slices.Sorted(maps.Keys(proxyKeywords)))
}

// most reports arguments beyond the number that a keyword takes.
func (p *haproxyParser) most(words []string, n int) bool {
	if len(words)-1 <= n {
		return true
	}
	p.expected(p.line, words[0], "nothing more on the line", strings.Join(words[n+1:], " "))
	return false
}
