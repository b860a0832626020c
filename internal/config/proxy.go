package config

import (
	"maps"
	"math"
	"slices"
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
		p.proxy.mode = at[string]{"tcp", p.line} // not that of defaults, which would be an error of its own
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

func (p *haproxyParser) globalLog(words []string) {
	switch {
	case len(words) < 2:
		p.expected(p.line, "log", "a target and a facility", "")
	default:
		if t, ok := p.parseLog(p.line, words[1:]); ok {
			p.raw.global.logs, p.raw.global.logsSet = append(p.raw.global.logs, t), true
		}
		p.raw.global.logLine = p.line
	}
}

// maxShards bounds nbthread: PACKET_FANOUT takes so many sockets, and HAProxy so many threads.
const maxShards = 64

func (p *haproxyParser) nbthread(words []string) {
	p.raw.global.shards = p.number(words[0], words[1:], 1, maxShards)
}

func (p *haproxyParser) hardStopAfter(words []string) {
	word := ""
	if len(words) > 1 {
		word = words[1]
	}
	p.atMost(words[0], words[1:], 1)
	d, err := parseTime(word, time.Millisecond)
	if err != nil {
		p.badTime(p.line, words[0], word, err)
		return
	}
	p.warnBare(p.line, words[0], word)
	if d == 0 { // for ever, in HAProxy
		p.note(p.line, "%s 0: no limit; here that is the longest time there is, %s", words[0], formatTime(maxTime))
		d = maxTime
	}
	p.raw.global.hardStop = at[time.Duration]{d, p.line}
}

// globalMaxConn keeps the first number, as HAProxy does; 0 is none.
func (p *haproxyParser) globalMaxConn(words []string) {
	n := p.number(words[0], words[1:], 0, math.MaxInt32)
	switch first := p.raw.global.maxConn; {
	case first.set():
		p.warn(n.line, "maxconn %d is ignored, as in HAProxy: line %d has set it to %d", n.value, first.line, first.value)
	case n.value > 0:
		p.raw.global.maxConn = n
	}
}

// number reads the one argument of a keyword.
func (p *haproxyParser) number(name string, args []string, least, most int) at[int] {
	p.atMost(name, args, 1)
	word := ""
	if len(args) > 0 {
		word = args[0]
	}
	n, err := parseInt(word, least, most)
	if err != nil {
		p.expected(p.line, name, wantInt(least, most), word)
	}
	return at[int]{n, p.line}
}

func (p *haproxyParser) maxConn(args []string, _ bool) {
	p.proxy.maxConn = p.number("maxconn", args, 0, math.MaxInt32)
}

func (p *haproxyParser) retries(args []string, _ bool) {
	p.proxy.retries = p.number("retries", args, 0, maxRetries)
}

// maxRetries is what a flow record can count.
const maxRetries = 255

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

// setBalance accepts what hushgate does.
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

// useBackend serves the rule without a condition, which is the same as default_backend. The first one wins.
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

// servedTimeouts and the sections in which each has a meaning.
var servedTimeouts = map[string]section{
	"client": frontendSide, "server": backendSide, "connect": backendSide, "check": backendSide, "queue": backendSide,
	"tunnel": backendSide, "client-fin": frontendSide, "server-fin": backendSide,
}

// ignoredTimeouts and why.
var ignoredTimeouts = map[string]string{
	"http-request":    aboutHTTP,
	"http-keep-alive": aboutHTTP,
	"tarpit":          aboutHTTP,
}

func (p *haproxyParser) timeout(args []string, _ bool) {
	which := args[0]
	in, served := servedTimeouts[which]
	why, ignored := ignoredTimeouts[which]
	if !served && !ignored {
		known := slices.Sorted(maps.Keys(servedTimeouts))
		meant := nearest(which, known)
		p.add(Error{Line: p.line, Keyword: "timeout", Expected: orList(known), Found: quote(which), Suggestion: meant})
		which, in, ignored = meant, servedTimeouts[meant], meant == ""
	}
	name := "timeout " + args[0]
	d, err := parseTime(args[1], time.Millisecond)
	switch {
	case err != nil:
		p.badTime(p.line, name, args[1], err)
	case ignored && why != "":
		p.note(p.line, "%s is ignored: %s", name, why)
	case ignored: // not known, which was reported
	case p.proxy.kind&in == 0:
		p.note(p.line, "%s has no effect in a %s section, as in HAProxy", name, p.section)
	default:
		p.setTimeout(which, args[1], d)
	}
	p.atMost(name, args, 2)
}

// setTimeout lets the last one of a section win, and warns where HAProxy does: where the value is neither the one that the
// section began with nor in a section of defaults.
func (p *haproxyParser) setTimeout(which, text string, d time.Duration) {
	before := p.proxy.timeouts[which]
	if p.proxy.kind != inDefaults && before.value != p.base.timeouts[which].value {
		p.warn(p.line, "timeout %s takes the place of %s on line %d, as in HAProxy", which, formatTime(before.value), before.line)
	}
	p.warnBare(p.line, "timeout "+which, text)
	p.proxy.timeouts[which] = at[time.Duration]{d, p.line}
}
