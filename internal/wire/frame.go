package wire

import "encoding/binary"

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
	ip := dst[at+PacketAt:]
	if n := int(ip[0]&0x0f) * 4; kind == EtherTypeIPv4 && n >= 20 && n <= len(ip) && be16(ip, 10) == 0 {
		binary.BigEndian.PutUint16(ip[10:], ^fold(sum(0, ip[:n])))
	}
	return dst
}
