package config

import (
	"math"
	"strings"
	"time"
)

// The handlers of a proxy section's lines. Each gets the words after its keyword.

func (p *haproxyParser) mode(args []string, _ bool) {
	switch args[0] {
	case "tcp", "http": // http is an error only where it takes effect, which is not in defaults: see resolve
		p.proxy.mode = at[string]{args[0], p.line}
	default:
		p.add(Error{
			Line: p.line, Keyword: "mode", Expected: "tcp", Found: quote(args[0]),
			Suggestion: nearest(args[0], []string{"tcp"}),
		})
		p.proxy.mode = at[string]{"tcp", p.line} // replaces the mode of defaults, which would be reported as another error
	}
	p.atMost("mode", args, 1)
}

// atMost reports arguments beyond n.
func (p *haproxyParser) atMost(name string, args []string, n int) {
	if len(args) > n {
		p.expected(p.line, name, "nothing more on the line", strings.Join(args[n:], " "))
	}
}

func (p *haproxyParser) log(args []string, negated bool) {
	switch {
	case negated && len(args) == 0:
		p.proxy.logs, p.proxy.logGlobal = nil, at[bool]{false, p.line}
	case negated:
		p.expected(p.line, "no log", "nothing after it", strings.Join(args, " "))
	case len(args) == 0:
		p.proxy.logWrong = true
		p.expected(p.line, "log", "global, or a target and a facility", "")
	case args[0] == "global":
		p.proxy.logGlobal = at[bool]{true, p.line}
		p.atMost("log", args, 1)
	default:
		t, ok := p.parseLog(p.line, args)
		if p.proxy.logWrong = p.proxy.logWrong || !ok; ok {
			p.proxy.logs = append(p.proxy.logs, t)
		}
	}
}

func (p *haproxyParser) globalLog(g *rawGlobal, _ string, args []string, _ bool) bool {
	if len(args) == 0 {
		p.expected(p.line, "log", "a target and a facility", "")
		return false
	}
	if t, ok := p.parseLog(p.line, args); ok {
		g.Logs, g.logsSet = append(g.Logs, t), true
	}
	g.logLine = p.line
	return true
}

// globalMaxConn keeps the first number, as HAProxy does. 0 means that none was set.
func (p *haproxyParser) globalMaxConn(g *rawGlobal, name string, args []string, _ bool) bool {
	n, _ := p.number(name, args, 0, math.MaxInt32)
	if first := g.lines[name]; first > 0 {
		p.warn(p.line, "maxconn %d is ignored, as in HAProxy: line %d has set it to %d", n, first, g.MaxConn)
		return false
	}
	if n > 0 {
		g.MaxConn = n
	}
	return n > 0
}

// number reads the one argument of a keyword.
func (p *haproxyParser) number(name string, args []string, least, most int) (n int, ok bool) {
	p.atMost(name, args, 1)
	n, err := parseInt(argument(args), least, most)
	if err != nil {
		p.expected(p.line, name, wantInt(least, most), argument(args))
	}
	return n, err == nil
}

func (p *haproxyParser) disabled(args []string, _ bool) {
	p.atMost("disabled", args, 0)
	p.proxy.disabled = true
}

func (p *haproxyParser) enabled(args []string, _ bool) {
	p.atMost("enabled", args, 0)
	p.proxy.disabled = false
}

func (p *haproxyParser) balance(args []string, _ bool) {
	p.setBalance(p.line, args[0])
	p.atMost("balance", args, 1)
}

// setBalance accepts the only algorithm that hushgate has.
func (p *problems) setBalance(line int, word string) {
	if word != "roundrobin" && word != "static-rr" {
		p.add(Error{
			Line: line, Keyword: "balance", Expected: "roundrobin", Found: quote(word),
			Suggestion: nearest(word, []string{"roundrobin", "static-rr"}),
		})
	}
}

func (p *haproxyParser) defaultBackend(args []string, _ bool) {
	if !p.proxy.useBackend {
		p.proxy.backend = at[string]{args[0], p.line}
	}
	p.atMost("default_backend", args, 1)
}

// useBackend accepts a use_backend rule without a condition, which is the same as default_backend. The first one wins.
func (p *haproxyParser) useBackend(args []string, _ bool) {
	if len(args) > 1 {
		p.wrong(p.line, "use_backend", "conditions are not served: each frontend has one backend")
		return
	}
	p.note(p.line, "use_backend without a condition takes every connection: it is read as default_backend")
	if !p.proxy.useBackend {
		p.proxy.backend, p.proxy.useBackend = at[string]{args[0], p.line}, true
	}
}

// ignoredTimeouts maps a timeout to the reason for which it is ignored.
var ignoredTimeouts = map[string]string{
	"http-request":    aboutHTTP,
	"http-keep-alive": aboutHTTP,
	"tarpit":          aboutHTTP,
}

func (p *haproxyParser) timeout(args []string, _ bool) {
	which, table := args[0], proxySettings
	s := findWord(table, "timeout", which)
	why, ignored := ignoredTimeouts[which]
	if s == nil && !ignored {
		known := wordsAfter(table, "timeout")
		meant := nearest(which, known)
		p.add(Error{Line: p.line, Keyword: "timeout", Expected: orList(known), Found: quote(which), Suggestion: meant})
		s = findWord(table, "timeout", meant)
	}
	name := "timeout " + which
	_, err := parseTime(args[1], time.Millisecond)
	switch {
	case err != nil:
		p.badTime(p.line, name, args[1], err)
	case ignored:
		p.note(p.line, "%s is ignored: %s", name, why)
	case s == nil: // not known, which was already reported
	case p.proxy.kind&s.in == 0:
		p.note(p.line, "%s has no effect in a %s section, as in HAProxy", name, p.section)
	default:
		p.setProxy(s, args[1:2], false)
	}
	p.atMost(name, args, 2)
}

// warnRepeated warns, where HAProxy does, of a setting that replaces an earlier one of the same section. A value that comes
// from a defaults section may be replaced without a warning.
func (p *haproxyParser) warnRepeated(name string, now, begun time.Duration) {
	if p.proxy.kind != inDefaults && now != begun {
		p.warn(p.line, "%s replaces %s on line %d, as in HAProxy", name, formatTime(now), p.proxy.lines[name])
	}
}
