package port

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"hushgate/internal/wire"
)

// TestShardIsTheKernels checks that Shard computes the same as the kernel's program.
func TestShardIsTheKernels(t *testing.T) {
	b := wire.NewBuilder()
	sources := []Source{
		{netip.MustParseAddr("10.0.0.1"), 1024, 65535}, {netip.MustParseAddr("2001:db8:2::1"), 20000, 40000}, {services[0].Addr(), 30000, 65535},
	}
	var known []netip.Addr
	for _, a := range append(append([]netip.AddrPort{}, services...), servers...) {
		known = append(known, a.Addr())
	}
	for _, s := range sources {
		known = append(known, s.Addr)
	}
	rapid.Check(t, func(t2 *rapid.T) {
		v6 := rapid.Bool().Draw(t2, "v6")
		draw := func(name string) netip.Addr {
			if i := rapid.IntRange(0, 2*len(known)-1).Draw(t2, name); i < len(known) && known[i].Is6() == v6 {
				return known[i]
			}
			if v6 {
				return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Filter(func(b []byte) bool { return b[0] != 0 }).Draw(t2, "v6 address")))
			}
			return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t2, "v4 address")))
		}
		f := Filter{
			Sides:    rapid.SampledFrom([]wire.Side{wire.Outside, wire.Inside, wire.Both}).Draw(t2, "side"),
			Services: services, Servers: servers, Sources: sources,
			Spread: NewSpread([2]uint64{rapid.Uint64().Draw(t2, "key"), rapid.Uint64().Draw(t2, "rest of the key")},
				Prefix{rapid.Uint8Range(0, 32).Draw(t2, "bits of IPv4"), rapid.Uint8Range(0, 128).Draw(t2, "bits of IPv6")}),
		}
		h := wire.Header{
			Src: wire.AddrFrom(draw("source")), Dst: wire.AddrFrom(draw("destination")), SrcPort: 25,
			DstPort: rapid.Uint16().Draw(t2, "port"), Flags: wire.ACK,
		}
		n := rapid.IntRange(1, 16).Draw(t2, "shards")
		want := selectorHash(t, f, b.Append(nil, &h, nil)[wire.PacketAt:]) % n
		if got := f.Shard(h.Src, h.Dst, h.DstPort, n); got != want {
			t2.Fatalf("%v: %v to %v:%d: shard %d of %d, the kernel says %d", f.Sides, h.Src, h.Dst, h.DstPort, got, n, want)
		}
	})
}
