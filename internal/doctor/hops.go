package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"hushgate/internal/netenv"
	"hushgate/internal/wire"
)

const (
	hopPatience = 3 * time.Second
	hopPause    = 50 * time.Millisecond
)

// resolve finds the next hop of a packet, and waits until its link address is known.
func (s *Site) resolve(ctx context.Context, src, dst netip.Addr) (netenv.Hop, netenv.State) {
	ctx, cancel := context.WithTimeout(ctx, hopPatience)
	defer cancel()
	from, to := wire.AddrFrom(src), wire.AddrFrom(dst)
	for {
		hop, state := s.Network.Resolve(from, to)
		if state != netenv.Unresolved {
			return hop, state
		}
		s.Network.Probe(from, to)
		select {
		case <-ctx.Done():
			return hop, state
		case <-time.After(hopPause):
		}
	}
}

// foreign returns the foreign address of the same family as a.
func (s *Site) foreign(a netip.Addr) (netip.Addr, bool) {
	for _, f := range s.From {
		if f.Is4() == a.Is4() {
			return f, true
		}
	}
	return netip.Addr{}, false
}

// nextHops examines the routes to clients anywhere, and to each server.
func nextHops(ctx context.Context, s *Site) (list []Finding) {
	seen := map[netip.Addr]bool{}
	for _, v := range s.Plan.Chosen.Services {
		far, ok := s.foreign(v.Addr())
		if !ok || seen[v.Addr()] {
			continue
		}
		seen[v.Addr()] = true
		hop, state := s.resolve(ctx, v.Addr(), far)
		f := judgeHop(hop, state, s.Network.LinkName(hop.Ifindex))
		f.Subject = fmt.Sprintf("from %v to clients", v.Addr())
		if f.Grade != Good {
			f.Means, f.Mend = "clients beyond this machine's own networks get no answer", "ip route replace default via ROUTER"
			if v.Addr().Is6() {
				f.Mend = "ip -6 route replace default via ROUTER"
			}
		}
		list = append(list, f)
	}
	for i, at := range s.Plan.Tables.Servers {
		name := s.Plan.Tables.Names.Servers[i]
		hop, state := s.resolve(ctx, unspecified(at.Addr()), at.Addr())
		f := judgeHop(hop, state, s.Network.LinkName(hop.Ifindex))
		f.Subject = fmt.Sprintf("to %s/%s %v", name.Backend, name.Name, at.Addr())
		if f.Grade != Good {
			f.Means, f.Mend = "no client can be passed to it", "look at the route (ip route get "+at.Addr().String()+"), the cable and the server's address"
		}
		list = append(list, f)
	}
	return list
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// judgeHop judges a next hop.
func judgeHop(hop netenv.Hop, state netenv.State, link string) Finding {
	switch state {
	case netenv.Resolved:
		return Finding{Found: fmt.Sprintf("the next hop is %v on %s", net.HardwareAddr(hop.Dst[:]), link)}
	case netenv.Unresolved:
		return Finding{Grade: Fault, Found: fmt.Sprintf("the next hop on %s does not answer (ARP or neighbour solicitation) for %v", link, hopPatience)}
	case netenv.NoRoute, netenv.LinkDown, netenv.OwnAddress:
	}
	return Finding{Grade: Fault, Found: state.String()}
}
