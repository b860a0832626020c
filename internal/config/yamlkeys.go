package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// The keys of a YAML file, from the outermost inwards.

func (r *yamlReader) top(node ast.Node) {
	g := &r.raw.global
	r.mapping("the file", node, yamlKeys{
		"outside": r.interfaces(&g.outside),
		"inside":  r.interfaces(&g.inside),
		"shards":  r.number(&g.shards, 0, maxShards),
		"maxconn": r.number(&g.maxConn, 1, math.MaxInt32),
		// Octets, of which the kernel counts some hundred for the smallest frame.
		"receive-buffer":  r.number(&g.buffer, 1<<16, math.MaxInt32),
		"half-open":       r.number(&g.halfOpen, 1, math.MaxInt32),
		"hard-stop-after": r.duration(&g.hardStop),
		"fail":            r.word(&g.fail, string(FailClosed), string(FailOpen)),
		"announce":        r.boolean(&g.announce),
		"reverse-path":    r.word(&g.reversePath, string(PathStrict), string(PathLoose), string(PathOff)),
		"log":             r.logs(&g.logs, func(int) { g.logsSet = true }),
		"firewall":        r.firewall,
		"capture":         r.capture,
		"frontends": func(key string, node ast.Node) {
			r.list(key, node, false, r.frontend)
		},
		"backends": func(key string, node ast.Node) {
			before := len(r.errs)
			r.list(key, node, false, r.backend)
			r.raw.partial = len(r.errs) > before && !slices.ContainsFunc(r.raw.proxies, (*rawProxy).hasServers)
		},
	})
}

func (r *yamlReader) interfaces(to *[]string) func(string, ast.Node) {
	return func(key string, node ast.Node) {
		r.list(key, node, true, func(item ast.Node) {
			var name at[string]
			r.checked(&name, "an interface's name", checkInterface)(key, item)
			if name.set() && !slices.Contains(*to, name.value) {
				*to = append(*to, name.value)
			}
		})
	}
}

func (r *yamlReader) firewall(key string, node ast.Node) {
	f := &r.raw.global.firewall
	r.mapping(key, node, yamlKeys{
		"manage":     r.flag(&f.Manage),
		"forward":    r.flag(&f.Forward),
		"masquerade": r.flag(&f.Masquerade),
		"snat":       r.snat(&f.SNAT),
		"clamp-mss":  r.flag(&f.ClampMSS),
		"sysctls":    r.flag(&f.Sysctls),
	})
}

// snat returns a handler for an address, or one of each family.
func (r *yamlReader) snat(to *[]netip.Addr) func(string, ast.Node) {
	const want = "an IP address of this machine's, or one of each family"
	return func(key string, node ast.Node) {
		r.list(key, node, true, func(item ast.Node) {
			s, ok := r.text(key, want, item)
			if !ok {
				return
			}
			a, err := parseHost(strings.Trim(s.value, "[]"))
			if err == nil && slices.ContainsFunc(*to, func(o netip.Addr) bool { return o.Is4() == a.Is4() }) {
				err = errors.New("there is another of its family")
			}
			if err != nil {
				r.add(Error{Line: s.line, Keyword: key, Expected: want, Found: quote(s.value), Reason: err.Error()})
				return
			}
			*to = append(*to, a)
		})
	}
}

// logs returns a handler for a list of targets; an empty list means that nothing is written.
func (r *yamlReader) logs(to *[]LogTarget, done func(line int)) func(string, ast.Node) {
	return func(key string, node ast.Node) {
		*to = nil
		if seq, ok := node.(*ast.SequenceNode); !ok || len(seq.Values) > 0 {
			r.list(key, node, true, func(item ast.Node) { *to = append(*to, r.logTarget(key, item)) })
		}
		done(lineOf(node))
	}
}

// logTarget reads "stdout" or {to, format, facility, level}.
func (r *yamlReader) logTarget(key string, node ast.Node) LogTarget {
	var to, format, facility, level at[string]
	target := func(key string, node ast.Node) {
		r.checked(&to, "a target", func(s string) error { _, err := parseLogTarget(s); return err })(key, node)
	}
	if !isKeys(node) {
		target(key, node)
	} else {
		before := len(r.errs)
		r.mapping(key, node, yamlKeys{
			"to": target, "format": r.word(&format, logFormats...), "facility": r.word(&facility, logFacilities...),
			"level": r.word(&level, logLevels...),
		})
		if !to.set() && len(r.errs) == before {
			r.wrong(lineOf(node), key, "needs to: stdout, stderr, the path of a socket or an address")
		}
	}
	t := LogTarget{
		Format: format.or("local"), Facility: facility.or(standardOutput.Facility),
		Level: level.or(standardOutput.Level),
	}
	t.Address, _ = parseLogTarget(to.value) // an error was reported
	if !format.set() && (t.Address == "stdout" || t.Address == "stderr") {
		t.Format = "raw"
	}
	return t
}

// nameOf reads the name of a section or server.
func (r *yamlReader) nameOf(to *at[string]) func(string, ast.Node) {
	return r.checked(to, "a name", checkName)
}

// needsName reports an item without a name, unless another error tells already what is wrong with it.
func (r *yamlReader) needsName(name at[string], what string, line, before int) {
	if !name.set() && len(r.errs) == before {
		r.wrong(line, what, "needs a name")
	}
}

func (r *yamlReader) frontend(node ast.Node) {
	f := factory().begin(inFrontend, "", lineOf(node))
	if !r.isMapping("frontends", node) {
		return
	}
	f.logGlobal = at[bool]{true, f.line}
	before := len(r.errs)
	var name, action, logFormat at[string]
	r.mapping("frontends", node, yamlKeys{
		"name": r.nameOf(&name),
		"bind": func(key string, node ast.Node) {
			f.tried[key] = true
			r.list(key, node, true, func(item ast.Node) { f.binds = append(f.binds, r.bind(key, item)...) })
		},
		"inspect-delay": func(key string, node ast.Node) {
			r.duration(&f.delay)(key, node)
			f.delayWrong = !f.delay.set()
		},
		"reject":         r.word(&action, string(ActionReset), string(ActionReply)), // an older name of on-early-talk
		"on-early-talk":  r.word(&action, string(ActionReset), string(ActionReply), string(ActionObserve)),
		"reject-text":    r.checked(&f.rejectText, "an SMTP reply", checkReply),
		"no-server-text": r.checked(&f.noServer, "an SMTP reply", checkReply),
		"default_backend": func(key string, node ast.Node) {
			f.tried[key] = true
			r.nameOf(&f.backend)(key, node)
		},
		"timeout": r.timeouts(f, "client", "client-fin", "half-open", "time-wait"),
		"log":     r.logs(&f.logs, func(line int) { f.logGlobal = at[bool]{false, line} }),
		"log-format": r.word(&logFormat, string(LogTCP), string(LogJSON), string(LogPostscreen),
			string(LogNone)),
		"dontlognull": r.boolean(&f.dontNull),
	})
	f.name = name.value
	f.action = at[Action]{Action(action.value), action.line}
	f.logFormat = at[LogFormat]{LogFormat(logFormat.value), logFormat.line}
	if f.rejectText.set() && f.action.or(ActionReset) != ActionReply {
		r.note(f.rejectText.line, "reject-text is said with on-early-talk: reply alone")
	}
	r.needsName(name, "frontends", f.line, before)
	r.raw.proxies = append(r.raw.proxies, f)
}

// bind reads ":25", or {address, interface}.
func (r *yamlReader) bind(key string, node ast.Node) []rawBind {
	const want = "[ADDR]:PORT"
	var address, device at[string]
	before := len(r.errs)
	if !isKeys(node) {
		address, _ = r.text(key, want, node)
	} else {
		r.mapping(key, node, yamlKeys{
			"address":   func(key string, node ast.Node) { address, _ = r.text(key, want, node) },
			"interface": r.checked(&device, "an interface's name", checkInterface),
		})
	}
	binds, err := parseBind(address.value)
	if len(r.errs) == before && err != nil {
		r.add(Error{Line: lineOf(node), Keyword: key, Expected: want, Found: quote(address.value), Reason: err.Error()})
	}
	out := make([]rawBind, len(binds))
	for i, b := range binds {
		b.Interface = device.value
		out[i] = rawBind{b, lineOf(node), address.value}
	}
	return out
}

// timeouts reads a mapping of the timeouts that are served at its place.
func (r *yamlReader) timeouts(p *rawProxy, served ...string) func(string, ast.Node) {
	return func(key string, node ast.Node) {
		keys := yamlKeys{}
		for _, name := range served {
			keys[name] = func(_ string, node ast.Node) {
				var d at[time.Duration]
				r.duration(&d)(fmt.Sprintf("%s %s", key, name), node)
				p.timeouts[name] = d
			}
		}
		r.mapping(key, node, keys)
	}
}

func (r *yamlReader) backend(node ast.Node) {
	b := factory().begin(inBackend, "", lineOf(node))
	if !r.isMapping("backends", node) {
		return
	}
	before := len(r.errs)
	var name at[string]
	var servers ast.Node
	r.mapping("backends", node, yamlKeys{
		"name": r.nameOf(&name),
		"balance": func(key string, node ast.Node) {
			if s, ok := r.text(key, "roundrobin", node); ok {
				r.setBalance(s.line, s.value)
			}
		},
		"smtpchk": func(key string, node ast.Node) {
			if s, ok := r.text(key, "HELO or EHLO and a domain", node); ok && strings.TrimSpace(s.value) == "" {
				r.expected(s.line, key, "HELO or EHLO and a domain", "")
			} else if ok {
				b.check = at[Check]{r.smtpCheck(s.line, strings.Fields(s.value)), s.line}
			}
		},
		"source": func(key string, node ast.Node) {
			var s rawServer
			if want := setSource(&s, scalarText(node)); want != "" {
				r.mismatch(key, want, node)
			}
			b.source = at[Source]{s.Source, lineOf(node)}
		},
		"retries":    r.number(&b.retries, 0, maxRetries),
		"redispatch": r.boolean(&b.redispatch),
		"timeout":    r.timeouts(b, "connect", "queue", "server", "server-fin", "check"),
		"default-server": func(key string, node ast.Node) {
			before := len(r.errs)
			r.mapping(key, node, r.serverKeys(&b.template))
			b.template.broken = len(r.errs) > before
		},
		"servers": func(_ string, node ast.Node) { servers, b.tried["server"] = node, true },
	})
	b.name = name.value
	r.needsName(name, "backends", b.line, before)
	if servers != nil { // after default-server, wherever that stands
		r.list("servers", servers, false, func(item ast.Node) { r.server(b, item) })
	}
	r.raw.proxies = append(r.raw.proxies, b)
}

func (r *yamlReader) server(b *rawProxy, node ast.Node) {
	s := b.template
	s.Line = lineOf(node)
	before := len(r.errs)
	var name, address at[string]
	keys := r.serverKeys(&s)
	keys["name"] = r.nameOf(&name)
	keys["address"] = func(key string, node ast.Node) {
		var ok bool
		if address, ok = r.text(key, "an IP address and a port", node); ok {
			r.serverAddress(&s, address.line, key, address.value)
		}
	}
	r.mapping("servers", node, keys)
	s.Name = name.value
	r.needsName(name, "servers", s.Line, before)
	if !address.set() && len(r.errs) == before {
		r.wrong(s.Line, "servers", "needs an address")
	}
	s.broken = s.broken || len(r.errs) > before
	b.servers = append(b.servers, s)
}

// serverKeys are the settings of a server, the same as in HAProxy's syntax.
func (r *yamlReader) serverKeys(s *rawServer) yamlKeys {
	keys := yamlKeys{
		"check":    r.flag(&s.Check),
		"backup":   r.flag(&s.Backup),
		"disabled": r.flag(&s.Disabled),

		"send-proxy":       r.flag(&s.proxyV1),
		"send-proxy-v2":    r.flag(&s.proxyV2),
		"check-send-proxy": r.flag(&s.checkProxy),
	}
	keys["source"] = func(key string, node ast.Node) {
		if want := setSource(s, scalarText(node)); want != "" {
			r.mismatch(key, want, node)
		}
	}
	for name, set := range serverValues {
		keys[name] = func(key string, node ast.Node) {
			if want := set(s, scalarText(node), 0); want != "" {
				r.mismatch(key, want, node)
			}
		}
	}
	return keys
}
