package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of the delay beyond which some clients give up.
const (
	// greetingLimit is the time for which a client must at least wait for the greeting (RFC 5321 section 4.5.3.2.1).
	greetingLimit = 5 * time.Minute
	// impatientLimit leaves senders that wait 30 s in all some seconds for the server's own greeting.
	impatientLimit = 25 * time.Second
)

// warnGlobal warns of settings of the process.
func (r *resolver) warnGlobal() {
	if g := &r.raw.global; g.Announce && g.Fail == FailOpen {
		r.warn(g.lines["announce"], "announce: while hushgate does not run, ARP requests for the service addresses are not answered, so "+
			"fail: open works only for addresses that are on an interface or routed here")
	}
}

// warnFrontend warns of settings that are allowed but seldom meant.
func (r *resolver) warnFrontend(f *rawProxy, out Frontend) {
	if f.unfit {
		return
	}
	for _, bind := range f.binds {
		r.warnPort(bind)
		if bind.Addr.IsLoopback() {
			r.warn(bind.line, "bind %s: no client on another machine can reach a loopback address", quoteOdd(bind.text))
		}
	}
	r.warnDelay(f, out)
	if t := f.timeout("client", f.front.ClientTimeout); t.set() && out.ClientTimeout == t.value {
		r.warnTimeout("client", t)
		if t.value > 0 && t.value < out.Delay && !slices.Contains(r.bare, t.line) {
			r.warn(t.line, "timeout client %s is shorter than the delay of %s: HAProxy would close every connection "+
				"before the delay is over; here the timeout counts from the banner on", formatTime(t.value), formatTime(out.Delay))
		}
	}
	if f.lines.set("maxconn") {
		r.note(f.lines["maxconn"], "maxconn has no effect outside the global section: hushgate has one limit for the whole process")
	}
	if len(out.Log) == 0 && !f.logWrong {
		r.note(f.line, "%s has no log: no line is written for its connections", f.title())
	}
}

func (r *resolver) warnDelay(f *rawProxy, out Frontend) {
	line := f.delay.line
	switch d := out.Delay; {
	case line == 0 && f.delayWrong:
	case line == 0:
		r.warn(f.line, "%s has no inspect-delay: no client is held, and only clients that talk before the server's banner count as early talkers",
			f.title())
	case d == 0:
		r.warn(line, "inspect-delay is zero: no client is held, and only clients that talk before the server's banner count as early talkers")
	case d < time.Second && isBare(f.delayText):
		r.warn(line, "inspect-delay %s: a number without a unit is milliseconds, and in %s hardly any early talker is caught; write "+
			"%ss for seconds", f.delayText, formatTime(d), f.delayText)
	case d < time.Second:
		r.warn(line, "inspect-delay %s is below a second: hardly any early talker is caught", formatTime(d))
	case d > greetingLimit:
		r.warn(line, "inspect-delay %s is longer than the 5 minutes that clients wait for a greeting "+
			"(RFC 5321 section 4.5.3.2.1): good clients give up before its end", formatTime(d))
	case d >= impatientLimit:
		r.warn(line, "inspect-delay %s, with the server's own greeting after it: senders that give up after 30s "+
			"(nodemailer, Exim's callout verification) may get no mail through", formatTime(d))
	}
}

// isBare reports whether a time is a number without a unit.
func isBare(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

// warnBare warns of a time below a second whose unit was probably forgotten: HAProxy counts it in milliseconds.
func (p *problems) warnBare(line int, keyword, text string) {
	n, err := strconv.Atoi(text)
	if err == nil && isBare(text) && n > 0 && n < 1000 {
		p.bare = append(p.bare, line)
		p.warn(line, "%s %d: a number without a unit is milliseconds; write %dms if that is meant, %ds for seconds", keyword, n, n, n)
	}
}

// timeout returns the value of a timeout with its line.
func (p *rawProxy) timeout(which string, value time.Duration) at[time.Duration] {
	return at[time.Duration]{value, p.lines["timeout "+which]}
}

func (r *resolver) warnTimeout(which string, t at[time.Duration]) {
	if t.value > 0 && t.value < timeoutAtLeast && !slices.Contains(r.bare, t.line) {
		r.warn(t.line, "timeout %s %s is short: client and server may be silent for 5 minutes and more "+
			"(RFC 5321 section 4.5.3.2), and mail that is cut off there is sent again", which, formatTime(t.value))
	}
}

func (r *resolver) warnBackend(b *rawProxy, out Backend) {
	checked, usable := 0, 0
	where := map[netip.AddrPort]string{}
	for i, s := range out.Servers {
		if s.Check || b.servers[i].broken {
			checked++
		} else if !s.Disabled {
			r.warn(s.Line, "server %s has no check: clients are sent to it even while it is down", s.Name)
		}
		if s.Weight > 0 && !s.Disabled || b.servers[i].broken {
			usable++
		}
		if !s.Addr.IsValid() || s.Port == 0 { // which is reported elsewhere
			continue
		}
		ap := netip.AddrPortFrom(s.Addr, s.Port)
		if first, again := where[ap]; again {
			r.warn(s.Line, "server %s is at %s like %s: one server has two names", s.Name, ap, first)
		}
		where[ap] = s.Name
	}
	if checked == 0 && b.lines.set("check") && len(out.Servers) > 0 {
		r.warn(b.lines["check"], "no server of backend %s has check, so none is checked", b.name)
	}
	if usable == 0 && len(out.Servers) > 0 {
		r.warn(b.line, "backend %s has no server that takes connections: all are disabled or of weight 0", b.name)
	}
	if t := b.timeout("server", b.back.ServerTimeout); t.set() && out.ServerTimeout == t.value {
		r.warnTimeout("server", t)
	}
	if t := b.timeout("tunnel", b.tunnel); t.set() {
		r.warnTimeout("tunnel", t)
	}
	if len(b.users) == 0 && !r.lost {
		r.note(b.line, "backend %s is used by no frontend", b.name)
	}
}
