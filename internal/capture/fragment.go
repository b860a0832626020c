package capture

import (
	"encoding/binary"

	"hushgate/internal/wire"
)

// Fields in the headers of fragments, and their offsets.
const (
	ip6Header       = 40
	fragmentHeader6 = 8
	smallestTCP     = 20
	moreFragments4  = 0x2000 // of the 16 bits at octet 6 of an IPv4 header
	offsetMask4     = 0x1fff // in units of 8 octets
	offsetMask6     = 0xfff8 // of the 16 bits at octet 2 of a fragment header: in octets
	moreFragments6  = 1
	maxExtensions6  = 8

	protoHopByHop, protoTCP, protoRouting, protoFragment, protoDestination = 0, 6, 43, 44, 60
)

// fragment4 decodes an IPv4 fragment; false if the packet is not a fragment.
func fragment4(ip []byte) (f fragment, is bool) {
	word := binary.BigEndian.Uint16(ip[6:])
	n := int(ip[0]&0x0f) * 4
	if word&(moreFragments4|offsetMask4) == 0 || n < smallestIPv4Len || n > len(ip) {
		return f, false
	}
	f.key = fragmentKey{wire.AddrFrom4(ip[12:16]), wire.AddrFrom4(ip[16:20]), uint32(binary.BigEndian.Uint16(ip[4:])), ip[9]}
	f.at, f.more = int(word&offsetMask4)*8, word&moreFragments4 != 0
	f.header, f.data = ip[:n], ip[n:]
	return f, true
}

// whole4 builds a reassembled IPv4 packet.
func whole4(header, data []byte) []byte {
	packet := append(append(make([]byte, 0, len(header)+len(data)), header...), data...)
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	binary.BigEndian.PutUint16(packet[6:], 0)
	wire.SealIPv4(packet)
	return packet
}

// fragment6 decodes an IPv6 fragment; false if the packet is not a fragment, or is an atomic one (RFC 6946), which is a
// whole packet. The fragment's header is that of the reassembled packet. Good is false for a fragment that a receiver drops
// by itself (RFC 8200 section 4.5): its length is not a multiple of 8 although it is not the last; it exceeds the largest
// packet; or it is the first and lacks some of the headers.
func fragment6(ip []byte) (f fragment, is, good bool) {
	next, nextAt, at := ip[6], 6, ip6Header
	for n := 0; next != protoFragment; n++ {
		if n == maxExtensions6 || next != protoHopByHop && next != protoRouting && next != protoDestination || len(ip) < at+8 {
			return f, false, false
		}
		size := 8 * (int(ip[at+1]) + 1)
		next, nextAt, at = ip[at], at, at+size
	}
	if len(ip) < at+fragmentHeader6 {
		return f, false, false
	}
	h := ip[at:]
	word := binary.BigEndian.Uint16(h[2:])
	if word&(offsetMask6|moreFragments6) == 0 {
		return f, false, false
	}
	f.key = fragmentKey{src: wire.AddrFrom16(ip[8:24]), dst: wire.AddrFrom16(ip[24:40]), id: binary.BigEndian.Uint32(h[4:])}
	f.at, f.more = int(word&offsetMask6), word&moreFragments6 != 0
	f.header, f.data = append([]byte(nil), ip[:at]...), h[fragmentHeader6:]
	f.header[nextAt] = h[0]
	good = f.at+len(f.data) <= maxIPPacket && (!f.more || len(f.data)%8 == 0)
	return f, true, good && (f.at > 0 || headersWhole(h[0], f.data))
}

// headersWhole reports whether the data of a first fragment has all headers, up to the first 20 octets of TCP's.
func headersWhole(next byte, data []byte) bool {
	for range maxExtensions6 {
		switch next {
		case protoTCP:
			return len(data) >= smallestTCP
		case protoHopByHop, protoRouting, protoDestination:
		default:
			return len(data) > 0
		}
		if len(data) < 8 {
			return false
		}
		size := 8 * (int(data[1]) + 1)
		if size > len(data) {
			return false
		}
		next, data = data[0], data[size:]
	}
	return true
}

// whole6 builds a reassembled IPv6 packet.
func whole6(header, data []byte) []byte {
	packet := append(append(make([]byte, 0, len(header)+len(data)), header...), data...)
	binary.BigEndian.PutUint16(packet[4:], uint16(len(packet)-ip6Header))
	return packet
}
