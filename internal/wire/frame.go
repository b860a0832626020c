package wire

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
