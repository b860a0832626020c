package capture

import (
	"encoding/binary"
	"fmt"
)

// LinkType is what a packet begins with: a LINKTYPE_ value of tcpdump.org's registry, 16 bits.
type LinkType uint16

// The link types that are read.
const (
	LinkNull     LinkType = 0 // BSD loopback: the family in the writer's byte order
	LinkEthernet LinkType = 1
	LinkRawBSD   LinkType = 12 // what some write for LinkRaw
	LinkRawOther LinkType = 14
	LinkRaw      LinkType = 101 // IPv4 or IPv6
	LinkLoop     LinkType = 108 // OpenBSD loopback: the family in network byte order
	LinkSLL      LinkType = 113 // Linux "any"
	LinkIPv4     LinkType = 228
	LinkIPv6     LinkType = 229
	LinkSLL2     LinkType = 276
)

// Radio link types, which have a word of their own.
const (
	link80211       LinkType = 105
	link80211Prism  LinkType = 119
	link80211Radio  LinkType = 127
	link80211AVS    LinkType = 163
	sllHeader                = 16
	sll2Header               = 20
	ethernetHeader           = 14
	familyHeader             = 4
	typeIPv4                 = 0x0800
	typeIPv6                 = 0x86dd
	maxTags                  = 4 // of VLANs in VLANs
	smallestIPv4Len          = 20
)

func (l LinkType) supported() error {
	switch l {
	case LinkNull, LinkEthernet, LinkRawBSD, LinkRawOther, LinkRaw, LinkLoop, LinkSLL, LinkIPv4, LinkIPv6, LinkSLL2:
		return nil
	case link80211, link80211Prism, link80211Radio, link80211AVS:
		return fmt.Errorf("link type %d is 802.11, whose packets may be encrypted or in pieces: capture behind the access point", l)
	}
	return fmt.Errorf("link type %d is not read: expected Ethernet (1), raw IP (12, 14, 101, 228, 229), loopback (0, 108) or "+
		"Linux cooked (113, 276)", l)
}

// ip returns the IP packet in what a link carried, as far as it was kept; false if it carried something else.
func (l LinkType) ip(b []byte) ([]byte, bool) {
	switch l {
	case LinkEthernet:
		if len(b) < ethernetHeader {
			return nil, false
		}
		return untag(binary.BigEndian.Uint16(b[12:]), b[ethernetHeader:])
	case LinkSLL:
		if len(b) < sllHeader {
			return nil, false
		}
		return untag(binary.BigEndian.Uint16(b[14:]), b[sllHeader:])
	case LinkSLL2:
		if len(b) < sll2Header {
			return nil, false
		}
		return untag(binary.BigEndian.Uint16(b), b[sll2Header:])
	case LinkNull, LinkLoop: // families have other numbers on every system: the version tells
		if len(b) < familyHeader {
			return nil, false
		}
		b = b[familyHeader:]
	default: // raw IP of all kinds
	}
	return byVersion(b)
}

// untag takes the tags of VLANs off (IEEE 802.1Q, 802.1ad, and what there was before it).
func untag(kind uint16, b []byte) ([]byte, bool) {
	for range maxTags {
		switch kind {
		case typeIPv4, typeIPv6:
			return byVersion(b)
		case 0x8100, 0x88a8, 0x9100, 0x9200:
			if len(b) < 4 {
				return nil, false
			}
			kind, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		default:
			return nil, false
		}
	}
	return nil, false
}

func byVersion(b []byte) ([]byte, bool) {
	return b, len(b) >= smallestIPv4Len && (b[0]>>4 == 4 || b[0]>>4 == 6)
}
