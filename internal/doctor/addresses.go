package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/mdlayher/packet"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"hushgate/internal/netenv"
)

const (
	askTimes    = 3
	askInterval = 300 * time.Millisecond
)

// addresses finds out whether another machine has a service address too. The questions are those of RFC 5227 section 2.1.1
// (ARP) and RFC 4862 section 5.4.2 (IPv6): they change nobody's tables.
func addresses(ctx context.Context, s *Site) []Finding {
	type place struct {
		addr netip.Addr
		link *netenv.Link
	}
	var places []place
	for _, v := range s.Plan.Chosen.Services {
		for _, l := range s.Plan.Chosen.Outside {
			p := place{v.Addr(), l}
			if l.Up && onLink(l, v.Addr()) && !slices.Contains(places, p) {
				places = append(places, p)
			}
		}
	}
	if len(places) == 0 {
		return []Finding{{Found: "no service address belongs to a network of the outside: they are routed to this machine"}}
	}
	list := make([]Finding, len(places))
	var group errgroup.Group
	group.SetLimit(serversAtOnce)
	for i, p := range places {
		group.Go(func() error {
			who, err := s.whoElse(ctx, p.link, p.addr)
			list[i] = judgeAddress(p.addr, p.link.Name, s.holds(p.addr), who, err)
			return nil
		})
	}
	_ = group.Wait()
	return list
}

// onLink reports whether an address belongs to a network of an interface.
func onLink(l *netenv.Link, a netip.Addr) bool {
	return slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Masked().Contains(a) })
}

// holds reports whether this machine has an address, or the gateway answers for it.
func (s *Site) holds(a netip.Addr) bool {
	for _, l := range s.Network.Links() {
		if slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return true
		}
	}
	return s.Says.Announce
}

// judgeAddress judges which other machine has answered for a service address.
func judgeAddress(a netip.Addr, link string, held bool, who net.HardwareAddr, err error) Finding {
	subject := fmt.Sprintf("%v on %s", a, link)
	switch {
	case err != nil:
		return Finding{Subject: subject, Grade: Unknown, Found: err.Error(), Mend: "run doctor as root"}
	case who != nil && held:
		return Finding{
			Subject: subject, Grade: Fault, Found: fmt.Sprintf("%v answers for it too", who), Means: "clients reach one machine or the other, by chance",
			Mend: "take the address from the other machine: it may be a mail server that had it before",
		}
	case who != nil:
		return Finding{Subject: subject, Grade: Note, Found: fmt.Sprintf("another machine has it: %v", who), Means: "clients do not come here, as on a gateway that stands by"}
	case !held:
		return Finding{
			Subject: subject, Grade: Fault, Found: "nobody answers for it", Means: "clients cannot connect",
			Mend: fmt.Sprintf("ip address add %v dev %s; or `announce: true`", a, link),
		}
	}
	return Finding{Subject: subject, Found: "no other machine answers for it"}
}

// whoElse asks on an interface who has an address, and returns the link address of another machine that answers, if one does.
func (s *Site) whoElse(ctx context.Context, l *netenv.Link, a netip.Addr) (net.HardwareAddr, error) {
	protocol := uint16(unix.ETH_P_ARP)
	if a.Is6() {
		protocol = unix.ETH_P_IPV6
	}
	c, err := packet.Listen(&net.Interface{Index: l.Index, Name: l.Name, HardwareAddr: l.MAC[:], MTU: l.MTU}, packet.Raw, int(protocol), nil)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket on %s: %w", l.Name, err)
	}
	defer func() { _ = c.Close() }()
	question, to, err := whoHas(l.MAC[:], a)
	if err != nil {
		return nil, fmt.Errorf("ask who has %v: %w", a, err)
	}
	own := s.Network.Links()
	for range askTimes {
		if _, err := c.WriteTo(question, &packet.Addr{HardwareAddr: to}); err != nil {
			return nil, fmt.Errorf("ask who has %v: %w", a, err)
		}
		if err := c.SetReadDeadline(time.Now().Add(askInterval)); err != nil {
			return nil, fmt.Errorf("wait for answers: %w", err)
		}
		who, err := hearOther(ctx, c, a, own)
		if who != nil || err != nil {
			return who, err
		}
	}
	return nil, nil
}

// hearOther reads frames until the deadline, or until another machine claims an address.
func hearOther(ctx context.Context, c *packet.Conn, a netip.Addr, own map[string]*netenv.Link) (net.HardwareAddr, error) {
	b := make([]byte, 1<<16)
	for ctx.Err() == nil {
		n, _, err := c.ReadFrom(b)
		var t net.Error
		switch {
		case errors.As(err, &t) && t.Timeout():
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("wait for answers: %w", err)
		}
		if who := claims(b[:n], a); who != nil && !isOwn(own, who) {
			return who, nil
		}
	}
	return nil, ctx.Err()
}

func isOwn(own map[string]*netenv.Link, mac net.HardwareAddr) bool {
	for _, l := range own {
		if slices.Equal(l.MAC[:], mac) {
			return true
		}
	}
	return false
}

// claims returns the link address of the machine that claims an address in a frame, or nil.
func claims(b []byte, a netip.Addr) net.HardwareAddr {
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if eth == nil {
		return nil
	}
	if arp, _ := p.Layer(layers.LayerTypeARP).(*layers.ARP); arp != nil {
		if slices.Equal(arp.SourceProtAddress, a.AsSlice()) && len(arp.SourceHwAddress) == 6 {
			return slices.Clone(net.HardwareAddr(arp.SourceHwAddress))
		}
		return nil
	}
	if na, _ := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement); na != nil && na.TargetAddress.Equal(a.AsSlice()) {
		return slices.Clone(eth.SrcMAC)
	}
	return nil
}

// whoHas makes the frame that asks who has an address, without telling anybody's own, and returns where it is sent.
func whoHas(mac net.HardwareAddr, a netip.Addr) (frame []byte, to net.HardwareAddr, err error) {
	buf, options := gopacket.NewSerializeBuffer(), gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if a.Is4() {
		to = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		err = gopacket.SerializeLayers(buf, options, &layers.Ethernet{SrcMAC: mac, DstMAC: to, EthernetType: layers.EthernetTypeARP}, &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
			SourceHwAddress: mac, SourceProtAddress: make([]byte, 4), DstHwAddress: make([]byte, 6), DstProtAddress: a.AsSlice(),
		})
		return buf.Bytes(), to, err
	}
	raw := a.As16()
	group := netip.MustParseAddr("ff02::1:ff00:0").As16() // the solicited-node address (RFC 4291 section 2.7.1)
	copy(group[13:], raw[13:])
	to = net.HardwareAddr{0x33, 0x33, 0xff, raw[13], raw[14], raw[15]}
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.IPv6unspecified, DstIP: group[:]}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip) // cannot fail for IPv6
	err = gopacket.SerializeLayers(buf, options, &layers.Ethernet{SrcMAC: mac, DstMAC: to, EthernetType: layers.EthernetTypeIPv6}, ip, icmp,
		&layers.ICMPv6NeighborSolicitation{TargetAddress: raw[:]})
	return buf.Bytes(), to, err
}
