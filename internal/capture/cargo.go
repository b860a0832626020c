package capture

import "fmt"

// Cargo says what a link carried: an IP packet or something else. The upper bits say what kind of number the lower 16 bits are.
type Cargo uint32

// The kinds of numbers, and the values without a number.
const (
	cargoIP     Cargo = iota
	cargoCutOff       // too little was captured, or the packet is too short, to tell
	cargoNoIP         // declared as IP, but of neither version
	cargoLLC          // IEEE 802.2 without SNAP
	cargoOther        // beyond the number of kinds that are counted separately

	cargoEther Cargo = 1 << 16 // an Ethernet type
	cargoPPP   Cargo = 2 << 16 // a PPP protocol number
	cargoLink  Cargo = 3 << 16 // a link type that is not supported
)

var cargoNames = map[Cargo]string{
	cargoCutOff: "truncated before the end of the IP header", cargoNoIP: "neither IPv4 nor IPv6", cargoLLC: "802.2 LLC (spanning tree and others)",
	cargoOther: "others",

	cargoEther | 0x0806: "ARP", cargoEther | 0x8035: "RARP", cargoEther | 0x8863: "PPPoE discovery", cargoEther | 0x88cc: "LLDP",
	cargoEther | 0x88e5: "MACsec (encrypted, or not decoded)", cargoEther | 0x888e: "802.1X", cargoEther | 0x8809: "LACP and other slow protocols",
	cargoEther | 0x8847: "MPLS without IP", cargoEther | 0x8848: "MPLS without IP", cargoEther | 0x9000: "Ethernet loopback test",
	cargoEther | 0x894f: "NSH", cargoEther | 0x6558: "Ethernet in a tunnel", cargoEther | 0x88f7: "PTP", cargoEther | 0x8906: "Fibre Channel",

	cargoPPP | 0x002d: "TCP with compressed headers (RFC 1144): not supported", cargoPPP | 0x002f: "TCP with headers to be compressed (RFC 1144): not supported",
	cargoPPP | 0x003d: "PPP multilink: not supported", cargoPPP | 0x0053: "encrypted PPP", cargoPPP | 0x00fd: "compressed PPP: not supported",
	cargoPPP | 0xc021: "PPP LCP", cargoPPP | 0xc023: "PPP PAP", cargoPPP | 0xc025: "PPP LQR", cargoPPP | 0xc223: "PPP CHAP",
	cargoPPP | 0x8021: "PPP IPCP", cargoPPP | 0x8057: "PPP IPv6CP", cargoPPP | 0x80fd: "PPP CCP",
}

// String returns the name for messages.
func (c Cargo) String() string {
	if name, known := cargoNames[c]; known {
		return name
	}
	n := uint16(c)
	switch c &^ 0xffff {
	case cargoEther:
		return fmt.Sprintf("Ethernet type 0x%04x", n)
	case cargoPPP:
		return fmt.Sprintf("PPP protocol 0x%04x", n)
	case cargoLink:
		if l := LinkType(n); linkNames[l] != "" {
			return fmt.Sprintf("%s (link type %d): not supported", l, n)
		}
		return fmt.Sprintf("link type %d: not supported", n)
	default:
		return "IP"
	}
}

// maxCargoes bounds the number of kinds that are counted separately.
const maxCargoes = 64

// Cargoes counts packets by what the link carried.
type Cargoes map[Cargo]int

func (c Cargoes) add(what Cargo) {
	if _, known := c[what]; !known && len(c) >= maxCargoes {
		what = cargoOther
	}
	c[what]++
}
