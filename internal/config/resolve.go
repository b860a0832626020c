package config

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"
)

// resolver makes a Config from a file's raw form.
type resolver struct {
	*problems
	raw      rawConfig
	cfg      Config
	backends map[string]*rawProxy
	claims   []claim
	lost     bool // the backend of some frontend is not known, so a backend may have users that are not listed
}

// resolve looks names up, fills in defaults and checks what concerns the whole file. It adds errors to p.
func resolve(p *problems, raw rawConfig) *Config {
	r := resolver{problems: p, raw: raw, cfg: Config{File: p.file, Lists: raw.lists}, backends: map[string]*rawProxy{}}
	r.resolveGlobal()
	r.notePasses()
	r.indexBackends()
	for _, f := range raw.proxies {
		if f.takesClients() {
			r.resolveFrontend(f)
		}
	}
	for _, b := range raw.proxies {
		if b.hasServers() {
			r.resolveBackend(b)
		}
	}
	r.resolveTables()
	r.checkOffenders()
	r.checkRemoteAPI()
	r.count()
	return &r.cfg
}

func (p *rawProxy) takesClients() bool { return p.kind&(inFrontend|inListen) != 0 && !p.disabled }

// hasServers reports whether the section is a backend. A listen without servers is only a frontend.
func (p *rawProxy) hasServers() bool {
	onlyTable := p.kind == inBackend && p.table != nil && len(p.servers) == 0 && !p.mayHave("server")
	return !p.disabled && !onlyTable && (p.kind == inBackend || p.kind == inListen && (len(p.servers) > 0 || !p.backend.set()))
}

// title returns the name of the section for messages.
func (p *rawProxy) title() string {
	if p.name == "" {
		return p.kind.String()
	}
	return p.kind.String() + " " + quoteOdd(p.name)
}

func (r *resolver) resolveGlobal() {
	g := r.raw.global
	logs := g.Logs
	if !g.logsSet {
		global := slices.IndexFunc(r.raw.proxies, func(p *rawProxy) bool { return p.takesClients() && p.logGlobal.value })
		switch {
		case r.raw.native:
			logs = []LogTarget{standardOutput}
		case global >= 0:
			logs = []LogTarget{standardOutput}
			r.note(r.raw.proxies[global].logGlobal.line,
				"log global: no global section names a target, so connection lines go to standard output; HAProxy would write none")
		}
	}
	r.noteLaterLogs()
	r.warnGlobal()
	r.cfg.Global = g.Global
	r.cfg.Global.Logs = tagged(logs, g.LogTag)
	if w := r.cfg.Global.HalfOpenWarning(max(1, g.Shards)); w != "" {
		r.warn(g.lines["half-open"], "%s", w)
	}
}

// noteLaterLogs tells of targets that HAProxy would not use. HAProxy copies the targets that it has read before it reaches
// `log global`.
func (r *resolver) noteLaterLogs() {
	for _, p := range r.raw.proxies {
		if later := r.raw.global.logLine; p.takesClients() && p.logGlobal.value && p.logGlobal.line < later && !r.raw.native {
			r.note(p.logGlobal.line, "log global: HAProxy uses only the targets before this line; here the target on line %d is used too", later)
		}
	}
}

// standardOutput is the log target if the file names none.
var standardOutput = LogTarget{Address: "stdout", Format: "raw", Facility: "mail", Level: "debug"}

// indexBackends finds the backends and reports names that are used twice. As in HAProxy, a frontend and a backend may have
// the same name. A listen counts as both, with or without servers, and a disabled section still occupies its name.
func (r *resolver) indexBackends() {
	sides := map[section]map[string]int{inFrontend: {}, inBackend: {}}
	serves := false
	for _, p := range r.raw.proxies {
		first := 0
		for side, lines := range sides {
			if p.kind != side && p.kind != inListen {
				continue
			}
			if line, taken := lines[p.name]; taken {
				first = line
			} else {
				lines[p.name] = p.line
			}
		}
		if first > 0 {
			r.taken(p.line, p.kind.String(), p.name, first)
		}
		if p.hasServers() && r.backends[p.name] == nil {
			r.backends[p.name] = p
		}
		serves = serves || p.takesClients()
	}
	if !serves && len(r.errs) == 0 {
		r.wrong(1, "frontend", "none accepts connections, so there is nothing to serve")
	}
}

func (r *resolver) taken(line int, keyword, name string, first int) {
	if name == "" { // which is reported elsewhere
		return
	}
	r.add(Error{
		Line: line, Keyword: keyword, Expected: "a name that is not used yet",
		Found: fmt.Sprintf("%s, which line %d has already", quote(name), first),
	})
}

func (r *resolver) resolveFrontend(f *rawProxy) {
	r.checkMode(f)
	if len(f.binds) == 0 && !f.mayHave("bind") {
		r.wrong(f.line, f.title(), "has no bind, so no client can connect")
	}
	b := r.backendOf(f)
	out := f.front
	out.Name, out.Delay, out.Log = f.name, f.delay.value, f.logs
	r.resolveRules(f, &out)
	r.lost = r.lost || b == nil
	if b != nil {
		out.Backend = b.name
		if b.lines.set("timeout tunnel") {
			out.ClientTimeout = b.tunnel
		}
		r.resolveBinds(f, b, &out)
		r.claimBinds(f, out.Binds)
		b.users = append(b.users, f)
	}
	if f.logGlobal.or(r.raw.native) {
		out.Log = slices.Concat(f.logs, r.cfg.Global.Logs)
	}
	out.Log = tagged(out.Log, cmp.Or(f.logTag, r.cfg.Global.LogTag))
	if len(out.Log) == 0 {
		out.LogFormat = LogNone
	}
	r.warnFrontend(f, out)
	r.notePolicy(f, &out)
	r.noteListed(f, &out)
	r.cfg.Frontends = append(r.cfg.Frontends, out)
}

func (r *resolver) checkMode(p *rawProxy) {
	if p.mode.value == "http" {
		found := fmt.Sprintf("mode http on line %d", p.mode.line)
		r.add(Error{Line: p.line, Keyword: p.title(), Expected: "mode tcp", Found: found})
	}
}

// unscreened reports a frontend whose rules do not make an early-talker gateway.
func (r *resolver) unscreened(f *rawProxy, err error) {
	delay := "`tcp-request inspect-delay 20s`, "
	if f.delay.set() || f.delayWrong {
		delay = ""
	}
	f.delayWrong = true // this error already says so; a warning would repeat it
	err = fmt.Errorf("%w; an early-talker gateway needs %s`acl content_present req_len gt 0` and `tcp-request content reject if "+
		"content_present`", err, delay)
	line, keyword := f.line, f.title()
	if n := len(f.rules.rules); n > 0 {
		line, keyword = f.rules.rules[n-1].line, "tcp-request content"
	} else if other := notForMail(f.binds); other != nil {
		line, keyword, err, f.unfit = f.binds[0].line, "bind", other, true
	}
	r.wrong(line, keyword, "%v", err)
}

// backendOf returns a frontend's backend, or reports that there is none.
func (r *resolver) backendOf(f *rawProxy) *rawProxy {
	name, line := f.backend.value, f.backend.line
	if f.kind == inListen && f.hasServers() {
		name, line = f.name, f.line
		if f.backend.set() {
			r.wrong(f.backend.line, "default_backend", "the section has servers of its own")
		}
	}
	if line == 0 {
		if !f.mayHave("default_backend") && !f.mayHave("use_backend") {
			r.wrong(f.line, f.title(), "has no default_backend, so its clients have nowhere to go")
		}
		return nil
	}
	if b := r.backends[name]; b != nil {
		return b
	}
	if r.raw.partial {
		return nil
	}
	var known []string
	for _, p := range r.raw.proxies {
		if p.hasServers() {
			known = append(known, p.name)
		}
	}
	r.add(Error{
		Line: line, Keyword: "default_backend", Expected: "the name of a backend", Found: quote(name),
		Suggestion: nearest(name, known),
	})
	return nil
}

// resolveBinds copies the binds. Servers see the client's own address, so a client needs a server of its own family: a bind
// of both families is reduced to the family of the servers, and a bind of the other family is an error.
func (r *resolver) resolveBinds(f, b *rawProxy, out *Frontend) {
	// The family of a server with a wrong address is not known, and that error was already reported.
	told := f.unfit || slices.ContainsFunc(b.servers, func(s rawServer) bool { return !s.addrSet })
	has4 := slices.ContainsFunc(b.servers, func(s rawServer) bool { return s.Addr.Is4() })
	has6 := slices.ContainsFunc(b.servers, func(s rawServer) bool { return s.Addr.Is6() })
	for _, bind := range f.binds {
		v := bind.Bind
		if v.AnyFamily && has4 != has6 {
			v.AnyFamily = false
			var only string
			v.Addr, only = netip.IPv4Unspecified(), "IPv4"
			if has6 {
				v.Addr, only = netip.IPv6Unspecified(), "IPv6"
			}
			if !told {
				r.note(bind.line, "bind %s serves only %s: all servers of backend %s have %s addresses",
					quoteOdd(bind.text), only, b.name, only)
			}
		} else if !told && !v.AnyFamily && (v.Addr.Is4() && !has4 && has6 || v.Addr.Is6() && !has6 && has4) {
			r.add(Error{
				Line: bind.line, Keyword: "bind", Expected: "an address of the servers' family",
				Found:  quote(bind.text),
				Reason: "hushgate does not translate between IPv4 and IPv6, so a client's server is of its own family",
			})
		}
		if !slices.ContainsFunc(out.Binds, func(o Bind) bool { return covers(o, v) }) {
			out.Binds = slices.DeleteFunc(out.Binds, func(o Bind) bool { return covers(v, o) })
			out.Binds = append(out.Binds, v)
		}
	}
}

// covers reports whether each client of b is also a client of a.
func covers(a, b Bind) bool {
	family := a.AnyFamily || !b.AnyFamily && a.Addr.Is4() == b.Addr.Is4()
	return a.Port == b.Port && (a.Interface == "" || a.Interface == b.Interface) &&
		(a.Addr == b.Addr || a.Addr.IsUnspecified()) && family
}

// overlap reports whether some client can belong to both a and b.
func overlap(a, b Bind) bool {
	family := a.AnyFamily || b.AnyFamily || a.Addr.Is4() == b.Addr.Is4()
	return a.Port == b.Port && (a.Interface == "" || b.Interface == "" || a.Interface == b.Interface) &&
		(a.Addr == b.Addr || a.Addr.IsUnspecified() || b.Addr.IsUnspecified()) && family
}

// claim is a bind and the frontend that it belongs to.
type claim struct {
	bind  Bind
	proxy *rawProxy
}

func (c claim) conflicts(other claim) bool {
	return c.proxy != other.proxy && overlap(c.bind, other.bind)
}

// claimBinds reports binds that overlap with those of an earlier frontend.
func (r *resolver) claimBinds(f *rawProxy, binds []Bind) {
	for _, bind := range binds {
		mine := claim{bind, f}
		if i := slices.IndexFunc(r.claims, mine.conflicts); i >= 0 {
			other := r.claims[i]
			r.wrong(f.line, f.title(), "its bind %s overlaps with bind %s of %s", bind, other.bind, other.proxy.title())
		}
		r.claims = append(r.claims, mine)
	}
}

func (r *resolver) resolveBackend(b *rawProxy) {
	if b.kind == inBackend { // a listen was already checked as a frontend
		r.checkMode(b)
	}
	out := b.back
	out.Name, out.Connect = b.name, cmp.Or(b.back.Connect, defaultConnect)
	if b.lines.set("timeout tunnel") {
		out.ServerTimeout = b.tunnel
	}
	if len(b.servers) == 0 && !b.mayHave("server") {
		r.wrong(b.line, b.title(), "has no server")
	}
	names := map[string]int{}
	for _, s := range b.servers {
		if first, taken := names[s.Name]; taken {
			r.taken(s.Line, "server", s.Name, first)
		}
		names[s.Name] = s.Line
		out.Servers = append(out.Servers, r.resolveServer(b, s))
	}
	r.warnBackend(b, out)
	r.warnSources(b, out)
	r.cfg.Backends = append(r.cfg.Backends, out)
}

func (r *resolver) resolveServer(b *rawProxy, s rawServer) Server {
	if !s.portSet {
		s.Port = r.portOf(b, s)
	}
	r.resolveSource(b, &s)
	s.CheckPort = cmp.Or(s.CheckPort, s.Port)
	s.CheckAddr = cmp.Or(s.CheckAddr, s.Addr)
	s.FastInter = cmp.Or(s.FastInter, s.Inter)
	s.DownInter = cmp.Or(s.DownInter, s.Inter)
	return s.Server
}

// portOf returns the port of a server whose line has none: as in HAProxy, the port that the client connected to, if there is
// only one.
func (r *resolver) portOf(b *rawProxy, s rawServer) (port uint16) {
	for _, f := range b.users {
		for _, bind := range f.binds {
			if port != 0 && port != bind.Port {
				r.wrong(s.Line, "server "+quoteOdd(s.Name), "needs a port: its clients connect to several")
				return 0
			}
			port = bind.Port
		}
	}
	if len(b.users) == 0 && s.addrSet && !r.lost {
		r.wrong(s.Line, "server "+quoteOdd(s.Name), "needs a port: no frontend uses its backend")
	}
	return port
}

// count reports numbers of servers, binds, frontends and backends that exceed the core's limit.
func (r *resolver) count() {
	const most = math.MaxUint16 - 1
	servers := 0
	for _, b := range r.cfg.Backends {
		servers += len(b.Servers)
	}
	binds := 0
	for _, f := range r.cfg.Frontends {
		binds += len(f.Binds)
	}
	for _, n := range []struct {
		what string
		n    int
	}{{"server", servers}, {"bind", binds}, {"frontend", len(r.cfg.Frontends)}, {"backend", len(r.cfg.Backends)}} {
		if n.n > most {
			r.wrong(1, n.what, "there are %d of them, more than %d", n.n, most)
		}
	}
}

// timeoutAtLeast is the shortest of the timeouts that RFC 5321 section 4.5.3.2 requires.
const timeoutAtLeast = 5 * time.Minute
