package gateway

import (
	"net"
	"net/netip"
	"slices"

	"hushgate/internal/announce"
	"hushgate/internal/netenv"
	"hushgate/internal/wire"
)

// announce answers on the outside for the service addresses that are on no interface of this machine, if the configuration
// asks for it. It is called with g.mu held, at the start and whenever the configuration or the network has changed.
func (g *gateway) announce() {
	var interfaces []announce.Interface
	var addrs []netip.Addr
	if g.cfg.Global.Announce {
		links := g.mirror.Links()
		for _, o := range g.plan.Chosen.Outside {
			below := func(k *netenv.Link) bool { return k.Index == o.Parent }
			if slices.ContainsFunc(g.plan.Chosen.Outside, below) { // a request is received there as well, and must get only one answer
				continue
			}
			if l := links[o.Name]; l != nil && l.Up {
				interfaces = append(interfaces, announce.Interface{Name: l.Name, Index: l.Index, MAC: net.HardwareAddr(l.MAC[:])})
			}
		}
		addrs = notOnInterface(g.plan.Tables.Services, g.mirror.Addresses())
	}
	if err := g.speech.Set(interfaces, addrs); err != nil {
		g.log.Error("answering for service addresses failed", "err", err)
	}
}

// notOnInterface lists the service addresses that are on no interface of this machine. The kernel answers for the others.
func notOnInterface(services []netip.AddrPort, local []wire.Addr) (addrs []netip.Addr) {
	for _, s := range services {
		if a := s.Addr().Unmap(); !slices.Contains(local, wire.AddrFrom(a)) && !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}
