package netenv

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"hushgate/internal/lab"
	"hushgate/internal/wire"
)

// TestDoubt: a neighbour gets another link address without announcing it. The kernel would trust the old one for an hour.
// After a doubt the mirror has the new one. There is no question without a doubt, twice within a moment, or about an
// administrator's entry.
func TestDoubt(t *testing.T) {
	p := newPair(t)
	run := func(h *lab.Host, script string) string {
		t.Helper()
		out, err := h.Run(t.Context(), "sh", "-ec", script)
		must(t, err)
		return out
	}
	run(p.here, "sysctl -qw net.ipv4.neigh.eth0.base_reachable_time_ms=3600000 net.ipv6.neigh.eth0.base_reachable_time_ms=3600000")
	for i, dst := range []string{"10.0.0.11", "2001:db8:2::11"} {
		a := wire.AddrFrom(netip.MustParseAddr(dst))
		state := func() string { return run(p.here, "ip neigh show "+dst) }
		p.until(t, dst+" to be known", func() bool {
			p.mirror.Probe(anySource, a)
			_, ok := p.resolved(dst)
			return ok && strings.Contains(state(), "REACHABLE")
		})
		link := [6]byte{2, 0, 0, 0, 0, byte(0x70 + i)} // all six octets count: the random one before may end in the same
		mac := net.HardwareAddr(link[:]).String()
		run(p.there, "ip link set eth0 address "+mac)
		for range 100 { // frames that are sent for the first time do not count
			if hop, ok := p.resolved(dst); !ok || hop.entry.doubted.Load() || hop.Dst == link {
				t.Fatalf("%s is known as %+v, although there was no question", dst, hop)
			}
		}
		before, _ := p.resolved(dst)
		p.mirror.Doubt(before)
		if !before.entry.doubted.Load() {
			t.Error("it can be doubted again at once")
		}
		p.until(t, "the new link address of "+dst, func() bool { // the kernel accepts no second answer within a second (neigh/*/locktime)
			hop, ok := p.resolved(dst)
			p.mirror.Doubt(hop)
			return ok && hop.Dst == link
		})
		if s := state(); !strings.Contains(s, mac) {
			t.Errorf("the kernel says %q", s)
		}

		run(p.here, "ip neigh replace "+dst+" lladdr 02:00:00:00:00:99 dev eth0 nud permanent")
		p.until(t, "an entry that is fixed", func() bool {
			hop, ok := p.resolved(dst)
			return ok && hop.entry.fixed
		})
		hop, _ := p.resolved(dst)
		if p.mirror.Doubt(hop); hop.entry.doubted.Load() {
			t.Error("an administrator's entry is doubted")
		}
		run(p.here, "ip neigh replace "+dst+" lladdr "+mac+" dev eth0 nud stale")
		p.until(t, "an entry that is stale", func() bool {
			hop, ok := (*p.mirror.neigh.Load())[hopKey{before.Ifindex, netip.MustParseAddr(dst)}]
			return ok && !hop.fixed && hop.stale.Load()
		})
		p.resolved(dst)
		p.until(t, "the kernel to look after an entry that is used", func() bool { return !strings.Contains(state(), "STALE") })
	}
	dst := wire.AddrFrom(netip.MustParseAddr("10.0.0.11"))
	hop, _ := p.mirror.Resolve(anySource, dst)
	if n := testing.AllocsPerRun(1000, func() { p.mirror.Doubt(hop) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
