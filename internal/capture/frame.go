package capture

import (
	"encoding/binary"

	"hushgate/internal/wire"
)

// Frame is a packet in the form that wire.Decoder reads.
type Frame struct {
	Data []byte // for wire.Decoder; valid until the Framer's next call
	// Truncated says that only a part was captured. The rest is zeros, and the checksum cannot be verified.
	Truncated bool
	Fragments bool // reassembled from fragments, the last of which was this packet
}

// Framer converts captured packets to frames. It reassembles fragments, within bounds. It fills in what a sender has left to
// its hardware: the checksum of an IPv4 header, or the length of a packet, which is then 0.
type Framer struct {
	IgnoreChecksums bool          // treat all checksums as correct
	Left            Cargoes       // counts packets that carried no IP
	Fragments       FragmentStats // counts fragments that were not reassembled

	defrag4, defrag6 *defragmenter
	buf              []byte
}

// NewFramer returns a Framer.
func NewFramer() *Framer {
	f := &Framer{Left: Cargoes{}}
	f.defrag4, f.defrag6 = newDefragmenter(life4, &f.Fragments), newDefragmenter(life6, &f.Fragments)
	return f
}

// Flush discards incomplete packets at the end of the capture.
func (f *Framer) Flush() {
	f.defrag4.flush()
	f.defrag6.flush()
}

// Frame converts a packet to a frame; false if it carries no IP packet, too little of one, or a fragment of a packet that is
// not complete yet.
func (f *Framer) Frame(p *Packet) (Frame, bool) {
	ip, cargo := p.Link.ip(p.Data)
	if cargo != cargoIP {
		f.Left.add(cargo)
		return Frame{}, false
	}
	total, unsaid := ipLength(ip), false
	if total == 0 { // left to the hardware, which segments the packet
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

// mend fills in a missing length, and a missing or ignored header checksum.
func (f *Framer) mend(packet []byte, unsaid bool) {
	said := unsaid && wire.SetIPLength(packet, len(packet))
	if packet[0]>>4 == 4 && (said || f.IgnoreChecksums) {
		wire.SealIPv4(packet)
	}
}

// ipLength returns the packet's length from its header; 0 if the header has none.
func ipLength(ip []byte) int {
	if ip[0]>>4 == 4 {
		return int(binary.BigEndian.Uint16(ip[2:]))
	}
	if n := int(binary.BigEndian.Uint16(ip[4:])); n > 0 {
		return ip6Header + n
	}
	return 0
}

// reassemble returns a packet that is not a fragment unchanged, and for a fragment the packet that it completes; false if it
// completes none. Broken fragments are returned unchanged, for the decoder to refuse.
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
