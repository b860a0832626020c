package port

import (
	"net/netip"
	"testing"

	"hushgate/internal/wire"
)

// TestSourcesGoByPort: what comes back to a source of ours is told by its port, an ICMP error by the port that it quotes;
// what goes to a client is told by the client's address as ever.
func TestSourcesGoByPort(t *testing.T) {
	b := wire.NewBuilder()
	packet := func(src, dst netip.AddrPort) []byte {
		return b.Append(nil, &wire.Header{
			Src: wire.AddrFrom(src.Addr()), Dst: wire.AddrFrom(dst.Addr()), SrcPort: src.Port(), DstPort: dst.Port(),
		}, nil)[wire.PacketAt:]
	}
	sources := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8:2::1"), netip.MustParseAddr("10.0.0.1")}
	for _, side := range []wire.Side{wire.Inside, wire.Both} {
		f := Filter{Sides: side, Services: services, Servers: servers, Sources: sources}
		plain := Filter{Sides: side, Services: services, Servers: servers}
		for _, a := range []struct{ server, source, client string }{
			{"10.0.0.11:25", "10.0.0.1:4321", "192.0.2.9:4321"},
			{"[2001:db8:2::11]:25", "[2001:db8:2::1]:4321", "[2001:db8:9::9]:4321"},
		} {
			server, source, client := ap(a.server), ap(a.source), ap(a.client)
			if got := selectorHash(t, f, packet(server, source)); got != 4321 {
				t.Errorf("%v: %v to %v: %d", side, server, source, got)
			}
			if got := selectorHash(t, f, icmpError(packet(source, server))); got != 4321 {
				t.Errorf("%v: ICMP error about %v to %v: %d", side, source, server, got)
			}
			if got, want := selectorHash(t, f, packet(server, client)), selectorHash(t, plain, packet(server, client)); got != want {
				t.Errorf("%v: %v to %v: %d, want %d", side, server, client, got, want)
			}
		}
	}
}
