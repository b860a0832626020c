package wire

import "encoding/binary"

func be16(b []byte, i int) uint16 { return binary.BigEndian.Uint16(b[i:]) }
func be32(b []byte, i int) uint32 { return binary.BigEndian.Uint32(b[i:]) }

// Segment is a view of a TCP segment inside a frame. The exported fields are copies in host order, made by Decoder. The Set
// methods change the frame and the copies, and accumulate the change of the checksum, which Seal writes. A Segment is valid as
// long as its frame.
type Segment struct {
	Src, Dst         Addr
	SrcPort, DstPort uint16
	Seq, Ack         Seq
	Flags            Flags
	Wnd              uint16 // as on the wire, not scaled
	Payload          []byte
	TTL              uint8 // or hop limit
	Options          Options

	frame []byte
	ip    []byte // IP header with its options or extension headers
	tcp   []byte // TCP header and payload
	v6    bool
	state checksumState

	addrDelta  uint64 // how changed addresses change the checksum's sum: they are in the pseudo-header
	fieldDelta uint64 // how changed fields of the TCP header change the sum
}

// checksumState is what the kernel knows of a frame's TCP checksum.
type checksumState uint8

const (
	checksumUnknown checksumState = iota // complete, not verified yet
	checksumValid                        // complete, verified by the hardware
	checksumPartial                      // only the sum of the pseudo-header: the segment was not sent on a link yet
)

// Fields of struct virtio_net_hdr.
const (
	vnetFlags     = 0
	vnetGSOType   = 1
	vnetNeedsCsum = 1 // flag: VIRTIO_NET_HDR_F_NEEDS_CSUM
	vnetDataValid = 2 // flag: VIRTIO_NET_HDR_F_DATA_VALID
)

func stateOf(frame []byte) checksumState {
	switch {
	case frame[vnetFlags]&vnetNeedsCsum != 0:
		return checksumPartial
	case frame[vnetFlags]&vnetDataValid != 0:
		return checksumValid
	}
	return checksumUnknown
}

// Frame returns the whole frame, from the virtio header to the end of the packet, without link padding.
func (s *Segment) Frame() []byte { return s.frame }

// Is4 reports whether the segment is in an IPv4 packet.
func (s *Segment) Is4() bool { return !s.v6 }

// Len is SEG.LEN: the octets of payload, and one each for SYN and FIN (RFC 9293 section 3.3.1).
func (s *Segment) Len() uint32 {
	n := uint32(len(s.Payload))
	if s.Flags.Has(SYN) {
		n++
	}
	if s.Flags.Has(FIN) {
		n++
	}
	return n
}

// End is the sequence number after the segment: SEG.SEQ + SEG.LEN.
func (s *Segment) End() Seq { return s.Seq + Seq(s.Len()) }

// ChecksumOK verifies the TCP checksum, unless the kernel has done so.
func (s *Segment) ChecksumOK() bool {
	if s.state != checksumUnknown {
		return true
	}
	return fold(sum(pseudo(s.Src.IP(), s.Dst.IP(), protoTCP, len(s.tcp)), s.tcp)) == 0xffff
}

// ChecksumOffloaded reports whether the checksum was left to the hardware: it is zero, or only the sum of the pseudo-header. A
// capture on the sending machine shows such segments.
func (s *Segment) ChecksumOffloaded() bool {
	c := be16(s.tcp, offChecksum)
	return c == 0 || c == fold(pseudo(s.Src.IP(), s.Dst.IP(), protoTCP, len(s.tcp)))
}

// Resum computes the whole TCP checksum after a change of the payload. Changes of other fields must be sealed before.
func (s *Segment) Resum() {
	binary.BigEndian.PutUint16(s.tcp[offChecksum:], 0)
	binary.BigEndian.PutUint16(s.tcp[offChecksum:], ^fold(sum(pseudo(s.Src.IP(), s.Dst.IP(), protoTCP, len(s.tcp)), s.tcp)))
}

// SuperFrame reports whether the frame stands for several segments (GSO or GRO).
func (s *Segment) SuperFrame() bool { return s.frame[vnetGSOType] != 0 }

const protoTCP = 6

// SetSeq writes the sequence number.
func (s *Segment) SetSeq(v Seq) {
	s.put32(offSeq, uint32(v))
	s.Seq = v
}

// SetAck writes the acknowledgement number.
func (s *Segment) SetAck(v Seq) {
	s.put32(offAck, uint32(v))
	s.Ack = v
}

// SetWnd writes the window field, not scaled.
func (s *Segment) SetWnd(v uint16) {
	s.put16(offWnd, v)
	s.Wnd = v
}

// SetFlags writes the control bits.
func (s *Segment) SetFlags(v Flags) {
	s.fieldDelta += minus(uint64(s.Flags)) + uint64(v)
	s.tcp[offFlags] = byte(v)
	s.Flags = v
}

// SetOctet writes octet i of the payload.
func (s *Segment) SetOctet(i int, c byte) {
	old, now := uint64(s.Payload[i]), uint64(c)
	if i%2 == 0 { // the header's length is even
		old, now = old<<8, now<<8
	}
	s.fieldDelta += minus(old) + now
	s.Payload[i] = c
}

// SetTSval writes the timestamp option's value; the segment must have the option.
func (s *Segment) SetTSval(v uint32) {
	s.put32(s.Options.tsAt, v)
	s.Options.TSval = v
}

// SetTSecr writes the timestamp option's echo reply; the segment must have the option.
func (s *Segment) SetTSecr(v uint32) {
	s.put32(s.Options.tsAt+4, v)
	s.Options.TSecr = v
}

// ShiftSACK adds d to both edges of every SACK block (RFC 2018 section 3).
func (s *Segment) ShiftSACK(d Seq) {
	at := s.Options.sackAt + 2
	for range 2 * s.Options.SACKBlocks {
		s.put32(at, be32(s.tcp, at)+uint32(d))
		at += 4
	}
}

// SACKEdge returns edge i of the SACK blocks: left edges are even, right edges odd.
func (s *Segment) SACKEdge(i int) Seq { return Seq(be32(s.tcp, s.Options.sackAt+2+4*i)) }

// StripSACK overwrites the SACK option with no-operations.
func (s *Segment) StripSACK() {
	if s.Options.SACKBlocks == 0 {
		return
	}
	at, n := s.Options.sackAt, 2+8*s.Options.SACKBlocks
	s.change(at, n, func(b []byte) {
		for i := range b {
			b[i] = optNop
		}
	})
	s.Options.SACKBlocks, s.Options.sackAt = 0, 0
}

// SetSource rewrites the source port and address; the address must be of the packet's family.
func (s *Segment) SetSource(a Addr, port uint16) {
	s.putAddr(true, a)
	s.put16(offSrcPort, port)
	s.Src, s.SrcPort = a, port
}

// SetDestination rewrites the destination port and address; the address must be of the packet's family.
func (s *Segment) SetDestination(a Addr, port uint16) {
	s.putAddr(false, a)
	s.put16(offDstPort, port)
	s.Dst, s.DstPort = a, port
}

// put16 writes a field at an even offset.
func (s *Segment) put16(at int, v uint16) {
	s.fieldDelta += minus(uint64(be16(s.tcp, at))) + uint64(v)
	binary.BigEndian.PutUint16(s.tcp[at:], v)
}

func (s *Segment) put32(at int, v uint32) {
	if at%2 != 0 { // an option at an odd offset: its octets straddle the words of the sum
		s.change(at, 4, func(b []byte) { binary.BigEndian.PutUint32(b, v) })
		return
	}
	old := be32(s.tcp, at)
	s.fieldDelta += minus(uint64(old>>16)+uint64(old&0xffff)) + uint64(v>>16) + uint64(v&0xffff)
	binary.BigEndian.PutUint32(s.tcp[at:], v)
}

// change calls write for n octets of the TCP header at any alignment. The header's length is even, so that the range,
// widened to whole words, stays in it.
func (s *Segment) change(at, n int, write func([]byte)) {
	words := s.tcp[at&^1 : (at+n+1)&^1]
	s.fieldDelta += minus(sum(0, words))
	write(s.tcp[at : at+n])
	s.fieldDelta += sum(0, words)
}

// Offsets in the IP headers.
const (
	ip4TTL, ip4Proto, ip4Checksum = 8, 9, 10
	ip4Src, ip4Dst, ip4MinLen     = 12, 16, 20
	ip6Next, ip6Hops              = 6, 7
	ip6Src, ip6Dst, ip6Len        = 8, 24, 40
)

func (s *Segment) putAddr(source bool, a Addr) {
	at, n := ip4Dst, 4
	switch {
	case s.v6 && source:
		at, n = ip6Src, 16
	case s.v6:
		at, n = ip6Dst, 16
	case source:
		at = ip4Src
	}
	field := s.ip[at : at+n]
	delta := minus(sum(0, field))
	copy(field, a.IP())
	delta += sum(0, field)
	s.addrDelta += delta
	if !s.v6 {
		s.fixIP4(delta)
	}
}

func (s *Segment) fixIP4(delta uint64) {
	binary.BigEndian.PutUint16(s.ip[ip4Checksum:], checksum16(be16(s.ip, ip4Checksum), delta))
}

// Forward decrements the TTL as a router does; false means that the packet must not be forwarded.
func (s *Segment) Forward() bool {
	if s.TTL <= 1 {
		return false
	}
	s.TTL--
	if s.v6 {
		s.ip[ip6Hops] = s.TTL
		return true
	}
	old := uint64(be16(s.ip, ip4TTL))
	s.ip[ip4TTL] = s.TTL
	s.fixIP4(minus(old) + uint64(be16(s.ip, ip4TTL)))
	return true
}

// Seal updates the TCP checksum for the changes since decoding or the last Seal. A complete checksum is updated by RFC 1624. A
// partial one covers only the pseudo-header and is not complemented, so that only changed addresses count.
func (s *Segment) Seal() {
	old := be16(s.tcp, offChecksum)
	if s.state == checksumPartial {
		binary.BigEndian.PutUint16(s.tcp[offChecksum:], fold(uint64(old)+s.addrDelta))
	} else {
		binary.BigEndian.PutUint16(s.tcp[offChecksum:], checksum16(old, s.addrDelta+s.fieldDelta))
	}
	s.addrDelta, s.fieldDelta = 0, 0
}
