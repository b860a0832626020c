package announce

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	noMAC     = net.HardwareAddr{0, 0, 0, 0, 0, 0}
	allNodes  = netip.MustParseAddr("ff02::1")
)

// hopLimit is the hop limit of all neighbour discovery messages. A message with another one was routed, and does not come
// from this link (RFC 4861 section 7.1).
const hopLimit = 255

// The flags of a neighbour advertisement (RFC 4861 section 4.4).
const (
	flagSolicited = 0x40
	flagOverride  = 0x20
)

// decoder decodes frames. One goroutine uses it.
type decoder struct {
	parser *gopacket.DecodingLayerParser
	found  []gopacket.LayerType

	ethernet layers.Ethernet
	tag      layers.Dot1Q // VLAN 0, whose tag has only a priority
	arp      layers.ARP
	ip6      layers.IPv6
	icmp6    layers.ICMPv6
	ask      layers.ICMPv6NeighborSolicitation
	tell     layers.ICMPv6NeighborAdvertisement
}

func newDecoder() *decoder {
	d := &decoder{}
	d.parser = gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &d.ethernet, &d.tag, &d.arp, &d.ip6, &d.icmp6,
		&d.ask, &d.tell)
	d.parser.IgnoreUnsupported = true
	return d
}

// message is what a frame says about an address.
type message struct {
	target   netip.Addr
	question bool             // it asks for the owner of target; otherwise its sender has target
	from     net.HardwareAddr // the link address in the message
	asker    netip.Addr       // of a question; unspecified if it asks whether the address is free (RFC 5227, RFC 4862)
}

// decode decodes a frame. It returns false if the frame is invalid or says nothing about an address.
func (d *decoder) decode(frame []byte) (message, bool) {
	if err := d.parser.DecodeLayers(frame, &d.found); err != nil || len(d.found) == 0 {
		return message{}, false
	}
	switch d.found[len(d.found)-1] {
	case layers.LayerTypeARP:
		return d.fromARP()
	case layers.LayerTypeICMPv6NeighborSolicitation:
		return d.fromSolicitation()
	case layers.LayerTypeICMPv6NeighborAdvertisement:
		return d.fromAdvertisement()
	}
	return message{}, false
}

func (d *decoder) fromARP() (m message, ok bool) {
	a := &d.arp
	if a.AddrType != layers.LinkTypeEthernet || a.Protocol != layers.EthernetTypeIPv4 || a.HwAddressSize != 6 ||
		a.ProtAddressSize != 4 {
		return m, false
	}
	source, _ := netip.AddrFromSlice(a.SourceProtAddress)
	m.target, _ = netip.AddrFromSlice(a.DstProtAddress)
	m.from = net.HardwareAddr(a.SourceHwAddress)
	if a.Operation == layers.ARPRequest && source != m.target { // an announcement has the form of a request
		m.question, m.asker = true, source
		return m, true
	}
	m.target = source // the sender claims the address
	return m, a.Operation == layers.ARPRequest || a.Operation == layers.ARPReply
}

func (d *decoder) fromSolicitation() (m message, ok bool) {
	source, _ := netip.AddrFromSlice(d.ip6.SrcIP)
	m = message{question: true, asker: source, from: d.ethernet.SrcMAC}
	m.target, _ = netip.AddrFromSlice(d.ask.TargetAddress)
	if mac := linkAddress(d.ask.Options, layers.ICMPv6OptSourceAddress); mac != nil {
		if source.IsUnspecified() { // RFC 4861 section 7.1.1
			return m, false
		}
		m.from = mac
	}
	return m, d.ip6.HopLimit == hopLimit && d.icmp6.TypeCode.Code() == 0 && !m.target.IsMulticast()
}

func (d *decoder) fromAdvertisement() (m message, ok bool) {
	m.from = d.ethernet.SrcMAC
	m.target, _ = netip.AddrFromSlice(d.tell.TargetAddress)
	if mac := linkAddress(d.tell.Options, layers.ICMPv6OptTargetAddress); mac != nil {
		m.from = mac
	}
	return m, d.ip6.HopLimit == hopLimit && d.icmp6.TypeCode.Code() == 0
}

// linkAddress returns the Ethernet address in an option, or nil.
func linkAddress(options layers.ICMPv6Options, kind layers.ICMPv6Opt) net.HardwareAddr {
	for _, o := range options {
		if o.Type == kind && len(o.Data) == len(broadcast) {
			return net.HardwareAddr(bytes.Clone(o.Data))
		}
	}
	return nil
}

// answer returns the frame that answers a question: mac has the address.
func answer(m message, mac net.HardwareAddr) ([]byte, error) {
	if m.target.Is4() {
		return arp(layers.ARPReply, mac, m.from, m.target, m.from, m.asker)
	}
	if m.asker.IsUnspecified() { // asked whether the address is free: the answer goes to all nodes (RFC 4861 section 7.2.4)
		return advertisement(mac, m.target, multicastMAC(allNodes), allNodes, flagOverride)
	}
	return advertisement(mac, m.target, m.from, m.asker, flagOverride|flagSolicited)
}

// announcement returns a frame for all nodes: an ARP announcement (RFC 5227 section 2.3), which has the form of a request,
// or an unsolicited neighbour advertisement (RFC 4861 section 7.2.6).
func announcement(addr netip.Addr, mac net.HardwareAddr) ([]byte, error) {
	if addr.Is4() {
		return arp(layers.ARPRequest, mac, broadcast, addr, noMAC, addr)
	}
	return advertisement(mac, addr, multicastMAC(allNodes), allNodes, flagOverride)
}

// probe returns the frame that asks whether an address is in use, without claiming it (RFC 5227 section 2.1.1, RFC 4862
// section 5.4.2).
func probe(addr netip.Addr, mac net.HardwareAddr) ([]byte, error) {
	if addr.Is4() {
		return arp(layers.ARPRequest, mac, broadcast, netip.IPv4Unspecified(), noMAC, addr)
	}
	group := solicitedNode(addr)
	return discovery(mac, multicastMAC(group), netip.IPv6Unspecified(), group, layers.ICMPv6TypeNeighborSolicitation,
		&layers.ICMPv6NeighborSolicitation{TargetAddress: addr.AsSlice()})
}

// Question returns the frame that asks all nodes on a link for the link address of a neighbour. asker and mac are our own
// address and link address.
func Question(neighbour, asker netip.Addr, mac net.HardwareAddr) ([]byte, error) {
	switch {
	case asker.IsUnspecified():
		return probe(neighbour, mac)
	case neighbour.Is4():
		return arp(layers.ARPRequest, mac, broadcast, asker, noMAC, neighbour)
	}
	group := solicitedNode(neighbour)
	return discovery(mac, multicastMAC(group), asker, group, layers.ICMPv6TypeNeighborSolicitation,
		&layers.ICMPv6NeighborSolicitation{
			TargetAddress: neighbour.AsSlice(),
			Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: mac}},
		})
}

// arp returns an ARP frame with a sender and a target, each with link address and address.
func arp(op uint16, mac, to net.HardwareAddr, addr netip.Addr, targetMAC net.HardwareAddr, target netip.Addr) ([]byte, error) {
	return serialize(
		&layers.Ethernet{SrcMAC: mac, DstMAC: to, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: op, SourceHwAddress: mac, SourceProtAddress: addr.AsSlice(), DstHwAddress: targetMAC,
			DstProtAddress: target.AsSlice(),
		})
}

func advertisement(mac net.HardwareAddr, addr netip.Addr, toMAC net.HardwareAddr, to netip.Addr, flags uint8) ([]byte, error) {
	return discovery(mac, toMAC, addr, to, layers.ICMPv6TypeNeighborAdvertisement, &layers.ICMPv6NeighborAdvertisement{
		Flags: flags, TargetAddress: addr.AsSlice(),
		Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: mac}},
	})
}

func discovery(mac, toMAC net.HardwareAddr, from, to netip.Addr, kind uint8, body gopacket.SerializableLayer) ([]byte, error) {
	ip := &layers.IPv6{
		Version: 6, HopLimit: hopLimit, NextHeader: layers.IPProtocolICMPv6, SrcIP: from.AsSlice(), DstIP: to.AsSlice(),
	}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, fmt.Errorf("build a neighbour discovery message: %w", err)
	}
	return serialize(&layers.Ethernet{SrcMAC: mac, DstMAC: toMAC, EthernetType: layers.EthernetTypeIPv6}, ip, icmp, body)
}

func serialize(parts ...gopacket.SerializableLayer) ([]byte, error) {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		return nil, fmt.Errorf("build a frame: %w", err)
	}
	return b.Bytes(), nil
}

// solicitedNode returns the multicast group of the solicitations for an address (RFC 4291 section 2.7.1).
func solicitedNode(addr netip.Addr) netip.Addr {
	a := addr.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
}

// multicastMAC returns the link address of an IPv6 multicast group (RFC 2464 section 7).
func multicastMAC(group netip.Addr) net.HardwareAddr {
	a := group.As16()
	return net.HardwareAddr{0x33, 0x33, a[12], a[13], a[14], a[15]}
}
