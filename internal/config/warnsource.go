package config

import (
	"fmt"
	"slices"
	"strings"
)

// warnSources warns where servers see an address that the administrator may not expect.
func (r *resolver) warnSources(b *rawProxy, out Backend) {
	if !r.raw.native {
		r.noteHAProxySources(b, out)
	}
	var trusting []Server // without a server-side address, in YAML
	for i, s := range out.Servers {
		if s.Source.Set() && s.Proxy == 0 {
			r.warn(s.Line, "server %s has the source %s and no send-proxy: it sees the gateway's address in place of every client's, in its log and "+
				"in all decisions by address (blocklists, SPF, limits)", s.Name, s.Source.Addr)
		}
		if r.cfg.Global.Fail == FailOpen && (s.Proxy > 0 || s.Source.Set()) {
			r.warn(s.Line, "server %s gets no clients while hushgate does not run, in spite of fail: open: the kernel sends no "+
				"PROXY header, and does not replace the client's address", s.Name)
		}
		if r.raw.native && s.Proxy > 0 && withoutSource(b, &b.servers[i]) {
			trusting = append(trusting, s)
		}
	}
	if len(trusting) > 0 {
		r.warn(trusting[0].Line, "%s: send-proxy without source: the connection comes from the client's address, so a server that "+
			"trusts PROXY headers from this machine alone answers every client with an error. `source: gateway` connects from this "+
			"machine's address; `source: client` says that this is meant", serverList(trusting))
	}
}

// noteHAProxySources tells, for a backend in HAProxy's syntax, which address its servers see, if its lines do not say so or
// if it needs care.
func (r *resolver) noteHAProxySources(b *rawProxy, out Backend) {
	var own, both, client []Server
	for i, s := range out.Servers {
		raw := &b.servers[i]
		switch {
		case raw.broken || b.sourceWrong:
		case s.Proxy > 0 && withoutSource(b, raw):
			own = append(own, s)
		case s.Proxy > 0 && !s.Source.Set():
			both = append(both, s)
		case withoutSource(b, raw):
			client = append(client, s)
		}
	}
	if len(own) > 0 {
		r.note(own[0].Line, "%s: send-proxy without source: connections come from this machine's own address, as from HAProxy, and "+
			"the server must trust PROXY headers from it. To keep the client's address on the wire as well, write `source 0.0.0.0 "+
			"usesrc clientip`: the server must then trust headers from every address, and must not be reached past this machine",
			serverList(own))
	}
	if len(both) > 0 {
		r.note(both[0].Line, "%s: send-proxy with usesrc clientip: the server must trust PROXY headers from every address, and must "+
			"not be reached past this machine, or any host that reaches it can claim any client address", serverList(both))
	}
	told := false
	for _, f := range b.users {
		told = r.noteFrontendSource(f, b, len(client) > 0) || told
	}
	if len(client) > 0 && !told {
		r.note(b.line, "%s: no source: %s the client's address, where HAProxy would show its own, and must answer through this "+
			"machine. `source 0.0.0.0 usesrc clientip` says so to HAProxy too; servers that cannot answer this way need send-proxy",
			b.title(), plural(len(client), "the server sees", "servers see"))
	}
}

// noteFrontendSource tells of a source in a frontend, where it has no effect. It returns true if the note says that servers
// see the client's address.
func (r *resolver) noteFrontendSource(f, b *rawProxy, client bool) (told bool) {
	switch {
	case f.kind != inFrontend || !f.tried["source"]:
		return false
	case client && !f.source.value.Set():
		r.note(f.source.line, "source: HAProxy ignores it in a frontend, so that servers see the proxy's address; "+
			"here they see the client's")
		return true
	default:
		r.note(f.source.line, "source: it has no effect in a frontend, as in HAProxy: write it in %s", b.title())
		return false
	}
}

// serverList names servers at the beginning of a message.
func serverList(list []Server) string {
	var names []string
	for _, s := range list {
		names = append(names, quoteOdd(s.Name))
	}
	slices.Sort(names)
	return fmt.Sprintf("%s %s", plural(len(names), "server", "servers"), strings.Join(slices.Compact(names), ", "))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
