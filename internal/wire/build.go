package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Header describes a TCP segment that hushgate sends itself. An option whose field is zero is left out.
type Header struct {
	Src, Dst         Addr // of the same family
	SrcPort, DstPort uint16
	Seq, Ack         Seq
	Flags            Flags
	Wnd              uint16 // as on the wire

	MSS           uint16
	Scale         bool // send WindowScale
	WindowScale   int8
	SACKPermitted bool
	Timestamps    bool
	TSval, TSecr  uint32
}

// Builder builds the frames of segments. It keeps the layers that gopacket serialises, so that building allocates nothing.
type Builder struct {
	buf  gopacket.SerializeBuffer
	eth  layers.Ethernet
	ip4  layers.IPv4
	ip6  layers.IPv6
	tcp  layers.TCP
	opts [maxOptions]layers.TCPOption
	data [16]byte // values of the options
	zero [6]byte
	vnet [VnetLen]byte

	src, dst Addr // copies, so that the Header does not escape to the heap
}

const maxOptions = 8

// hops is the TTL of packets that hushgate originates, as recommended in RFC 1700.
const hops = 64

// NewBuilder returns a Builder.
func NewBuilder() *Builder {
	b := &Builder{buf: gopacket.NewSerializeBufferExpectedSize(256, 1024)}
	b.eth = layers.Ethernet{SrcMAC: b.zero[:], DstMAC: b.zero[:]}
	b.ip4 = layers.IPv4{Version: 4, TTL: hops, Protocol: layers.IPProtocolTCP, Flags: layers.IPv4DontFragment}
	b.ip6 = layers.IPv6{Version: 6, HopLimit: hops, NextHeader: layers.IPProtocolTCP}
	return b
}

var fixed = gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}

// Append builds the frame of a segment, with zero link addresses, and appends it to dst.
func (b *Builder) Append(dst []byte, h *Header, payload []byte) []byte {
	if err := b.serialise(h, payload); err != nil {
		panic(fmt.Sprintf("wire: build a segment from %v to %v: %v", h.Src, h.Dst, err)) // mixed families: a bug of ours
	}
	dst = append(dst, b.vnet[:]...)
	return append(dst, b.buf.Bytes()...)
}

func (b *Builder) serialise(h *Header, payload []byte) error {
	if err := b.buf.Clear(); err != nil {
		return err
	}
	body, err := b.buf.AppendBytes(len(payload))
	if err != nil {
		return err
	}
	copy(body, payload)
	b.header(h)
	b.src, b.dst = h.Src, h.Dst
	if b.dst.Is4() {
		return b.over4()
	}
	return b.over6()
}

func (b *Builder) over4() error {
	b.ip4.SrcIP, b.ip4.DstIP = b.src.IP(), b.dst.IP()
	if err := b.tcp.SetNetworkLayerForChecksum(&b.ip4); err != nil {
		return err
	}
	if err := b.tcp.SerializeTo(b.buf, fixed); err != nil {
		return err
	}
	if err := b.ip4.SerializeTo(b.buf, fixed); err != nil {
		return err
	}
	b.eth.EthernetType = layers.EthernetTypeIPv4
	return b.eth.SerializeTo(b.buf, gopacket.SerializeOptions{}) // pads to 60 octets
}

func (b *Builder) over6() error {
	b.ip6.SrcIP, b.ip6.DstIP = b.src.IP(), b.dst.IP()
	if err := b.tcp.SetNetworkLayerForChecksum(&b.ip6); err != nil {
		return err
	}
	if err := b.tcp.SerializeTo(b.buf, fixed); err != nil {
		return err
	}
	if err := b.ip6.SerializeTo(b.buf, fixed); err != nil {
		return err
	}
	b.eth.EthernetType = layers.EthernetTypeIPv6
	return b.eth.SerializeTo(b.buf, gopacket.SerializeOptions{})
}

func (b *Builder) header(h *Header) {
	t := &b.tcp
	t.SrcPort, t.DstPort = layers.TCPPort(h.SrcPort), layers.TCPPort(h.DstPort)
	t.Seq, t.Ack, t.Window = uint32(h.Seq), uint32(h.Ack), h.Wnd
	t.FIN, t.SYN, t.RST = h.Flags.Has(FIN), h.Flags.Has(SYN), h.Flags.Has(RST)
	t.PSH, t.ACK = h.Flags.Has(PSH), h.Flags.Has(ACK)
	t.Padding = nil
	t.Options = b.options(h)
}

// options lays out the options as Linux does, padded to whole words.
func (b *Builder) options(h *Header) []layers.TCPOption {
	o, d := b.opts[:0], b.data[:]
	value := func(n int) []byte {
		v := d[:n:n]
		d = d[n:]
		return v
	}
	nop := layers.TCPOption{OptionType: layers.TCPOptionKindNop}
	if h.MSS != 0 {
		v := value(2)
		binary.BigEndian.PutUint16(v, h.MSS)
		o = append(o, layers.TCPOption{OptionType: layers.TCPOptionKindMSS, OptionData: v})
	}
	permitted := layers.TCPOption{OptionType: layers.TCPOptionKindSACKPermitted}
	switch {
	case h.SACKPermitted && h.Timestamps:
		o = append(o, permitted)
	case h.SACKPermitted:
		o = append(o, nop, nop, permitted)
	case h.Timestamps:
		o = append(o, nop, nop)
	}
	if h.Timestamps {
		v := value(8)
		binary.BigEndian.PutUint32(v, h.TSval)
		binary.BigEndian.PutUint32(v[4:], h.TSecr)
		o = append(o, layers.TCPOption{OptionType: layers.TCPOptionKindTimestamps, OptionData: v})
	}
	if h.Scale {
		v := value(1)
		v[0] = byte(h.WindowScale)
		o = append(o, nop, layers.TCPOption{OptionType: layers.TCPOptionKindWindowScale, OptionData: v})
	}
	return o
}
