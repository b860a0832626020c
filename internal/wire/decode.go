package wire

import (
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Kind is the result of decoding a frame.
type Kind uint8

// The kinds. All but KindTCP and KindICMP are reasons to drop a frame.
const (
	KindTCP        Kind   = iota // Decoder.Segment is filled in
	KindICMP                     // Decoder.ICMP is filled in
	KindOther                    // another protocol
	KindShort                    // shorter than the headers, or than the lengths in them
	KindBadIP                    // an IP header that is inconsistent, has a wrong checksum, or carries a source route
	KindFragment                 // a fragment of an IP packet; an atomic fragment (RFC 6946) is a whole packet
	KindExtension                // IPv6 extension headers: too many, out of order, or unsupported; see walk6
	KindBadTCP                   // an inconsistent TCP header
	KindBadAddress               // an address that no TCP peer can have on a link; see Decoder.Onlooker
	Kinds          = iota        // the number of kinds
)

// Decoder decodes frames into segments. It keeps the layers that gopacket decodes into, so that decoding allocates nothing.
// Each shard has its own.
type Decoder struct {
	Segment Segment

	// Onlooker makes the decoder accept all addresses: a capture of the loopback interface has some that no peer on a link has.
	Onlooker bool

	icmpFrame []byte // KindICMP: the frame without link padding, and the offset of the message; see ICMPError
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
	d.parser.IgnoreUnsupported = true // we name what it does not know
	return d
}

// tcpLayer makes gopacket return a TCP segment undecoded: gopacket's own TCP layer allocates for more than four options,
// which every segment with SACK blocks has.
type tcpLayer struct{ data []byte }

func (l *tcpLayer) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	l.data = data
	return nil
}
func (*tcpLayer) CanDecode() gopacket.LayerClass    { return layers.LayerTypeTCP }
func (*tcpLayer) NextLayerType() gopacket.LayerType { return gopacket.LayerTypeZero }
func (*tcpLayer) LayerPayload() []byte              { return nil }

// icmpLayer does the same for ICMP and ICMPv6.
type icmpLayer struct{ data []byte }

var icmpTypes = gopacket.NewLayerClass([]gopacket.LayerType{layers.LayerTypeICMPv4, layers.LayerTypeICMPv6})

func (l *icmpLayer) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	l.data = data
	return nil
}
func (*icmpLayer) CanDecode() gopacket.LayerClass    { return icmpTypes }
func (*icmpLayer) NextLayerType() gopacket.LayerType { return gopacket.LayerTypeZero }
func (*icmpLayer) LayerPayload() []byte              { return nil }

// Decode decodes a frame (virtio header, Ethernet header, packet). For KindTCP it fills in Segment, which then refers to frame
// and may change it.
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

// offset returns where part begins in whole; part must be a slice of whole.
func offset(whole, part []byte) int { return cap(whole) - cap(part) }

func (d *Decoder) decode4(frame []byte) Kind {
	ip := &d.ip4
	at := offset(frame, ip.Contents)
	total := int(be16(frame, at+2)) // gopacket replaces a length of 0 by the frame's
	switch {
	case at != PacketAt: // a packet in a tunnel, which is not ours
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
// sections 4.3 and 4.4 recommend and routers do today.
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
	if s.Src.Is4() || s.Dst.Is4() { // a mapped address is not allowed on a link (RFC 4291 section 2.5.5.2), and Addr would take it for IPv4
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

// upper decodes the upper layer, which begins at offset upper of a frame without link padding.
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
