package wire

import "encoding/binary"

// vnetGSOSize is the offset, in struct virtio_net_hdr, of the payload size of a super-frame's segments, in host byte order.
const vnetGSOSize = 4

// Overhead returns the length of a segment's packet without TCP options and payload: IP header, IPv4 options or IPv6 extension
// headers, and the fixed part of the TCP header. Overhead and MSS add up to the MTU.
func (s *Segment) Overhead() int { return len(s.ip) + tcpMinLen }

// Size returns what the receiver's MSS bounds: the length of TCP options and payload (RFC 6691). For a super-frame it is the
// size of the segments that it stands for.
func (s *Segment) Size() int {
	n := len(s.tcp) - tcpMinLen
	if s.SuperFrame() {
		n = min(n, n-len(s.Payload)+int(binary.NativeEndian.Uint16(s.frame[vnetGSOSize:])))
	}
	return n
}

// Resegment makes the kernel cut a super-frame into segments of at most size, which must leave room for payload.
func (s *Segment) Resegment(size int) {
	options := len(s.tcp) - tcpMinLen - len(s.Payload)
	binary.NativeEndian.PutUint16(s.frame[vnetGSOSize:], uint16(size-options))
}

// DontFragment reports whether routers must not fragment the packet, but report to its sender that it is too big. For IPv6 this
// is always so.
func (s *Segment) DontFragment() bool {
	const dontFragment = 0x40
	return s.v6 || s.ip[6]&dontFragment != 0
}

// The smallest MTUs: every host must accept packets of this size, and no sender goes below (RFC 791 section 3.1, RFC 8200
// section 5).
const (
	minMTU4 = 576
	minMTU6 = 1280
)

// MinMTU is the smallest MTU that a sender of the segment's family accepts from an ICMP error.
func (s *Segment) MinMTU() int {
	if s.v6 {
		return minMTU6
	}
	return minMTU4
}

// AppendTooBig appends to dst the frame, with zero link addresses, of an error that tells the sender that its segment is too
// big for a path with that MTU: ICMP "fragmentation needed" (RFC 1191 section 4) or ICMPv6 "packet too big" (RFC 4443
// section 3.2). It quotes as much of the packet as fits into an error of the smallest MTU (RFC 1812 section 4.3.2.3). A
// super-frame cannot be quoted, because it never was a packet.
func (s *Segment) AppendTooBig(dst []byte, from Addr, mtu int) []byte {
	if s.v6 {
		return s.appendTooBig6(dst, from, mtu)
	}
	const internetControl = 0xc0 // the precedence of errors (RFC 1812 section 4.3.2.5)
	quote := s.quote(minMTU4 - ip4MinLen - icmpHeader)
	at := len(dst)
	dst = appendLink(dst, EtherTypeIPv4)
	dst = append(dst, 4<<4|ip4MinLen/4, internetControl, 0, 0, 0, 0, 0, 0, hops, protoICMP4, 0, 0)
	dst = append(append(dst, from.IP()...), s.Src.IP()...)
	icmpAt := len(dst)
	dst = append(dst, icmp4Unreachable, icmp4FragmentationNeeded, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(mtu))
	dst = append(append(dst, quote[0]...), quote[1]...)
	ip := dst[at+PacketAt:]
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	reseal4(ip[:ip4MinLen])
	binary.BigEndian.PutUint16(dst[icmpAt+icmpChecksum:], ^fold(sum(0, dst[icmpAt:])))
	return dst
}

func (s *Segment) appendTooBig6(dst []byte, from Addr, mtu int) []byte {
	quote := s.quote(minMTU6 - ip6Len - icmpHeader)
	dst = appendLink(dst, EtherTypeIPv6)
	dst = append(dst, 6<<4, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(icmpHeader+len(quote[0])+len(quote[1])))
	dst = append(dst, protoICMP6, hops)
	dst = append(append(dst, from.IP()...), s.Src.IP()...)
	icmpAt := len(dst)
	dst = append(dst, icmp6TooBig, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(mtu))
	dst = append(append(dst, quote[0]...), quote[1]...)
	icmp := dst[icmpAt:]
	c := ^fold(sum(pseudo(from.IP(), s.Src.IP(), protoICMP6, len(icmp)), icmp))
	binary.BigEndian.PutUint16(icmp[icmpChecksum:], c)
	return dst
}

// quote returns the beginning of the packet in two pieces, at most most octets.
func (s *Segment) quote(most int) [2][]byte {
	ip := s.ip[:min(len(s.ip), most)]
	return [2][]byte{ip, s.tcp[:min(len(s.tcp), most-len(ip))]}
}

func appendLink(dst []byte, etherType uint16) []byte {
	var link [PacketAt]byte
	binary.BigEndian.PutUint16(link[PacketAt-2:], etherType)
	return append(dst, link[:]...)
}
