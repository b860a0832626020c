package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Source is the server-side address: the address of the gateway from which a server's connections come, and the range of
// their ports. The zero value stands for the client's address and port.
type Source struct {
	Addr        netip.Addr // unspecified: the address that the kernel prefers on its route to the server
	First, Last uint16     // both included
}

// byRoute is the server-side address of a server in HAProxy's syntax with send-proxy and without source. As in HAProxy, the
// kernel chooses the address. Its family is the server's.
var byRoute = Source{Addr: netip.IPv4Unspecified(), First: firstSourcePort, Last: lastSourcePort}

// The ports of a server-side address that names none: below those that Linux gives to its own connections
// (ip_local_port_range).
const (
	firstSourcePort = 1024
	lastSourcePort  = 32767
)

// Set reports whether there is a server-side address.
func (s Source) Set() bool { return s.Addr.IsValid() }

// ByRoute reports whether the kernel chooses the address.
func (s Source) ByRoute() bool { return s.Addr.IsValid() && s.Addr.IsUnspecified() }

// String returns the server-side address in the syntax of a source line.
func (s Source) String() string {
	if !s.Set() {
		return "0.0.0.0 usesrc clientip"
	}
	host := s.Addr.String()
	if s.Addr.Is6() {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s:%d-%d", host, s.First, s.Last)
}

// parseSource reads ADDR[:PORT[-PORT]]. With every way to write an unspecified address the kernel chooses it.
func parseSource(text string) (s Source, err error) {
	host, ports := text, ""
	if _, bare := netip.ParseAddr(text); bare != nil { // an IPv6 address without a port needs no brackets here
		if host, ports, err = splitAddress(text); err != nil {
			return s, err
		}
	}
	if slices.Contains(anyAddress, host) {
		s.Addr = byRoute.Addr
	} else if s.Addr, err = parseHost(host); err != nil {
		return s, err
	}
	s.First, s.Last = firstSourcePort, lastSourcePort
	if ports == "" {
		return s, nil
	}
	low, high, isRange := strings.Cut(ports, "-")
	if !isRange {
		high = low
	}
	if s.First, err = parsePort(low); err == nil {
		s.Last, err = parsePort(high)
	}
	switch {
	case err != nil:
		return s, fmt.Errorf("the port is %w", err)
	case s.Last < s.First:
		return s, errors.New("the first port of a range must not be above the last")
	}
	return s, nil
}

const (
	wantSource = "ADDR[:PORT[-PORT]] of the gateway's own, or 0.0.0.0 usesrc clientip"
	usesClient = "client" // in YAML; also what is done without a source
	// usesGateway is, in YAML, the address that the kernel prefers: `source 0.0.0.0` in HAProxy's syntax.
	usesGateway = "gateway"
)

var anyAddress = []string{"0.0.0.0", "*", "::", "[::]", ""}

// source handles `source ADDR[:PORT[-PORT]] [usesrc clientip|client]`.
func (p *haproxyParser) source(args []string, _ bool) {
	s, rest, ok := p.sourceOf("source", args)
	if p.proxy.sourceWrong = !ok; !ok {
		return
	}
	p.proxy.source = at[Source]{s, p.line} // in a frontend it has no effect: see noteFrontendSource
	if len(rest) > 0 {
		p.expected(p.line, "source", "nothing after "+strings.Join(args[:len(args)-len(rest)], " "), strings.Join(rest, " "))
	}
}

// sourceOf reads the words after source, and returns the words that do not belong to it.
func (p *haproxyParser) sourceOf(keyword string, args []string) (s Source, rest []string, ok bool) {
	own := 1 // number of words that belong to it
	if len(args) > 1 && args[1] == "usesrc" {
		own = min(3, len(args))
	}
	wrong := func(reason string) (Source, []string, bool) {
		p.add(Error{Line: p.line, Keyword: keyword, Expected: wantSource, Found: quote(strings.Join(args[:own], " ")), Reason: reason})
		return s, nil, false
	}
	if len(args) == 0 {
		p.expected(p.line, keyword, wantSource, "")
		return s, nil, false
	}
	if own == 1 {
		s, err := parseSource(args[0])
		if err != nil {
			return wrong(err.Error())
		}
		return s, p.sourceInterface(keyword, args[1:]), true
	}
	if host, _, err := splitAddress(args[0]); !slices.Contains(anyAddress, args[0]) {
		if err == nil && !slices.Contains(anyAddress, host) {
			_, err = parseAddr(host)
		}
		if err != nil {
			return wrong(err.Error())
		}
		p.note(p.line, "source: the address %s is not used; servers see the client's", host)
	}
	if len(args) < 3 || args[2] != "clientip" && args[2] != usesClient {
		return wrong("")
	}
	return s, p.sourceInterface(keyword, args[own:]), true
}

// sourceInterface reports `interface NAME` after a source, and returns the words after it.
func (p *haproxyParser) sourceInterface(keyword string, args []string) (rest []string) {
	if len(args) == 0 || args[0] != "interface" {
		return args
	}
	p.wrong(p.line, keyword+" interface", "not served: the route to the server decides the interface")
	return args[min(2, len(args)):]
}

// setSource sets the server-side address of a server in YAML.
func setSource(s *rawServer, v string, _ time.Duration) (want string) {
	s.sourceSet = true
	if v == usesClient {
		s.Source = Source{}
		return ""
	}
	if ports, ok := strings.CutPrefix(v, usesGateway); ok && (ports == "" || ports[0] == ':') {
		v = byRoute.Addr.String() + ports
	}
	var err error
	if s.Source, err = parseSource(v); err != nil {
		s.Source = Source{}
		return `ADDR[:PORT[-PORT]] of the gateway's own, "gateway" or "client"`
	}
	return ""
}

// resolveSource decides which address a server sees, and with which PROXY header.
func (r *resolver) resolveSource(b *rawProxy, s *rawServer) {
	switch {
	case s.proxyV2:
		s.Proxy = 2
	case s.proxyV1:
		s.Proxy = 1
	}
	switch {
	case s.Proxy > 0 && !s.CheckAddr.IsValid() && s.CheckPort == 0:
		s.CheckProxy = s.Proxy
	case s.checkProxy:
		s.CheckProxy = max(1, s.Proxy)
	}
	switch {
	case r.impliesRoute(b, s):
		s.Source = byRoute
	case !s.sourceSet:
		s.Source = b.source.value
	}
	if s.Source.ByRoute() && s.Addr.Is6() {
		s.Source.Addr = netip.IPv6Unspecified()
	}
	r.checkSource(s)
}

// withoutSource reports whether no line sets the server-side address of a server.
func withoutSource(b *rawProxy, s *rawServer) bool { return !s.sourceSet && !b.source.set() }

// impliesRoute reports whether a server is reached from the gateway's own address, as HAProxy would do. A server that trusts
// PROXY headers decides so by the address from which they come. In HAProxy that is the proxy's. From the client's address
// the server would read the header as the beginning of the mail dialogue, and refuse every client. Without send-proxy the
// server sees the client's address, which is hushgate's purpose.
func (r *resolver) impliesRoute(b *rawProxy, s *rawServer) bool {
	return !r.raw.native && withoutSource(b, s) && s.Proxy > 0
}

// checkSource reports a server-side address that does not fit the server.
func (r *resolver) checkSource(s *rawServer) {
	if s.Source.Set() && s.addrSet && s.Source.Addr.Is4() != s.Addr.Is4() {
		r.wrong(s.Line, "server "+quoteOdd(s.Name), "its source %s is not of the server's address family: write a source of that family on its line",
			s.Source.Addr)
	}
	if s.Source.Set() && s.Source.Addr == s.Addr {
		r.wrong(s.Line, "server "+quoteOdd(s.Name), "its source is the server's own address")
	}
	for _, c := range r.claims {
		if s.Source.Addr == c.bind.Addr && s.Source.First <= c.bind.Port && c.bind.Port <= s.Source.Last {
			r.checkSourcePorts(s, c)
		}
	}
}

// checkSourcePorts reports a range of server-side ports that contains the port of a bind on the same address. If the kernel
// chooses the address, that port is left out when the address is known; it is an error only if no port is left.
func (r *resolver) checkSourcePorts(s *rawServer, c claim) {
	if s.Source.ByRoute() && s.Source.First < s.Source.Last {
		return
	}
	without := s.Source
	without.First = c.bind.Port + 1
	if c.bind.Port-s.Source.First > s.Source.Last-c.bind.Port {
		without.First, without.Last = s.Source.First, c.bind.Port-1
	}
	without.Last = max(without.First, without.Last)
	r.wrong(s.Line, "server "+quoteOdd(s.Name), "its source has the port of bind %s of %s: give it a range without that one, "+
		"such as source %s", c.bind, c.proxy.title(), without)
}
