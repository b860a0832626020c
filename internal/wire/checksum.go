package wire

import "encoding/binary"

// sum adds the 16-bit words of b to the running ones' complement sum s (RFC 1071); an odd last octet is padded with zero. The
// result is not folded.
func sum(s uint64, b []byte) uint64 {
	for len(b) >= 8 {
		v := binary.BigEndian.Uint64(b)
		s += v>>32 + v&0xffffffff
		b = b[8:]
	}
	for len(b) >= 2 {
		s += uint64(b[0])<<8 | uint64(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

// fold reduces a running sum to 16 bits by adding the carries.
func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// pseudo returns the unfolded sum of the pseudo-header for an upper-layer packet of length octets: RFC 9293 section 3.1 for
// IPv4, RFC 8200 section 8.1 for IPv6. The sum is the same function of the fields in both.
func pseudo(src, dst []byte, proto uint8, length int) uint64 {
	return sum(sum(0, src), dst) + uint64(proto) + uint64(length)
}

// checksum16 updates the Internet checksum old for changed octets (RFC 1624 equation 3: HC' = ~(~HC + ~m + m')). Delta is the
// unfolded sum of ~m and m'; the callers compute ~m by minus.
func checksum16(old uint16, delta uint64) uint16 { return ^fold(uint64(^old) + delta) }

// minus is the ones' complement of the sum of the 16-bit words m: adding it removes them from a sum.
func minus(m uint64) uint64 { return uint64(^fold(m)) }
