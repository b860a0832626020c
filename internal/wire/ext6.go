package wire

import "github.com/google/gopacket/layers"

// maxExtensions is how many extension headers of an IPv6 packet are decoded. RFC 8200 section 4.1 needs no more than six before
// TCP.
const maxExtensions = 8

// walk6 returns the offset and the protocol of the upper layer of an IPv6 packet, which begins at offset at of data and ends
// with it. The kind is KindTCP if there is an upper layer, whatever its protocol. Otherwise it is the reason (RFC 8200 section
// 4): hop-by-hop options are not the first header; a routing header has segments left, so that the packet has another
// destination; the packet is a fragment and not an atomic one (RFC 6946); or an unknown option demands by its type that the
// packet be dropped (section 4.2).
func walk6(data []byte, at int) (upper int, next uint8, kind Kind) {
	const (
		hopByHop, routing  = uint8(layers.IPProtocolIPv6HopByHop), uint8(layers.IPProtocolIPv6Routing)
		fragment, destOpts = uint8(layers.IPProtocolIPv6Fragment), uint8(layers.IPProtocolIPv6Destination)
	)
	upper, next = at+ip6Len, data[at+ip6Next]
	for n := 0; ; n++ {
		if next != hopByHop && next != routing && next != fragment && next != destOpts {
			return upper, next, KindTCP
		}
		h := data[upper:]
		if len(h) < 8 {
			return 0, 0, KindShort
		}
		size := 8 * (int(h[1]) + 1)
		switch {
		case n == maxExtensions, next == hopByHop && n > 0:
			return 0, 0, KindExtension
		case next == routing && h[3] != 0: // segments left
			return 0, 0, KindExtension
		case next == fragment && be16(h, 2)&^6 != 0: // offset and M; two bits are reserved
			return 0, 0, KindFragment
		case next == fragment:
			size = 8 // its second octet is reserved
		}
		if size > len(h) {
			return 0, 0, KindShort
		}
		if (next == hopByHop || next == destOpts) && !skippable(h[2:size]) {
			return 0, 0, KindExtension
		}
		upper, next = upper+size, h[0]
	}
}

// skippable reports whether all options of a header may be skipped. An option may not if it exceeds the header, or if the two
// upper bits of its type forbid to skip it. The jumbo payload (RFC 2675) is such an option; jumbograms are not supported.
func skippable(options []byte) bool {
	const pad1 = 0
	for len(options) > 0 {
		if options[0] == pad1 {
			options = options[1:]
			continue
		}
		if options[0]&0xc0 != 0 || len(options) < 2 || len(options) < 2+int(options[1]) {
			return false
		}
		options = options[2+int(options[1]):]
	}
	return true
}
