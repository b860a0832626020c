package wire

import (
	"encoding/binary"
	"math"
)

// Sizes of the headers that every frame begins with.
const (
	VnetLen     = 10                    // struct virtio_net_hdr without num_buffers
	EthernetLen = 14                    // no VLAN tag
	PacketAt    = VnetLen + EthernetLen // where the IP header begins in a frame that hushgate builds
	MaxFrame    = PacketAt + 65535      // a super-frame: an IP packet of the largest length there is
)

// Ethernet types that hushgate handles.
const (
	EtherTypeIPv4 = 0x0800
	EtherTypeIPv6 = 0x86dd
)

// Side is where a frame comes from or goes to. It is a set: on a one-armed gateway an interface is both.
type Side uint8

// The two sides, and both at once.
const (
	Outside Side = 1 << iota // towards the clients
	Inside                   // towards the servers
	Both    = Outside | Inside
)

// Has reports whether s includes t.
func (s Side) Has(t Side) bool { return s&t != 0 }

// String names the side.
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

// SetEthernet writes the link addresses of frame (6 bytes each) and leaves its Ethernet type.
func SetEthernet(frame []byte, dst, src [6]byte) {
	copy(frame[VnetLen:], dst[:])
	copy(frame[VnetLen+6:], src[:])
}

// AppendPacket appends to dst the frame of an IP packet that has none, link addresses zero. Valid says that its checksum
// is, as far as can be known. An IPv4 header's checksum that its sender left to the hardware, 0, is filled in.
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

// SealIPv4 writes the header checksum of an IPv4 packet, if there is all of its header.
func SealIPv4(packet []byte) {
	if n := int(packet[0]&0x0f) * 4; n >= ip4MinLen && n <= len(packet) {
		binary.BigEndian.PutUint16(packet[10:], 0)
		binary.BigEndian.PutUint16(packet[10:], ^fold(sum(0, packet[:n])))
	}
}

// IPv4Sealed reports whether an IPv4 packet has all of its header, and the right checksum in it.
func IPv4Sealed(packet []byte) bool {
	n := int(packet[0]&0x0f) * 4
	return n >= ip4MinLen && n <= len(packet) && fold(sum(0, packet[:n])) == 0xffff
}

// SetIPLength writes the length of an IP packet, header included, in octets; false if its header cannot say so much. The
// checksum of an IPv4 header is SealIPv4's.
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
