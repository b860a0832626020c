package announce

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	ours   = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	theirs = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	vip4   = netip.MustParseAddr("192.0.2.25")
	vip6   = netip.MustParseAddr("2001:db8:1::ab:cdef")
	host4  = netip.MustParseAddr("192.0.2.7")
	host6  = netip.MustParseAddr("fe80::7")
)

func must(t *testing.T) func(frame []byte, err error) []byte {
	return func(frame []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return frame
	}
}

// solicitation returns the frame with which Linux asks for vip6.
func solicitation(t *testing.T, from netip.Addr, hops uint8, options layers.ICMPv6Options) []byte {
	group := solicitedNode(vip6)
	ip := &layers.IPv6{
		Version: 6, HopLimit: hops, NextHeader: layers.IPProtocolICMPv6, SrcIP: from.AsSlice(), DstIP: group.AsSlice(),
	}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return must(t)(serialize(
		&layers.Ethernet{SrcMAC: theirs, DstMAC: multicastMAC(group), EthernetType: layers.EthernetTypeIPv6},
		ip, icmp, &layers.ICMPv6NeighborSolicitation{TargetAddress: vip6.AsSlice(), Options: options}))
}

// TestAnswer: the questions that a neighbour may ask, and where the answer goes.
func TestAnswer(t *testing.T) {
	source := layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: theirs}}
	for _, tt := range []struct {
		name     string
		question []byte
		to       net.HardwareAddr
		asker    netip.Addr
		flags    uint8
	}{
		{"ARP request", must(t)(arp(layers.ARPRequest, theirs, broadcast, host4, noMAC, vip4)), theirs, host4, 0},
		{"ARP request to one", must(t)(arp(layers.ARPRequest, theirs, ours, host4, noMAC, vip4)), theirs, host4, 0},
		{"ARP probe", must(t)(probe(vip4, theirs)), theirs, netip.IPv4Unspecified(), 0},
		{"solicitation", solicitation(t, host6, 255, source), theirs, host6, flagSolicited | flagOverride},
		{"solicitation without an option", solicitation(t, host6, 255, nil), theirs, host6, flagSolicited | flagOverride},
		{"is it free?", must(t)(probe(vip6, theirs)), multicastMAC(allNodes), allNodes, flagOverride},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDecoder()
			m, ok := d.decode(tt.question)
			if !ok || !m.question {
				t.Fatalf("%+v, %v", m, ok)
			}
			frame := must(t)(answer(m, ours))
			p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
			eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
			if !bytes.Equal(eth.DstMAC, tt.to) || !bytes.Equal(eth.SrcMAC, ours) {
				t.Errorf("from %v to %v", eth.SrcMAC, eth.DstMAC)
			}
			if a, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
				if a.Operation != layers.ARPReply || !bytes.Equal(a.SourceHwAddress, ours) || !net.IP(a.SourceProtAddress).Equal(vip4.AsSlice()) ||
					!bytes.Equal(a.DstHwAddress, theirs) || !net.IP(a.DstProtAddress).Equal(tt.asker.AsSlice()) {
					t.Errorf("%+v", a)
				}
			} else {
				ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
				na := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
				if ip.HopLimit != 255 || !ip.DstIP.Equal(tt.asker.AsSlice()) || na.Flags != tt.flags || !na.TargetAddress.Equal(vip6.AsSlice()) ||
					!bytes.Equal(linkAddress(na.Options, layers.ICMPv6OptTargetAddress), ours) {
					t.Errorf("%+v %+v", ip, na)
				}
			}
			if m, ok := newDecoder().decode(frame); !ok || m.question || !bytes.Equal(m.from, ours) {
				t.Errorf("our own answer is read as %+v, %v", m, ok)
			}
		})
	}
}

// TestAnnouncement: an announcement is decoded as a statement, not as a question.
func TestAnnouncement(t *testing.T) {
	for _, a := range []netip.Addr{vip4, vip6} {
		m, ok := newDecoder().decode(must(t)(announcement(a, theirs)))
		if !ok || m.question || m.target != a || !bytes.Equal(m.from, theirs) {
			t.Errorf("%v: %+v, %v", a, m, ok)
		}
	}
}

// TestInvalid: frames that RFC 4861 section 7.1 and RFC 826 forbid are ignored.
func TestInvalid(t *testing.T) {
	source := layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: theirs}}
	good := must(t)(arp(layers.ARPRequest, theirs, broadcast, host4, noMAC, vip4))
	odd := bytes.Clone(good)
	odd[14+7] = 3 // the operation: RARP
	for name, frame := range map[string][]byte{
		"routed":                                 solicitation(t, host6, 254, source),
		"unspecified source with a link address": solicitation(t, netip.IPv6Unspecified(), 255, source),
		"short":                                  good[:30],
		"RARP":                                   odd,
		"nothing":                                {},
	} {
		if m, ok := newDecoder().decode(frame); ok {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestGroups(t *testing.T) {
	if g := solicitedNode(vip6); g != netip.MustParseAddr("ff02::1:ffab:cdef") {
		t.Error(g)
	}
	if m := multicastMAC(solicitedNode(vip6)).String(); m != "33:33:ff:ab:cd:ef" {
		t.Error(m)
	}
}

// FuzzDecode: no frame causes a panic.
func FuzzDecode(f *testing.F) {
	for _, a := range []netip.Addr{vip4, vip6} {
		for _, build := range []func(netip.Addr, net.HardwareAddr) ([]byte, error){probe, announcement} {
			frame, err := build(a, theirs)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(frame)
		}
	}
	d := newDecoder()
	f.Fuzz(func(t *testing.T, frame []byte) {
		if m, ok := d.decode(frame); ok && m.question {
			must(t)(answer(m, ours))
		}
	})
}
