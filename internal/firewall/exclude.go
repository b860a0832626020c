package firewall

import (
	"fmt"
	"net/netip"
	"strings"
)

// exclusion describes packets that the kernel must not see: TCP segments or, if quoted, ICMP errors about them.
type exclusion struct {
	comment  string
	in       string // interface; "" is any but the loopback
	src, dst end    // of the segment
	quoted   bool   // the packet is an ICMP error, and the segment is the one that it quotes
	notLocal bool   // the packet is not addressed to this machine
}

// end is one end of a segment. The zero value matches any end.
type end struct {
	addr        netip.Addr
	first, last uint16 // ports, both included
}

func endOf(a netip.AddrPort) end { return end{a.Addr(), a.Port(), a.Port()} }

// v6 reports whether the segment, and so the packet, is IPv6.
func (x *exclusion) v6() bool { return x.src.addr.Is6() || x.dst.addr.Is6() }

// exclusions lists the packets that the kernel must not see: what clients send to a service, what servers answer from their
// service port, and ICMP errors about the segments that hushgate sends in either direction. hushgate translates such an
// error. The kernel would also forward the original, with the server's address in the quote. Errors about other traffic of
// the servers quote other ports.
//
// The kernel must not see packets to a service on any interface. It would answer a segment with a client's address that
// comes in by the inside with an RST, and the client would take the RST for ours.
//
// Packets to this machine itself pass: the servers' answers to its health checks, and errors about those. Packets to
// server-side ports do not pass.
func exclusions(c Config) (list []exclusion) {
	for _, s := range unique(c.Services) {
		list = append(list, exclusion{comment: "client to service: hushgate answers", dst: endOf(s)},
			exclusion{comment: "ICMP error about service to client: hushgate translates", src: endOf(s), quoted: true})
	}
	for _, i := range c.Inside {
		for _, s := range unique(c.Servers) {
			list = append(list, exclusion{comment: "server to client: hushgate translates", in: i, src: endOf(s), notLocal: true},
				exclusion{comment: "ICMP error about client to server: hushgate translates", in: i, dst: endOf(s), quoted: true, notLocal: true})
		}
		for _, s := range c.Sources {
			own := end{s.Addr, s.First, s.Last}
			list = append(list, exclusion{comment: "server to server-side address: hushgate translates", in: i, src: endOf(s.Server), dst: own},
				exclusion{comment: "ICMP error about server-side address to server: hushgate translates", in: i, src: own, dst: endOf(s.Server), quoted: true})
		}
	}
	return list
}

// match returns an exclusion in iptables' syntax.
func (x *exclusion) match() []string {
	spec := []string{"-i", x.in}
	if x.in == "" {
		spec = []string{"!", "-i", "lo"}
	}
	if x.quoted {
		spec = append(spec, "-p", map[bool]string{false: "icmp", true: "ipv6-icmp"}[x.v6()])
		for _, tests := range x.quote() {
			spec = append(spec, "-m", "u32", "--u32", strings.Join(tests, "&&"))
		}
	} else {
		if x.src.addr.IsValid() {
			spec = append(spec, "-s", host(x.src.addr))
		}
		if x.dst.addr.IsValid() {
			spec = append(spec, "-d", host(x.dst.addr))
		}
		spec = append(spec, "-p", "tcp")
		if x.src.addr.IsValid() {
			spec = append(spec, "--sport", x.src.ports())
		}
		if x.dst.addr.IsValid() {
			spec = append(spec, "--dport", x.dst.ports())
		}
	}
	if x.notLocal {
		spec = append(spec, "-m", "addrtype", "!", "--dst-type", "LOCAL")
	}
	return spec
}

// ports returns the ports of an end in the syntax of iptables and its match u32.
func (e end) ports() string {
	if e.first == e.last {
		return fmt.Sprint(e.first)
	}
	return fmt.Sprintf("%d:%d", e.first, e.last)
}

// Offsets in an ICMP error, in octets from the start of the ICMP header: the quoted packet, and in it, for either family,
// the protocol and the addresses. IPv4 also has a fragment offset.
const (
	quoteAt       = 8
	quoteOffset4  = quoteAt + 6
	quoteProto4   = quoteAt + 9
	quoteSrc4     = quoteAt + 12
	quoteDst4     = quoteAt + 16
	quoteProto6   = quoteAt + 6
	quoteSrc6     = quoteAt + 8
	quoteDst6     = quoteAt + 24
	ipv6Header    = 40
	protoTCP      = 6
	protoICMP     = 1
	protoICMPv6   = 58
	firstQuoting4 = 3 // unreachable, source quench, redirect
	lastQuoting4  = 5
	firstError4   = 11 // time exceeded, parameter problem
	lastError4    = 12
	firstError6   = 1 // unreachable, too big, time exceeded, parameter problem
	lastError6    = 4
)

// quote returns the tests of an ICMP error and its quote for the match u32 (iptables-extensions(8)). u32 adds the number
// before an @ to the offset, and takes at most ten tests at once. It recognises the ICMPv6 type only in packets without
// extension headers.
func (x *exclusion) quote() [][]string {
	if x.v6() {
		tests := []string{
			fmt.Sprintf("4>>8&0xFF=%d", protoICMPv6), fmt.Sprintf("%d>>24=%d:%d", ipv6Header, firstError6, lastError6),
			fmt.Sprintf("%d>>8&0xFF=%d", ipv6Header+quoteProto6-2, protoTCP),
		}
		tests = append(tests, x.quotedPorts(fmt.Sprint(2*ipv6Header+quoteAt))...)
		return append([][]string{tests}, append(x.src.words(ipv6Header+quoteSrc6), x.dst.words(ipv6Header+quoteDst6)...)...)
	}
	const icmp = "0>>22&0x3C@" // after the IPv4 header
	tests := []string{
		"4&0x1FFF=0", fmt.Sprintf("%s0>>24=%d:%d,%d:%d", icmp, firstQuoting4, lastQuoting4, firstError4, lastError4),
		fmt.Sprintf("%s%d&0x1FFF=0", icmp, quoteOffset4-2), fmt.Sprintf("%s%d>>16&0xFF=%d", icmp, quoteProto4-1, protoTCP),
	}
	for _, e := range []struct {
		end
		at int
	}{{x.src, quoteSrc4}, {x.dst, quoteDst4}} {
		if e.addr.IsValid() {
			tests = append(tests, fmt.Sprintf("%s%d=0x%x", icmp, e.at, e.addr.AsSlice()))
		}
	}
	return [][]string{append(tests, x.quotedPorts(icmp+fmt.Sprintf("%d>>22&0x3C@%d", quoteAt, quoteAt))...)}
}

// quotedPorts tests the ports of a quoted segment. at is the position of its TCP header.
func (x *exclusion) quotedPorts(at string) (tests []string) {
	if x.src.addr.IsValid() {
		tests = append(tests, at+">>16="+x.src.ports())
	}
	if x.dst.addr.IsValid() {
		tests = append(tests, at+"&0xFFFF="+x.dst.ports())
	}
	return tests
}

// words tests the four words of an IPv6 address.
func (e end) words(at int) [][]string {
	if !e.addr.IsValid() {
		return nil
	}
	var tests []string
	for a := e.addr.AsSlice(); len(a) > 0; a = a[4:] {
		tests = append(tests, fmt.Sprintf("%d=0x%x", at, a[:4]))
		at += 4
	}
	return [][]string{tests}
}
