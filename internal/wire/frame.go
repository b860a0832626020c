package wire

import (
	"encoding/binary"
	"math"
)

// Lengths of the headers at the beginning of every frame.
const (
	VnetLen     = 10                    // struct virtio_net_hdr without num_buffers
	EthernetLen = 14                    // without VLAN tag
	PacketAt    = VnetLen + EthernetLen // where the IP header begins
	MaxFrame    = PacketAt + 65535      // a super-frame: an IP packet of the largest possible length
)

// Ethernet types that hushgate handles.
const (
	EtherTypeIPv4 = 0x0800
	EtherTypeIPv6 = 0x86dd
)

// Side is the side of the gateway that a frame comes from or goes to. It is a set: on a one-armed gateway an interface is both.
type Side uint8

// The two sides, and both at once.
const (
	Outside Side = 1 << iota // towards the clients
	Inside                   // towards the servers
	Both    = Outside | Inside
)

// Has reports whether s includes t.
func (s Side) Has(t Side) bool { return s&t != 0 }

// String returns the name of the side.
func (s Side) String() string {
	switch s {
	case Outside:
		return "outside"
	case Inside:
		return "inside"
	case Both:
		return "outside and inside"
	}
	return "nowhere"
}

// SetEthernet writes the link addresses of a frame (6 octets each) and keeps its Ethernet type.
func SetEthernet(frame []byte, dst, src [6]byte) {
	copy(frame[VnetLen:], dst[:])
	copy(frame[VnetLen+6:], src[:])
}

// AppendPacket appends to dst the frame of an IP packet, with zero link addresses. Valid marks its TCP checksum as verified. An
// IPv4 header checksum of 0, left to the sender's hardware, is filled in.
func AppendPacket(dst, packet []byte, valid bool) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, PacketAt)...)
	if valid {
		dst[at+vnetFlags] = vnetDataValid
	}
	kind := uint16(EtherTypeIPv4)
	if packet[0]>>4 == 6 {
		kind = EtherTypeIPv6
	}
	binary.BigEndian.PutUint16(dst[at+PacketAt-2:], kind)
	dst = append(dst, packet...)
	if ip := dst[at+PacketAt:]; kind == EtherTypeIPv4 && len(ip) >= ip4MinLen && be16(ip, 10) == 0 {
		SealIPv4(ip)
	}
	return dst
}

// SealIPv4 writes the header checksum of an IPv4 packet, if its header is complete.
func SealIPv4(packet []byte) {
	if n := int(packet[0]&0x0f) * 4; n >= ip4MinLen && n <= len(packet) {
		binary.BigEndian.PutUint16(packet[10:], 0)
		binary.BigEndian.PutUint16(packet[10:], ^fold(sum(0, packet[:n])))
	}
}

// IPv4Sealed reports whether an IPv4 packet has a complete header with a correct checksum.
func IPv4Sealed(packet []byte) bool {
	n := int(packet[0]&0x0f) * 4
	return n >= ip4MinLen && n <= len(packet) && fold(sum(0, packet[:n])) == 0xffff
}

// SetIPLength writes the length of an IP packet in octets, header included; false if the header's field is too small for it. It
// does not update an IPv4 header checksum: see SealIPv4.
func SetIPLength(packet []byte, n int) bool {
	field := packet[2:]
	if packet[0]>>4 == 6 {
		field, n = packet[4:], n-ip6Len
	}
	if n < 0 || n > math.MaxUint16 {
		return false
	}
	binary.BigEndian.PutUint16(field, uint16(n))
	return true
}
