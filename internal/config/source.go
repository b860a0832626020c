package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Source is where a server sees its connections come from: an address of the gateway's own, and the ports that are used
// with it. The zero value stands for the client's address and port.
type Source struct {
	Addr        netip.Addr // unspecified: the address that the kernel prefers on its route to the server
	First, Last uint16     // both included
}

// byRoute is the source of a server in HAProxy's syntax that has send-proxy and no source: as in HAProxy, which leaves the
// address to the kernel. Its family is the server's.
var byRoute = Source{Addr: netip.IPv4Unspecified(), First: firstSourcePort, Last: lastSourcePort}

// The ports of a source that names none: below those that Linux takes for connections of its own (ip_local_port_range).
const (
	firstSourcePort = 1024
	lastSourcePort  = 32767
)

// Set reports whether there is a source.
func (s Source) Set() bool { return s.Addr.IsValid() }

// ByRoute reports whether the address is the kernel's choice.
func (s Source) ByRoute() bool { return s.Addr.IsValid() && s.Addr.IsUnspecified() }

// String writes the source as a source line does.
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

// parseSource reads ADDR[:PORT[-PORT]]. Any of the ways to write no particular address leaves it to the kernel.
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
		return s, errors.New("a range of ports goes upwards")
	}
	return s, nil
}

const (
	wantSource = "ADDR[:PORT[-PORT]] of the gateway's own, or 0.0.0.0 usesrc clientip"
	usesClient = "client" // in YAML: what is done without a source, too
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
	p.proxy.source = at[Source]{s, p.line} // a frontend's has no effect: see warnFrontendSource
	if len(rest) > 0 {
		p.expected(p.line, "source", "nothing after "+strings.Join(args[:len(args)-len(rest)], " "), strings.Join(rest, " "))
	}
}

// sourceOf reads the words after source, and returns those that are not its own.
func (p *haproxyParser) sourceOf(keyword string, args []string) (s Source, rest []string, ok bool) {
	own := 1 // words
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

// sourceInterface reports `interface NAME` behind a source, and returns the words behind it.
func (p *haproxyParser) sourceInterface(keyword string, args []string) (rest []string) {
	if len(args) == 0 || args[0] != "interface" {
		return args
	}
	p.wrong(p.line, keyword+" interface", "not served: the route to the server says which interface leads there")
	return args[min(2, len(args)):]
}

// setSource sets the source of a server in YAML.
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

// resolveSource completes how a server hears of its clients.
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

// withoutSource reports whether no line says where a server sees its connections come from.
func withoutSource(b *rawProxy, s *rawServer) bool { return !s.sourceSet && !b.source.set() }

// impliesRoute reports whether a server gets its connections from the gateway's own address because HAProxy would do so. A
// server that trusts PROXY headers does so by the address that they come from, which in HAProxy is the proxy's: with the
// client's it would take the header for the beginning of the mail dialogue, and refuse every client. Without send-proxy the
// client's address is what hushgate is for.
func (r *resolver) impliesRoute(b *rawProxy, s *rawServer) bool {
	return !r.raw.native && withoutSource(b, s) && s.Proxy > 0
}

// checkSource reports a source that a server cannot have.
func (r *resolver) checkSource(s *rawServer) {
	if s.Source.Set() && s.addrSet && s.Source.Addr.Is4() != s.Addr.Is4() {
		r.wrong(s.Line, "server "+quoteOdd(s.Name), "its source %s is not of its own family: give it one with source on its line",
			s.Source.Addr)
	}
	if s.Source.Set() && s.Source.Addr == s.Addr {
		r.wrong(s.Line, "server "+quoteOdd(s.Name), "its source is its own address")
	}
	for _, c := range r.claims {
		if s.Source.Addr == c.bind.Addr && s.Source.First <= c.bind.Port && c.bind.Port <= s.Source.Last {
			r.checkSourcePorts(s, c)
		}
	}
}

// checkSourcePorts reports a source that has the port of a bind on its address. A source whose address is left to the route
// loses that port only, when the address is chosen: what is an error is that it has no other.
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
