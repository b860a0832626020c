package capture

import (
	"encoding/binary"
	"fmt"
)

// LinkType says which link header a packet begins with: a LINKTYPE_ value of tcpdump.org's registry, 16 bits.
type LinkType uint16

// The link types that are supported.
const (
	LinkNull      LinkType = 0 // BSD loopback: the family in the writer's byte order
	LinkEthernet  LinkType = 1
	LinkPPP       LinkType = 9  // RFC 1661, with or without the address and control octets of RFC 1662
	LinkRawBSD    LinkType = 12 // some programs write this for LinkRaw
	LinkRawOther  LinkType = 14
	LinkPPPSerial LinkType = 50  // PPP in HDLC-like framing, or Cisco's HDLC
	LinkPPPoE     LinkType = 51  // packets of a PPPoE session, without Ethernet
	LinkRaw       LinkType = 101 // IPv4 or IPv6
	LinkHDLC      LinkType = 104 // Cisco's HDLC
	LinkLoop      LinkType = 108 // OpenBSD loopback: the family in network byte order
	LinkSLL       LinkType = 113 // Linux "any"
	LinkPPPD      LinkType = 166 // PPP, with a direction in place of the address octet
	LinkPPPDir    LinkType = 204 // a direction, then PPP
	LinkIPv4      LinkType = 228
	LinkIPv6      LinkType = 229
	LinkSLL2      LinkType = 276
)

// Lengths of headers in octets, and bounds for them.
const (
	sllHeader       = 16
	sll2Header      = 20
	ethernetHeader  = 14
	familyHeader    = 4
	hdlcHeader      = 4
	pppoeHeader     = 6
	vlanTag         = 4
	mplsEntry       = 4
	snapHeader      = 8
	maxTags         = 8 // for stacked VLAN tags, and for MPLS labels
	smallestIPv4Len = 20
)

// Ethernet types, and PPP protocol numbers.
const (
	typeIPv4  = 0x0800
	typeIPv6  = 0x86dd
	typePPPoE = 0x8864
	max8023   = 1500 // up to here the field is a length (IEEE 802.3)
	pppIPv4   = 0x0021
	pppIPv6   = 0x0057
)

// linkNames are the names of link types in messages.
var linkNames = map[LinkType]string{
	LinkNull: "loopback", LinkLoop: "loopback", LinkEthernet: "Ethernet", LinkRawBSD: "raw IP", LinkRawOther: "raw IP", LinkRaw: "raw IP",
	LinkIPv4: "raw IP", LinkIPv6: "raw IP", LinkSLL: "Linux cooked", LinkSLL2: "Linux cooked v2", LinkPPP: "PPP", LinkPPPSerial: "PPP",
	LinkPPPD: "PPP", LinkPPPDir: "PPP", LinkPPPoE: "PPPoE", LinkHDLC: "Cisco HDLC",

	6: "Token Ring", 7: "ARCNET", 8: "SLIP", 10: "FDDI", 100: "ATM", 105: "802.11", 107: "Frame Relay", 109: "OpenBSD enc", 117: "OpenBSD pflog",
	119: "802.11", 122: "IP over Fibre Channel", 123: "ATM", 127: "802.11", 129: "ARCNET", 163: "802.11", 187: "Bluetooth", 189: "USB", 192: "PPI",
	201: "Bluetooth", 220: "USB", 226: "Solaris IPNET", 239: "NFLOG", 240: "netANALYZER", 249: "USB", 253: "netlink", 254: "Bluetooth",
}

// String returns the name of the link type.
func (l LinkType) String() string {
	if name, known := linkNames[l]; known {
		return name
	}
	return fmt.Sprintf("link type %d", uint16(l))
}

// supported returns nil if the link type is supported, and otherwise the reason.
func (l LinkType) supported() error {
	switch l {
	case LinkNull, LinkEthernet, LinkPPP, LinkRawBSD, LinkRawOther, LinkPPPSerial, LinkPPPoE, LinkRaw, LinkHDLC, LinkLoop, LinkSLL, LinkPPPD,
		LinkPPPDir, LinkIPv4, LinkIPv6, LinkSLL2:
		return nil
	}
	name, known := linkNames[l]
	if name == "802.11" {
		return fmt.Errorf("link type %d is 802.11, whose packets may be encrypted or in pieces: capture on the wired side of the access point", l)
	}
	if known {
		name = " (" + name + ")"
	}
	return fmt.Errorf("link type %d%s is not supported: expected Ethernet (1), raw IP (12, 14, 101, 228, 229), loopback (0, 108), "+
		"Linux cooked (113, 276), PPP (9, 50, 166, 204), PPPoE (51) or Cisco HDLC (104)", l, name)
}

// ip returns the IP packet in a packet of this link type, as far as it was captured. If there is none, Cargo says what there
// is.
func (l LinkType) ip(b []byte) ([]byte, Cargo) {
	switch l {
	case LinkEthernet:
		if len(b) < ethernetHeader {
			return nil, cargoCutOff
		}
		return ethernet(binary.BigEndian.Uint16(b[12:]), b[ethernetHeader:])
	case LinkSLL:
		if len(b) < sllHeader {
			return nil, cargoCutOff
		}
		return ethernet(binary.BigEndian.Uint16(b[14:]), b[sllHeader:])
	case LinkSLL2:
		if len(b) < sll2Header {
			return nil, cargoCutOff
		}
		return ethernet(binary.BigEndian.Uint16(b), b[sll2Header:])
	case LinkNull, LinkLoop: // the family's numbers depend on the system: use the IP version
		if len(b) < familyHeader {
			return nil, cargoCutOff
		}
		return byVersion(b[familyHeader:])
	case LinkPPP, LinkPPPSerial, LinkPPPD, LinkPPPDir, LinkPPPoE, LinkHDLC:
		return l.pointToPoint(b)
	case LinkRawBSD, LinkRawOther, LinkRaw, LinkIPv4, LinkIPv6:
		return byVersion(b)
	}
	return nil, cargoLink | Cargo(l)
}

// ethernet returns what follows an Ethernet type. It removes VLAN tags (IEEE 802.1Q, 802.1ad and older ones), MPLS labels (RFC
// 3032), and the headers of PPPoE (RFC 2516) and SNAP (RFC 1042).
func ethernet(kind uint16, b []byte) ([]byte, Cargo) {
	for range maxTags {
		switch {
		case kind == typeIPv4, kind == typeIPv6:
			return byVersion(b)
		case kind == typePPPoE:
			return pppoe(b)
		case kind == 0x8847, kind == 0x8848:
			return mpls(b)
		case kind <= max8023 && len(b) >= snapHeader && isSNAP(b):
			kind, b = binary.BigEndian.Uint16(b[6:]), b[snapHeader:]
		case kind == 0x8100, kind == 0x88a8, kind == 0x9100, kind == 0x9200:
			if len(b) < vlanTag {
				return nil, cargoCutOff
			}
			kind, b = binary.BigEndian.Uint16(b[2:]), b[vlanTag:]
		case kind <= max8023:
			return nil, cargoLLC
		default:
			return nil, cargoEther | Cargo(kind)
		}
	}
	return nil, cargoEther | Cargo(kind)
}

// isSNAP reports whether an 802.2 header is followed by an Ethernet type (RFC 1042, IEEE 802.1H).
func isSNAP(b []byte) bool {
	return b[0] == 0xaa && b[1] == 0xaa && b[2] == 3 && b[3] == 0 && b[4] == 0 && (b[5] == 0 || b[5] == 0xf8)
}

func mpls(b []byte) ([]byte, Cargo) {
	const bottom = 1 // the bottom-of-stack bit, in the third octet of an entry
	for range maxTags {
		if len(b) < mplsEntry {
			return nil, cargoCutOff
		}
		last := b[2]&bottom != 0
		if b = b[mplsEntry:]; last {
			return byVersion(b)
		}
	}
	return nil, cargoEther | 0x8847
}

func byVersion(b []byte) ([]byte, Cargo) {
	switch {
	case len(b) > 0 && b[0]>>4 != 4 && b[0]>>4 != 6:
		return nil, cargoNoIP
	case len(b) < smallestIPv4Len:
		return nil, cargoCutOff
	}
	return b, cargoIP
}
