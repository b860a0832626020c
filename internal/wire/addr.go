package wire

import "net/netip"

// Addr is an IPv4 or IPv6 address in 16 octets, network byte order, IPv4 in its mapped form ::ffff:a.b.c.d. It has no pointer
// and no zone, so that the garbage collector need not scan flow records for it.
type Addr [16]byte

var mappedPrefix = [12]byte{10: 0xff, 11: 0xff}

// AddrFrom converts an address of the standard library and drops its zone.
func AddrFrom(a netip.Addr) Addr { return a.As16() }

// AddrFrom4 converts four bytes in network byte order.
func AddrFrom4(b []byte) (a Addr) {
	copy(a[:12], mappedPrefix[:])
	copy(a[12:], b[:4])
	return a
}

// AddrFrom16 converts sixteen bytes in network byte order.
func AddrFrom16(b []byte) (a Addr) {
	copy(a[:], b[:16])
	return a
}

// Is4 reports whether a is an IPv4 address.
func (a Addr) Is4() bool { return [12]byte(a[:12]) == mappedPrefix }

// IP returns the address's octets: four for IPv4, sixteen for IPv6. The slice refers to a.
func (a *Addr) IP() []byte {
	if a.Is4() {
		return a[12:]
	}
	return a[:]
}

// Netip converts to the standard library's type, IPv4 unmapped.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// String returns the usual text form.
func (a Addr) String() string { return a.Netip().String() }

// Usable reports whether a may be the address of a TCP peer: not unspecified, loopback, multicast or broadcast
// (RFC 1122 section 3.2.1.3, RFC 4291 section 2.7).
func (a Addr) Usable() bool {
	n := a.Netip()
	return !n.IsUnspecified() && !n.IsLoopback() && !n.IsMulticast() && n != netip.AddrFrom4([4]byte{255, 255, 255, 255}) &&
		!(n.Is4() && n.As4()[0] == 0)
}
