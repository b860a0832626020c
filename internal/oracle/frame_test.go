package oracle

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"hushgate/internal/wire"
)

// segment is a segment as on the wire, errors included. Its fields are not interpreted.
type segment struct {
	src, dst         netip.Addr
	srcPort, dstPort uint16
	seq, ack         uint32
	flags            uint8
	reserved         uint8 // the four bits before the flags
	wnd, urgent      uint16
	options          []byte
	payload          []byte
	dataOffset       uint8 // 0: the correct one
	badSum           bool
	ip4Options       []layers.IPv4Option
	extensions       []extension
}

// extension is an IPv6 extension header; body is the whole header, and its first octet, the next header, is filled in later.
type extension struct {
	kind layers.IPProtocol
	body []byte
}

const tcpHeader = 20

// frame builds the frame, with a virtio header of zeros.
func (s *segment) frame(dstMAC, srcMAC []byte) ([]byte, error) {
	tcp := s.tcp()
	eth := &layers.Ethernet{SrcMAC: srcMAC, DstMAC: dstMAC, EthernetType: layers.EthernetTypeIPv4}
	chain := []gopacket.SerializableLayer{eth}
	if s.src.Is4() {
		chain = append(chain, &layers.IPv4{
			Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, Flags: layers.IPv4DontFragment,
			SrcIP: s.src.AsSlice(), DstIP: s.dst.AsSlice(), Options: s.ip4Options,
		})
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{
			Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: s.src.AsSlice(), DstIP: s.dst.AsSlice(),
		}
		chain = append(chain, ip)
		next := (*uint8)(&ip.NextHeader)
		for _, e := range s.extensions {
			*next = uint8(e.kind)
			body := gopacket.Payload(append([]byte(nil), e.body...))
			body[0] = uint8(layers.IPProtocolTCP)
			next = &body[0]
			chain = append(chain, body)
		}
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		append(chain, gopacket.Payload(tcp))...)
	return append(make([]byte, wire.VnetLen), buf.Bytes()...), err
}

func (s *segment) tcp() []byte {
	options := append([]byte(nil), s.options...)
	for len(options)%4 != 0 {
		options = append(options, 0)
	}
	b := make([]byte, tcpHeader, tcpHeader+len(options)+len(s.payload))
	binary.BigEndian.PutUint16(b, s.srcPort)
	binary.BigEndian.PutUint16(b[2:], s.dstPort)
	binary.BigEndian.PutUint32(b[4:], s.seq)
	binary.BigEndian.PutUint32(b[8:], s.ack)
	offset := uint8((tcpHeader + len(options)) / 4)
	if s.dataOffset != 0 {
		offset = s.dataOffset
	}
	b[12], b[13] = offset<<4|s.reserved, s.flags
	binary.BigEndian.PutUint16(b[14:], s.wnd)
	binary.BigEndian.PutUint16(b[18:], s.urgent)
	b = append(append(b, options...), s.payload...)
	sum := s.checksum(b)
	if s.badSum {
		sum ^= 0x0101
	}
	binary.BigEndian.PutUint16(b[16:], sum)
	return b
}

// checksum computes the Internet checksum (RFC 1071) over the pseudo-header and b.
func (s *segment) checksum(b []byte) uint16 {
	covered := append(s.src.AsSlice(), s.dst.AsSlice()...)
	covered = append(covered, 0, byte(layers.IPProtocolTCP), byte(len(b)>>8), byte(len(b)))
	covered = append(covered, b...)
	if len(covered)%2 != 0 {
		covered = append(covered, 0)
	}
	sum := 0
	for i := 0; i < len(covered); i += 2 {
		sum += int(covered[i])<<8 | int(covered[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// answer is a packet from a target: a segment, or an ICMP message.
type answer struct {
	dst     netip.Addr
	tcp     *layers.TCP
	icmp    string // "icmp 3/10"
	options bool   // the IPv4 header has options
}

// decode decodes a received frame; false if it is neither TCP nor an ICMP error.
func decode(frame []byte) (answer, bool) {
	p := gopacket.NewPacket(frame[wire.VnetLen:], layers.LayerTypeEthernet, gopacket.Default)
	var a answer
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		a.dst, _ = netip.AddrFromSlice(ip.DstIP.To4())
		a.options = len(ip.Options) > 0
	case *layers.IPv6:
		a.dst, _ = netip.AddrFromSlice(ip.DstIP)
	default:
		return a, false
	}
	if tcp, ok := p.TransportLayer().(*layers.TCP); ok {
		a.tcp = tcp
		return a, true
	}
	if icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		a.icmp = "ICMP " + icmp.TypeCode.String()
		return a, true
	}
	if icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok && icmp.TypeCode.Type() < 128 {
		a.icmp = "ICMPv6 " + icmp.TypeCode.String()
		return a, true
	}
	return a, false
}
