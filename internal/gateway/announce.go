package gateway

import (
	"net"
	"net/netip"
	"slices"

	"hushgate/internal/announce"
	"hushgate/internal/netenv"
	"hushgate/internal/wire"
)

// announce answers on the outside for the service addresses that are on no interface of this machine, if that is asked
// for. It is called with g.mu held, at the start and whenever the configuration or the network has changed.
func (g *gateway) announce() {
	var interfaces []announce.Interface
	var addrs []netip.Addr
	if g.cfg.Global.Announce {
		links := g.mirror.Links()
		for _, o := range g.plan.Chosen.Outside {
			below := func(k *netenv.Link) bool { return k.Index == o.Parent }
			if slices.ContainsFunc(g.plan.Chosen.Outside, below) { // who asks is heard there as well, and gets one answer
				continue
			}
			if l := links[o.Name]; l != nil && l.Up {
				interfaces = append(interfaces, announce.Interface{Name: l.Name, Index: l.Index, MAC: net.HardwareAddr(l.MAC[:])})
			}
		}
		addrs = homeless(g.plan.Tables.Services, g.mirror.Addresses())
	}
	if err := g.speech.Set(interfaces, addrs); err != nil {
		g.log.Error("service addresses are not answered for", "err", err)
	}
}

// homeless lists the service addresses that this machine does not have, for the kernel answers for those that it has.
func homeless(services []netip.AddrPort, local []wire.Addr) (addrs []netip.Addr) {
	for _, s := range services {
		if a := s.Addr().Unmap(); !slices.Contains(local, wire.AddrFrom(a)) && !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}
