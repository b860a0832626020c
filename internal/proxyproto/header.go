package proxyproto

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// Version is the version of the header.
type Version uint8

// The versions.
const (
	None Version = iota // no header
	V1                  // a line of text (section 2.1)
	V2                  // binary (section 2.2)
)

// MaxLen is the length of the longest header of version 1: section 2.1 counts 104 octets for two IPv6 addresses, and 107 for
// a line of any kind, CRLF included. It fits into one segment of any TCP (RFC 9293 section 3.7.1).
const MaxLen = 107

// signature begins a header of version 2.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// The octets after the signature of version 2: version and command, then address family and protocol.
const (
	v2Local, v2Proxy = 0x20, 0x21
	tcp4, tcp6       = 0x11, 0x21
)

// Append appends the header for a client's connection to a service; both addresses must be of the same family.
func (v Version) Append(b []byte, client, service netip.AddrPort) []byte {
	switch v {
	case V1:
		return appendV1(b, client, service)
	case V2:
		return appendV2(b, client, service)
	case None:
	}
	return b
}

func appendV1(b []byte, client, service netip.AddrPort) []byte {
	b = append(b, "PROXY TCP4 "...)
	if client.Addr().Is6() {
		b[len(b)-2] = '6'
	}
	b = append(client.Addr().AppendTo(b), ' ')
	b = append(service.Addr().AppendTo(b), ' ')
	b = append(strconv.AppendUint(b, uint64(client.Port()), 10), ' ')
	return append(strconv.AppendUint(b, uint64(service.Port()), 10), "\r\n"...)
}

func appendV2(b []byte, client, service netip.AddrPort) []byte {
	b = append(b, signature...)
	if client.Addr().Is4() {
		c, s := client.Addr().As4(), service.Addr().As4()
		b = append(b, v2Proxy, tcp4, 0, 4+4+2+2)
		b = append(append(b, c[:]...), s[:]...)
	} else {
		c, s := client.Addr().As16(), service.Addr().As16()
		b = append(b, v2Proxy, tcp6, 0, 16+16+2+2)
		b = append(append(b, c[:]...), s[:]...)
	}
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, client.Port()), service.Port())
}

// AppendLocal appends the header for a connection of the sender itself, such as a health check. In version 2 it is LOCAL. In
// version 1 it names the two ends of the connection, as HAProxy does, because Postfix (3.7) refuses UNKNOWN. UNKNOWN is used
// only if the ends are not known.
func (v Version) AppendLocal(b []byte, from, to netip.AddrPort) []byte {
	switch v {
	case V1:
		if from.IsValid() && to.IsValid() {
			return appendV1(b, from, to)
		}
		return append(b, "PROXY UNKNOWN\r\n"...)
	case V2:
		return append(append(b, signature...), v2Local, 0, 0, 0)
	case None:
	}
	return b
}
