package config

import (
	"maps"
	"slices"
	"strings"
)

// ignoredOptions maps an option to the reason for which it is ignored.
var ignoredOptions = map[string]string{
	"tcpka": aboutSockets, "clitcpka": aboutSockets, "srvtcpka": aboutSockets, "tcp-smart-accept": aboutSockets,
	"tcp-smart-connect": aboutSockets, "splice-auto": aboutSockets, "splice-request": aboutSockets,
	"splice-response": aboutSockets, "nolinger": aboutSockets, "independent-streams": aboutSockets,
	"idle-close-on-response": aboutSockets, "abortonclose": alwaysSo, "log-health-checks": alwaysSo,
	"contstats": alwaysSo, "socket-stats": alwaysSo, "persist": "hushgate does not tie clients to servers",
	"prefer-last-server": "hushgate does not tie clients to servers",
}

// httpOptions are ignored in a defaults section and refused elsewhere, because they need mode http.
var httpOptions = []string{
	"accept-invalid-http-request", "accept-invalid-http-response", "checkcache", "disable-h2-upgrade", "forwardfor",
	"forceclose", "h1-case-adjust-bogus-client", "h1-case-adjust-bogus-server", "http-buffer-request",
	"http-ignore-probes", "http-keep-alive", "http-no-delay", "http-pretend-keepalive", "http-restrict-req-hdr-names",
	"http-server-close", "http-tunnel", "http-use-htx", "http-use-proxy-header", "httpclose", "httpslog", "originalto",
}

var refusedOptions = map[string]string{
	"allbackups":          "backups are used one at a time",
	"dontlog-normal":      "each connection has its line",
	"external-check":      "use `option smtpchk`",
	"httpchk":             "use `option smtpchk`",
	"ldap-check":          "use `option smtpchk`",
	"log-separate-errors": "the outcome of a connection does not change a line's level",
	"logasap":             "a line is written when its connection ends",
	"mysql-check":         "use `option smtpchk`",
	"pgsql-check":         "use `option smtpchk`",
	"redis-check":         "use `option smtpchk`",
	"spop-check":          "use `option smtpchk`",
	"ssl-hello-chk":       "use `option smtpchk`",
	"transparent":         "name the servers with server",
}

func (p *haproxyParser) option(args []string, negated bool) {
	name := args[0]
	table := proxySettings
	if findWord(table, "option", name) == nil && !knownOption(name) {
		known := slices.Concat(wordsAfter(table, "option"), slices.Sorted(maps.Keys(ignoredOptions)))
		if name = p.unknown(p.line, "option", name, "option", known); name == "" {
			return
		}
	}
	o := findWord(table, "option", name)
	switch served := o != nil; {
	case served && negated && !o.canNegate:
		p.wrong(p.line, "option "+name, "cannot be negated with no")
	case served && p.proxy.kind&o.in == 0:
		p.note(p.line, "option %s has no effect in a %s section, as in HAProxy", name, p.section)
	case served:
		p.atMost("option "+name, args[1:], o.most)
		p.setProxy(o, args[1:], negated)
	case negated && refusedOptions[name] != "": // it negates an option that hushgate does not have
	case ignoredOptions[name] != "":
		p.note(p.line, "option %s is ignored: %s", name, ignoredOptions[name])
	case slices.Contains(httpOptions, name) && (negated || p.proxy.kind == inDefaults):
		p.note(p.line, "option %s is ignored: %s", name, aboutHTTP)
	case slices.Contains(httpOptions, name):
		p.wrong(p.line, "option "+name, "not served: hushgate forwards SMTP in mode tcp")
	default:
		p.wrong(p.line, "option "+name, "not served: %s", refusedOptions[name])
	}
}

// knownOption reports whether an option is one of those that are ignored or refused.
func knownOption(name string) bool {
	return ignoredOptions[name] != "" || refusedOptions[name] != "" || slices.Contains(httpOptions, name)
}

func (p *haproxyParser) tcplog([]string, bool) {
	if p.proxy.kind == inBackend {
		p.note(p.line, "option tcplog has no effect in a backend section, as in HAProxy: its frontends decide")
		return
	}
	p.setLogFormat("tcplog")
}

// setLogFormat accepts both names of the only format. Like HAProxy, it tells of a line that replaces an earlier one.
func (p *haproxyParser) setLogFormat(name string) {
	if before := p.proxy.lines["log-format"]; p.proxy.kind == inDefaults && before > p.proxy.line {
		p.note(p.line, "option %s replaces the one on line %d", name, before)
	}
	p.proxy.front.LogFormat, p.proxy.front.LogString, p.proxy.lines["log-format"] = LogTCP, "", p.line
}

// Distributions write httplog into defaults. HAProxy uses tcplog instead in mode tcp, and so does hushgate.
func (p *haproxyParser) httplog([]string, bool) {
	p.setLogFormat("httplog")
	p.note(p.line, "option httplog is read as option tcplog, as HAProxy does in mode tcp")
}

func (p *haproxyParser) redispatch(to *rawProxy, _ string, args []string, negated bool) bool {
	*redispatch(to) = !negated
	if len(args) == 0 {
		return true
	}
	if _, err := parseInt(args[0], -maxRetries, maxRetries); err != nil {
		p.expected(p.line, "option redispatch", wantInt(-maxRetries, maxRetries), args[0])
	} else if args[0] != "1" {
		p.note(p.line, "option redispatch: hushgate takes another server at each retry, as with 1")
	}
	return true
}

// smtpchk handles `option smtpchk [HELO|EHLO DOMAIN]`.
func (p *haproxyParser) smtpchk(args []string, _ bool) {
	p.proxy.setCheck(p.smtpCheck(p.line, args), p.line)
}

// smtpCheck reads the words after smtpchk as HAProxy does: without one of the two verbs and a domain it uses HELO localhost.
func (p *problems) smtpCheck(line int, args []string) Check {
	check := Check{Kind: CheckSMTP, Verb: "HELO", Domain: "localhost"}
	switch {
	case len(args) == 0:
	case len(args) >= 2 && (args[0] == "HELO" || args[0] == "EHLO"):
		check.Verb, check.Domain = args[0], args[1]
	default:
		p.warn(line, "smtpchk %s: not HELO or EHLO and a domain; HELO localhost is sent, as by HAProxy",
			strings.Join(args, " "))
	}
	const maxDomain = 255 // RFC 5321 section 4.5.3.1.2
	odd := func(r rune) bool { return r <= ' ' || r > '~' }
	if d := check.Domain; d == "" || len(d) > maxDomain || strings.IndexFunc(d, odd) >= 0 {
		p.expected(line, "smtpchk", "a domain in ASCII, of at most 255 octets", d)
	}
	return check
}
