package lists

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strings"
)

// What is expected in place of a network.
const (
	wantNetwork = "an IPv4 or IPv6 address or network, such as 192.0.2.1 or 2001:db8::/32"
	wantLength  = "the number of bits of the network's prefix"
)

// parseNetwork reads ADDRESS or ADDRESS/BITS. The address is as inet_pton(3) takes it: all four octets, no leading zeros,
// no name, no zone. With haproxy the bits may be an IPv4 mask, and host bits are ignored, as they are in HAProxy.
func parseNetwork(s string, haproxy bool) (netip.Prefix, *Problem) {
	text, length, hasLength := strings.Cut(s, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, &Problem{Expected: wantNetwork, Found: quote(s)}
	}
	n := addr.BitLen()
	if hasLength {
		if n = parseLength(length, addr, haproxy); n < 0 {
			return netip.Prefix{}, &Problem{Expected: fmt.Sprintf("%s, 0 to %d", wantLength, addr.BitLen()), Found: quote(s)}
		}
	}
	p := netip.PrefixFrom(addr, n)
	if addr.Is4In6() {
		return netip.Prefix{}, mapped(s, p)
	}
	masked := p.Masked()
	if masked != p && !haproxy {
		return netip.Prefix{}, &Problem{
			Expected: "a network without host bits", Found: quote(s),
			Reason: fmt.Sprintf("write %s for the network or %s for the address", masked, addr),
		}
	}
	return masked, nil
}

// mapped says why a network within ::ffff:0:0/96 would match nobody: such clients are IPv4 clients. Postfix compares in the
// same way, and is silent about it.
func mapped(s string, p netip.Prefix) *Problem {
	problem := &Problem{Expected: wantNetwork, Found: quote(s), Reason: "addresses of IPv4 are written as such"}
	if p.Bits() >= 96 {
		problem.Reason += fmt.Sprintf(": %s", netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked())
	}
	return problem
}

// parseLength returns the length of a prefix of addr's family, -1 if s is none.
func parseLength(s string, addr netip.Addr, haproxy bool) int {
	if haproxy && addr.Is4() && strings.Contains(s, ".") {
		return parseMask(s)
	}
	if s == "" || len(s) > 3 {
		return -1
	}
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	if n > addr.BitLen() {
		return -1
	}
	return n
}

// parseMask returns the number of ones of an IPv4 mask; -1 if s is none, or has a zero before a one.
func parseMask(s string) int {
	addr, err := netip.ParseAddr(s)
	if err != nil || !addr.Is4() {
		return -1
	}
	a := addr.As4()
	mask := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	ones := bits.LeadingZeros32(^mask)
	if ones < 32 && mask<<ones != 0 {
		return -1
	}
	return ones
}

// ParseNetwork reads an address or a network as it stands on a line of a file in that syntax. The error is a *Problem without
// file and line.
func ParseNetwork(s string, syntax Syntax) (netip.Prefix, error) {
	p, problem := parseNetwork(s, syntax == HAProxy)
	if problem != nil {
		return p, problem
	}
	return p, nil
}
