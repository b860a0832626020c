package wire

import "github.com/google/gopacket/layers"

// maxExtensions is how many extension headers of an IPv6 packet are looked behind. RFC 8200 section 4.1 has no use for
// more than six before TCP.
const maxExtensions = 8

// walk6 finds the upper layer of an IPv6 packet that begins at offset at of data and ends with it: its offset and
// protocol. The kind is KindTCP if there is one, whatever the protocol; else it says why not (RFC 8200 section 4):
// hop-by-hop options stand first or not at all; a routing header that has segments left names somebody else as the
// destination; a fragment's rest is elsewhere, unless it is atomic (RFC 6946).
// An option that nobody knows and whose type says that the packet is then to be dropped (section 4.2) has that done.
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

// skippable walks the options of a header; false if one of them leads out of it, or does not let who does not know it
// skip over it: the two upper bits of its type say so. The jumbo payload (RFC 2675) is among those; TCP in it is not served.
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
