package netsim

import (
	"encoding/binary"

	"hushgate/internal/wire"
)

// Stack is shared by the endpoints of a run: it builds their frames and emits them.
type Stack struct {
	build   *wire.Builder
	frame   []byte
	payload []byte
	emit    func(e *Endpoint, frame []byte)
}

// NewStack returns a Stack whose endpoints send by emit, which must not keep the frame. The endpoint is nil for segments
// from Refuse.
func NewStack(emit func(e *Endpoint, frame []byte)) *Stack {
	return &Stack{build: wire.NewBuilder(), emit: emit}
}

// Refuse answers a segment that belongs to no endpoint (RFC 9293 section 3.10.7.1).
func (s *Stack) Refuse(seg *wire.Segment) {
	if seg.Flags.Has(wire.RST) {
		return
	}
	h := wire.Header{Src: seg.Dst, SrcPort: seg.DstPort, Dst: seg.Src, DstPort: seg.SrcPort}
	if seg.Flags.Has(wire.ACK) {
		h.Flags, h.Seq = wire.RST, seg.Ack
	} else {
		h.Flags, h.Ack = wire.RST|wire.ACK, seg.End()
	}
	s.send(nil, &h, nil, nil)
}

// send builds and emits a frame. Edges are those of SACK blocks, left and right in turn.
func (s *Stack) send(e *Endpoint, h *wire.Header, payload []byte, edges []wire.Seq) {
	s.frame = s.build.Append(s.frame[:0], h, payload)
	if len(edges) > 0 {
		s.frame = withSACK(s.frame, edges)
	}
	s.emit(e, s.frame)
}

// scratch returns n octets to build a payload in.
func (s *Stack) scratch(n int) []byte {
	if cap(s.payload) < n {
		s.payload = make([]byte, n)
	}
	return s.payload[:n]
}

// Offsets of the fields that a longer TCP header changes.
const (
	ip4Len, ip4Length, ip4Checksum = 20, 2, 10
	ip6Len, ip6Length              = 40, 4
	tcpDataOffset, tcpChecksum     = 12, 16
)

// withSACK adds a SACK option (RFC 2018 section 3) after the other options of a frame from the Builder.
func withSACK(frame []byte, edges []wire.Seq) []byte {
	ip := frame[wire.PacketAt:]
	v6 := ip[0]>>4 == 6
	tcpAt, end := wire.PacketAt+ip4Len, wire.PacketAt+int(binary.BigEndian.Uint16(ip[ip4Length:]))
	if v6 {
		tcpAt = wire.PacketAt + ip6Len
		end = tcpAt + int(binary.BigEndian.Uint16(ip[ip6Length:]))
	}
	option := []byte{1, 1, 5, byte(2 + 4*len(edges))}
	for _, v := range edges {
		option = binary.BigEndian.AppendUint32(option, uint32(v))
	}
	payloadAt := tcpAt + int(frame[tcpAt+tcpDataOffset]>>4)*4
	frame = append(frame[:end], option...) // link padding is cut off
	copy(frame[payloadAt+len(option):], frame[payloadAt:end])
	copy(frame[payloadAt:], option)
	ip, tcp := frame[wire.PacketAt:tcpAt], frame[tcpAt:]
	tcp[tcpDataOffset] += byte(len(option)/4) << 4
	addrs := ip[8:40]
	if v6 {
		binary.BigEndian.PutUint16(ip[ip6Length:], uint16(len(tcp)))
	} else {
		addrs = ip[12:20]
		binary.BigEndian.PutUint16(ip[ip4Length:], uint16(len(ip)+len(tcp)))
		binary.BigEndian.PutUint16(ip[ip4Checksum:], 0)
		binary.BigEndian.PutUint16(ip[ip4Checksum:], checksum(0, ip))
	}
	binary.BigEndian.PutUint16(tcp[tcpChecksum:], 0)
	binary.BigEndian.PutUint16(tcp[tcpChecksum:], checksum(words(addrs)+6+uint64(len(tcp)), tcp))
	return frame
}

// checksum computes the Internet checksum of b, starting with the sum s (RFC 1071).
func checksum(s uint64, b []byte) uint16 {
	s += words(b)
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

func words(b []byte) (s uint64) {
	for i, c := range b {
		s += uint64(c) << (8 * (1 - i%2))
	}
	return s
}
