package wire

import (
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Kind is what a frame turned out to be.
type Kind uint8

// The kinds. All but KindTCP and KindICMP are reasons to drop a frame.
const (
	KindTCP        Kind   = iota // Decoder.Segment is filled in
	KindICMP                     // Decoder.ICMP is filled in
	KindOther                    // another protocol: nothing to do with us
	KindShort                    // shorter than its headers say, or not even that long
	KindBadIP                    // an IP header that contradicts itself, whose checksum is wrong, or that has a source route
	KindFragment                 // a fragment of an IP packet; not an atomic one (RFC 6946), which is a whole packet
	KindExtension                // IPv6 extension headers that are too many, out of order, or not done with; see walk6
	KindBadTCP                   // a TCP header that contradicts itself
	KindBadAddress               // an address that no TCP peer can have on a wire; see Decoder.Onlooker
	Kinds          = iota        // how many there are
)

// Decoder turns frames into segments. It holds the layers that gopacket decodes into, so that decoding allocates
// nothing; one belongs to each shard.
type Decoder struct {
	Segment Segment

	// Onlooker decodes segments of all addresses: who only looks on, as at a capture of the loopback interface, refuses none.
	Onlooker bool

	icmpFrame []byte // KindICMP: the frame, link padding cut off, and where the message begins; see ICMPError
	icmpAt    int

	parser  *gopacket.DecodingLayerParser
	decoded []gopacket.LayerType
	eth     layers.Ethernet
	ip4     layers.IPv4
	ip6     layers.IPv6
	tcp     tcpLayer
	icmp    icmpLayer
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder {
	d := &Decoder{decoded: make([]gopacket.LayerType, 0, 8)}
	d.parser = gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet)
	d.parser.SetDecodingLayerContainer(gopacket.DecodingLayerArray(nil))
	for _, l := range []gopacket.DecodingLayer{&d.eth, &d.ip4, &d.ip6, &d.tcp, &d.icmp} {
		d.parser.AddDecodingLayer(l)
	}
	d.parser.IgnoreUnsupported = true // what it does not know is ours to name
	return d
}

// tcpLayer makes gopacket hand over a TCP segment undecoded: its own TCP layer allocates for more than four options,
// which every SACK has.
type tcpLayer struct{ data []byte }

func (l *tcpLayer) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	l.data = data
	return nil
}
func (*tcpLayer) CanDecode() gopacket.LayerClass    { return layers.LayerTypeTCP }
func (*tcpLayer) NextLayerType() gopacket.LayerType { return gopacket.LayerTypeZero }
func (*tcpLayer) LayerPayload() []byte              { return nil }

// icmpLayer does the same for ICMP of either family.
type icmpLayer struct{ data []byte }

var icmpTypes = gopacket.NewLayerClass([]gopacket.LayerType{layers.LayerTypeICMPv4, layers.LayerTypeICMPv6})

func (l *icmpLayer) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	l.data = data
	return nil
}
func (*icmpLayer) CanDecode() gopacket.LayerClass    { return icmpTypes }
func (*icmpLayer) NextLayerType() gopacket.LayerType { return gopacket.LayerTypeZero }
func (*icmpLayer) LayerPayload() []byte              { return nil }

// Decode looks into a frame (virtio header, Ethernet header, packet) and fills in Segment if it is KindTCP. Segment
// then refers to frame and may change it.
func (d *Decoder) Decode(frame []byte) Kind {
	if len(frame) < PacketAt {
		return KindShort
	}
	d.tcp.data, d.icmp.data = nil, nil
	err := d.parser.DecodeLayers(frame[VnetLen:], &d.decoded)
	net := gopacket.LayerTypeZero
	for _, l := range d.decoded {
		if l == layers.LayerTypeIPv4 || l == layers.LayerTypeIPv6 {
			net = l
		}
	}
	switch {
	case net == gopacket.LayerTypeZero && err == nil:
		return KindOther
	case net == gopacket.LayerTypeZero || err != nil:
		return KindBadIP
	case net == layers.LayerTypeIPv4:
		return d.decode4(frame)
	}
	return d.decode6(frame)
}

// offset is where part begins in whole; part is a slice of whole's array.
func offset(whole, part []byte) int { return cap(whole) - cap(part) }

func (d *Decoder) decode4(frame []byte) Kind {
	ip := &d.ip4
	at := offset(frame, ip.Contents)
	total := int(be16(frame, at+2)) // gopacket takes a length of 0 for the frame's
	switch {
	case at != PacketAt: // a packet in a packet: a tunnel's, not ours
		return KindOther
	case total < len(ip.Contents) || ip.Version != 4:
		return KindBadIP
	case at+total > len(frame):
		return KindShort
	case fold(sum(0, ip.Contents)) != 0xffff:
		return KindBadIP
	case sourceRouted(ip.Options):
		return KindBadIP
	case ip.Flags&layers.IPv4MoreFragments != 0 || ip.FragOffset != 0:
		return KindFragment
	}
	s := &d.Segment
	s.Src, s.Dst, s.TTL, s.v6 = AddrFrom4(ip.SrcIP), AddrFrom4(ip.DstIP), ip.TTL, false
	return d.upper(frame[:at+total], at, at+len(ip.Contents))
}

// sourceRouted reports whether an IPv4 header has a loose or strict source route. Such packets are dropped, as RFC 7126
// sections 4.3 and 4.4 advise and every router does nowadays.
func sourceRouted(options []layers.IPv4Option) bool {
	const loose, strict = 131, 137
	for i := range options {
		if t := options[i].OptionType; t == loose || t == strict {
			return true
		}
	}
	return false
}

func (d *Decoder) decode6(frame []byte) Kind {
	ip := &d.ip6
	at := offset(frame, ip.Contents)
	end := at + ip6Len + int(ip.Length)
	switch {
	case at != PacketAt:
		return KindOther
	case ip.Version != 6:
		return KindBadIP
	case end > len(frame):
		return KindShort
	}
	s := &d.Segment
	s.Src, s.Dst, s.TTL, s.v6 = AddrFrom16(ip.SrcIP), AddrFrom16(ip.DstIP), ip.HopLimit, true
	if s.Src.Is4() || s.Dst.Is4() { // a mapped address is never on the wire (RFC 4291 section 2.5.5.2), and is IPv4 to us
		return KindBadAddress
	}
	upper, next, kind := walk6(frame[:end], at)
	switch {
	case kind != KindTCP:
		return kind
	case next == protoTCP:
		d.tcp.data = frame[upper:end]
	case next == protoICMP6:
		d.icmp.data = frame[upper:end]
	default:
		return KindOther
	}
	return d.upper(frame[:end], at, upper)
}

// upper takes the packet's upper layer, which begins at offset upper of the frame, whose link padding is cut off.
func (d *Decoder) upper(frame []byte, ip, upper int) Kind {
	if d.icmp.data != nil {
		d.icmpFrame, d.icmpAt = frame, upper
		return KindICMP
	}
	if d.tcp.data == nil {
		return KindOther
	}
	s := &d.Segment
	if (!s.Src.Usable() || !s.Dst.Usable()) && !d.Onlooker {
		return KindBadAddress
	}
	tcp := frame[upper:]
	if len(tcp) < tcpMinLen {
		return KindBadTCP
	}
	header := int(tcp[offDataOff]>>4) * 4
	if header < tcpMinLen || header > len(tcp) {
		return KindBadTCP
	}
	s.frame, s.ip, s.tcp = frame, frame[ip:upper], tcp
	s.SrcPort, s.DstPort = be16(tcp, offSrcPort), be16(tcp, offDstPort)
	s.Seq, s.Ack = Seq(be32(tcp, offSeq)), Seq(be32(tcp, offAck))
	s.Flags, s.Wnd = Flags(tcp[offFlags]), be16(tcp, offWnd)
	s.Payload = tcp[header:]
	s.Options = parseOptions(tcp[:header])
	s.state = stateOf(frame)
	s.addrDelta, s.fieldDelta = 0, 0
	return KindTCP
}
