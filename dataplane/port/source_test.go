package port

import (
	"net/netip"
	"testing"

	"hushgate/internal/wire"
)

// TestSourcesGoByPort checks that the port selects the shard of a server's segment to a server-side address, and of a
// router's error about one from there, even if the address is a service's too. Other ports of the address are shared among
// the shards as usual.
func TestSourcesGoByPort(t *testing.T) {
	b := wire.NewBuilder()
	packet := func(src, dst netip.AddrPort) []byte {
		return b.Append(nil, &wire.Header{
			Src: wire.AddrFrom(src.Addr()), Dst: wire.AddrFrom(dst.Addr()), SrcPort: src.Port(), DstPort: dst.Port(),
		}, nil)[wire.PacketAt:]
	}
	for _, c := range []struct{ source, server, client string }{
		{"10.0.0.1", "10.0.0.11:25", "192.0.2.7:4000"},
		{"2001:db8:2::1", "[2001:db8:2::11]:2525", "[2001:db8::7]:4000"},
		{services[0].Addr().String(), "10.0.0.11:25", "192.0.2.7:4000"},
		{services[2].Addr().String(), "[2001:db8:2::11]:2525", "[2001:db8::7]:4000"},
	} {
		own := netip.MustParseAddr(c.source)
		with := Filter{Spread: spread, Services: services, Servers: servers, Sources: []Source{
			{netip.MustParseAddr("10.0.0.2"), 1, 65535}, {netip.MustParseAddr("2001:db8:2::2"), 1, 65535}, {own, 2000, 2999}, {own, 2000, 2999},
		}}
		plain := Filter{Spread: spread, Services: services, Servers: servers}
		for _, sides := range []wire.Side{wire.Inside, wire.Both} {
			with.Sides, plain.Sides = sides, sides
			for _, port := range []uint16{2000, 2001, 2500, 2999} {
				if got := selectorHash(t, with, packet(ap(c.server), netip.AddrPortFrom(own, port))); got != int(port) {
					t.Errorf("%v, %s to port %d of %v: %d", sides, c.server, port, own, got)
				}
				quoted := icmpError(packet(netip.AddrPortFrom(own, port), ap(c.server)))
				if got := selectorHash(t, with, quoted); got != int(port) {
					t.Errorf("%v, an error about port %d of %v: %d", sides, port, own, got)
				}
			}
			for _, p := range [][]byte{
				packet(ap(c.server), netip.AddrPortFrom(own, 1999)), packet(ap(c.server), netip.AddrPortFrom(own, 3000)),
				packet(ap(c.server), ap(c.client)), packet(ap(c.client), netip.AddrPortFrom(own, 25)),
			} {
				if got, want := selectorHash(t, with, p), selectorHash(t, plain, p); got != want {
					t.Errorf("%v, what goes elsewhere: %d, without sources %d", sides, got, want)
				}
			}
		}
		with.Sides, plain.Sides = wire.Outside, wire.Outside
		p := packet(ap(c.client), netip.AddrPortFrom(own, 2000))
		if selectorHash(t, with, p) != selectorHash(t, plain, p) {
			t.Error("a client is told by its port")
		}
	}
}
