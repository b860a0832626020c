package capture

import "encoding/binary"

// The first octets of PPP in HDLC-like framing (RFC 1662 section 3.1): all stations, unnumbered information.
const (
	hdlcAddress = 0xff
	hdlcControl = 0x03
)

// pointToPoint returns what a link with two ends carried.
func (l LinkType) pointToPoint(b []byte) ([]byte, Cargo) {
	switch l {
	case LinkPPPoE:
		return pppoe(b)
	case LinkHDLC:
		return ciscoHDLC(b)
	case LinkPPPSerial:
		if len(b) > 0 && (b[0] == 0x0f || b[0] == 0x8f) { // Cisco's unicast or multicast
			return ciscoHDLC(b)
		}
	case LinkPPPD: // the address octet is a direction
		if len(b) >= 2 && b[1] == hdlcControl {
			return ppp(b[2:])
		}
	case LinkPPPDir:
		return ppp(b[min(1, len(b)):])
	default: // plain PPP
	}
	return ppp(b)
}

// ppp decodes the protocol number, which has one octet if both ends agreed to compress it (RFC 1661 section 6.5).
func ppp(b []byte) ([]byte, Cargo) {
	if len(b) >= 2 && b[0] == hdlcAddress && b[1] == hdlcControl {
		b = b[2:]
	}
	if len(b) < 2 {
		return nil, cargoCutOff
	}
	kind, size := binary.BigEndian.Uint16(b), 2
	if b[0]&1 != 0 { // the first octet of two is even
		kind, size = uint16(b[0]), 1
	}
	switch b = b[size:]; kind {
	case pppIPv4, pppIPv6:
		return byVersion(b)
	case 0x0281, 0x0283:
		return mpls(b)
	}
	return nil, cargoPPP | Cargo(kind)
}

// pppoe decodes a PPPoE header (RFC 2516 section 4). Only packets of sessions carry data; the others have a code.
func pppoe(b []byte) ([]byte, Cargo) {
	if len(b) < pppoeHeader {
		return nil, cargoCutOff
	}
	if b[1] != 0 {
		return nil, cargoEther | 0x8863
	}
	return ppp(b[pppoeHeader:])
}

func ciscoHDLC(b []byte) ([]byte, Cargo) {
	if len(b) < hdlcHeader {
		return nil, cargoCutOff
	}
	return ethernet(binary.BigEndian.Uint16(b[2:]), b[hdlcHeader:])
}
