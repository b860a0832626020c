package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"hushgate/dataplane"
	"hushgate/internal/policyroute"
	"hushgate/internal/wire"
)

// NoClients returns the servers that cannot be clients. There are none if all servers see an address of the gateway's,
// because then their answers come back through this machine.
func (p *Plan) NoClients() map[wire.Addr]struct{} {
	servers, direct := map[wire.Addr]struct{}{}, false
	for _, s := range p.Tables.Shard.Servers {
		if s.Addr == (wire.Addr{}) {
			continue
		}
		servers[s.Addr] = struct{}{}
		direct = direct || s.Source == (dataplane.Source{})
	}
	if !direct && p.Chosen.OneArm() {
		clear(servers)
	}
	return servers
}

// ServerRoutes returns the return routes through this machine for a server, named NAME or BACKEND/NAME. A name that several
// backends have stands for one server with several addresses. via are addresses of this machine to use instead of those
// found, for example if two gateways share one.
func (p *Plan) ServerRoutes(name string, via []netip.Addr) (routes []policyroute.Route, err error) {
	var source string
	for i, s := range p.Tables.Names.Servers {
		if s.Name != name && s.Backend+"/"+s.Name != name {
			continue
		}
		if v := p.Tables.Shard.Servers[i].Source; v != (dataplane.Source{}) {
			source = v.Addr.Netip().String()
			continue
		}
		r, err := p.routeBack(p.Tables.Servers[i], via)
		if err != nil {
			return nil, fmt.Errorf("server %s/%s: %w", s.Backend, s.Name, err)
		}
		if !slices.Contains(routes, r) {
			routes = append(routes, r)
		}
	}
	if len(routes) == 0 && source != "" {
		return nil, fmt.Errorf("the server %q needs no route: it sees connections from %s, and answers that address", name, source)
	}
	if len(routes) == 0 {
		return nil, fmt.Errorf("there is no server %q", name)
	}
	return routes, nil
}

func (p *Plan) routeBack(server netip.AddrPort, via []netip.Addr) (r policyroute.Route, err error) {
	a := server.Addr()
	r = policyroute.Route{Server: server}
	for _, l := range p.Chosen.Inside {
		for _, n := range l.Addrs {
			if !n.Contains(a) || n.Addr() == a || r.Via.IsValid() && !p.better(n.Addr(), r.Via) {
				continue
			}
			r.Via, r.Net = n.Addr(), n.Masked()
		}
	}
	if !r.Via.IsValid() {
		return r, fmt.Errorf("%v is in no network of the inside (%v): its router must send what comes from its port %d "+
			"to this machine", a, linkNames(p.Chosen.Inside), server.Port())
	}
	for _, v := range via {
		if v.Is4() == a.Is4() {
			if !r.Net.Contains(v) {
				return r, fmt.Errorf("%v is not in the server's network %v", v, r.Net)
			}
			r.Via = v
		}
	}
	return r, nil
}

// better reports whether address a is a better gateway than b. A service address is worse, because it may move away.
func (p *Plan) better(a, b netip.Addr) bool {
	service := func(a netip.Addr) bool {
		return slices.ContainsFunc(p.Tables.Services, func(s netip.AddrPort) bool { return s.Addr() == a })
	}
	if service(a) != service(b) {
		return service(b)
	}
	return a.Less(b)
}
