package capture

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/ip4defrag"
	"github.com/google/gopacket/layers"

	"hushgate/internal/wire"
)

// Frame is what a Framer makes of a packet.
type Frame struct {
	Data []byte // for wire.Decoder; valid until the next one is made
	// Truncated says that the capture kept only a part: what is missing is zeros, and nobody knows whether its checksum
	// is right.
	Truncated bool
}

// Framer makes frames of captured packets. IPv4 fragments are put together, within bounds; what a sender has left to its
// hardware, an IPv4 header's checksum or a packet's length of 0, is filled in.
type Framer struct {
	IgnoreChecksums bool // takes them all for right

	defrag    *ip4defrag.IPv4Defragmenter
	fragments int // taken since defrag is new
	buf       []byte
}

// NewFramer returns a Framer.
func NewFramer() *Framer { return &Framer{defrag: ip4defrag.NewIPv4Defragmenter()} }

// Bounds for fragments whose others never come.
const (
	maxFragments = 4096
	fragmentLife = 30 * time.Second // RFC 791; Linux has the same
)

// Frame makes a frame of an IP packet; false for what carries none, or not enough of one, or a fragment of one that is
// not complete.
func (f *Framer) Frame(p *Packet) (Frame, bool) {
	ip, ok := p.Link.ip(p.Data)
	if !ok {
		return Frame{}, false
	}
	total, unsaid := ipLength(ip), false
	if total == 0 { // left to the hardware, which cuts it into many
		total, unsaid = p.Length-(len(p.Data)-len(ip)), true
	}
	truncated := false
	switch {
	case len(ip) >= total: // padding of the link
		ip = ip[:max(total, 0)]
	case p.Length > len(p.Data) && total <= 0xffff:
		truncated = true
	}
	if len(ip) < smallestIPv4Len {
		return Frame{}, false
	}
	if ip[0]>>4 == 4 && binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
		if ip, ok = f.reassemble(p.Time, ip); !ok || truncated {
			return Frame{}, false
		}
	}
	f.buf = wire.AppendPacket(f.buf[:0], ip, truncated || f.IgnoreChecksums)
	if truncated {
		f.buf = append(f.buf, make([]byte, total-len(ip))...)
	}
	f.mend(f.buf[wire.PacketAt:], unsaid)
	return Frame{f.buf, truncated}, true
}

// mend writes what a packet's header does not say, or says wrong if nobody minds.
func (f *Framer) mend(packet []byte, unsaid bool) {
	said := unsaid && wire.SetIPLength(packet, len(packet))
	if packet[0]>>4 == 4 && (said || f.IgnoreChecksums) {
		wire.SealIPv4(packet)
	}
}

// ipLength is what a packet's header says of its length, 0 if it does not say.
func ipLength(ip []byte) int {
	if ip[0]>>4 == 4 {
		return int(binary.BigEndian.Uint16(ip[2:]))
	}
	if n := int(binary.BigEndian.Uint16(ip[4:])); n > 0 {
		return 40 + n
	}
	return 0
}

// reassemble takes a fragment and returns the packet that it completes.
func (f *Framer) reassemble(now time.Time, packet []byte) (whole []byte, ok bool) {
	if f.fragments++; f.fragments > maxFragments {
		f.defrag, f.fragments = ip4defrag.NewIPv4Defragmenter(), 1
	}
	f.defrag.DiscardOlderThan(now.Add(-fragmentLife))
	var ip layers.IPv4 // of its own, and of a copy: the defragmenter keeps both
	if err := ip.DecodeFromBytes(append([]byte(nil), packet...), gopacket.NilDecodeFeedback); err != nil {
		return nil, false
	}
	all, err := f.defrag.DefragIPv4WithTimestamp(&ip, now)
	if err != nil || all == nil {
		return nil, false
	}
	all.Flags, all.FragOffset = 0, 0
	buf := gopacket.NewSerializeBuffer()
	err = gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all,
		gopacket.Payload(all.Payload))
	return buf.Bytes(), err == nil && len(buf.Bytes()) <= 0xffff
}

// String names the link type.
func (l LinkType) String() string {
	switch l {
	case LinkNull, LinkLoop:
		return "loopback"
	case LinkEthernet:
		return "Ethernet"
	case LinkRawBSD, LinkRawOther, LinkRaw, LinkIPv4, LinkIPv6:
		return "raw IP"
	case LinkSLL:
		return "Linux cooked"
	case LinkSLL2:
		return "Linux cooked v2"
	default:
	}
	return fmt.Sprintf("link type %d", uint16(l))
}
