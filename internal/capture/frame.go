package capture

import (
	"encoding/binary"

	"hushgate/internal/wire"
)

// Frame is what a Framer makes of a packet.
type Frame struct {
	Data []byte // for wire.Decoder; valid until the next one is made
	// Truncated says that the capture kept only a part: what is missing is zeros, and nobody knows whether its checksum
	// is right.
	Truncated bool
	Fragments bool // it was put together from fragments, of which this packet was the last to come
}

// Framer makes frames of captured packets. Fragments are put together, within bounds; what a sender has left to its
// hardware, an IPv4 header's checksum or a packet's length of 0, is filled in.
type Framer struct {
	IgnoreChecksums bool          // takes them all for right
	Left            Cargoes       // packets that carried no IP
	Fragments       FragmentStats // that never became a packet

	defrag4, defrag6 *defragmenter
	buf              []byte
}

// NewFramer returns a Framer.
func NewFramer() *Framer {
	f := &Framer{Left: Cargoes{}}
	f.defrag4, f.defrag6 = newDefragmenter(life4, &f.Fragments), newDefragmenter(life6, &f.Fragments)
	return f
}

// Flush gives up the fragments whose others did not come: the capture has ended.
func (f *Framer) Flush() {
	f.defrag4.flush()
	f.defrag6.flush()
}

// Frame makes a frame of an IP packet; false for what carries none, or not enough of one, or a fragment of one that is
// not complete.
func (f *Framer) Frame(p *Packet) (Frame, bool) {
	ip, cargo := p.Link.ip(p.Data)
	if cargo != cargoIP {
		f.Left.add(cargo)
		return Frame{}, false
	}
	total, unsaid := ipLength(ip), false
	if total == 0 { // left to the hardware, which cuts it into many
		total, unsaid = p.Length-(len(p.Data)-len(ip)), true
	}
	out := Frame{}
	switch {
	case len(ip) >= total: // padding of the link
		ip = ip[:max(total, 0)]
	case p.Length > len(p.Data) && total <= maxIPPacket+ip6Header:
		out.Truncated = true
	}
	if len(ip) < smallestIPv4Len {
		f.Left.add(cargoCutOff)
		return Frame{}, false
	}
	f.buf = wire.AppendPacket(f.buf[:0], ip, out.Truncated || f.IgnoreChecksums)
	if out.Truncated {
		f.buf = append(f.buf, make([]byte, total-len(ip))...)
	}
	f.mend(f.buf[wire.PacketAt:], unsaid)
	whole, ok := f.reassemble(p, f.buf[wire.PacketAt:], &out)
	if !ok {
		return Frame{}, false
	}
	if out.Fragments {
		f.buf = wire.AppendPacket(f.buf[:0], whole, out.Truncated || f.IgnoreChecksums)
	}
	out.Data = f.buf
	return out, true
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
		return ip6Header + n
	}
	return 0
}

// reassemble returns a packet that is no fragment as it is, and for a fragment the packet that it completes; false if it completes
// none. Fragments that are broken go on as they are, and the decoder refuses them.
func (f *Framer) reassemble(p *Packet, ip []byte, out *Frame) (whole []byte, ok bool) {
	var piece fragment
	is, good, defrag, build := false, true, f.defrag4, whole4
	switch {
	case ip[0]>>4 == 4:
		piece, is = fragment4(ip)
		is = is && wire.IPv4Sealed(ip)
	case len(ip) >= ip6Header:
		piece, is, good = fragment6(ip)
		defrag, build = f.defrag6, whole6
	}
	switch {
	case !is:
		return ip, true
	case !good:
		f.Fragments.Refused++
		return nil, false
	}
	piece.truncated = out.Truncated
	header, data, truncated, ok := defrag.add(p.Time, &piece)
	if !ok {
		return nil, false
	}
	out.Truncated, out.Fragments = truncated, true
	return build(header, data), true
}
