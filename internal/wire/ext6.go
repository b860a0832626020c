package wire

import "github.com/google/gopacket/layers"

// maxExtensions is how many extension headers of an IPv6 packet are looked behind. RFC 8200 section 4.1 has no use for
// more than six before TCP.
const maxExtensions = 8

// walk6 finds the upper layer of an IPv6 packet that begins at offset at of data and ends with it: its offset and
// protocol. The kind is KindTCP if there is one, whatever the protocol; else it says why not (RFC 8200 section 4):
// hop-by-hop options stand first or not at all; a routing header that has segments left names somebody else as the
// destination (and RFC 5095 bans type 0 altogether); a fragment's rest is elsewhere, unless it is atomic (RFC 6946).
// Options are not looked at: those that a router or destination must know are not for TCP.
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
		case next == routing && (h[2] == 0 || h[3] != 0): // type, segments left
			return 0, 0, KindExtension
		case next == fragment && be16(h, 2)&^6 != 0: // offset and M; two bits are reserved
			return 0, 0, KindFragment
		case next == fragment:
			size = 8 // its second octet is reserved
		}
		if size > len(h) {
			return 0, 0, KindShort
		}
		upper, next = upper+size, h[0]
	}
}
