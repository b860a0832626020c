package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/firewall"
	"hushgate/internal/proxyproto"
	"hushgate/internal/wire"
)

// sourceOf is a source in the core's terms.
func sourceOf(s config.Source) dataplane.Source {
	if !s.Set() {
		return dataplane.Source{}
	}
	return dataplane.Source{Addr: wire.AddrFrom(s.Addr), First: s.First, Last: s.Last}
}

// plain reports whether the kernel can hand a client to a server.
func plain(s *dataplane.Server) bool {
	return s.Proxy == proxyproto.None && s.Source == dataplane.Source{}
}

// sources lists the sources of all servers, those that have only connections left included, without doubles.
func (b *Tables) sources() (list []firewall.Source) {
	for _, s := range b.Shard.Servers {
		if s.Source == (dataplane.Source{}) {
			continue
		}
		v := firewall.Source{
			Server: netip.AddrPortFrom(s.Addr.Netip(), s.Port), Addr: s.Source.Addr.Netip(), First: s.Source.First, Last: s.Source.Last,
		}
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

// apart reports a service whose port is one of a source's, on the same address: what comes there is told by the port.
func (b *Tables) apart() error {
	for _, s := range b.sources() {
		for _, v := range b.Services {
			if v.Addr() == s.Addr && s.First <= v.Port() && v.Port() <= s.Last {
				return fmt.Errorf("the service %v has a port of the source %v:%d-%d towards the server %v: give that a range without it",
					v, s.Addr, s.First, s.Last, s.Server)
			}
		}
	}
	return nil
}

// sourceWarnings compares sources with this machine's addresses and with the ports that the kernel gives to connections of
// its own.
func sourceWarnings(sources []firewall.Source, local []wire.Addr, low, high uint16) (warnings []string) {
	for _, s := range sources {
		own := slices.Contains(local, wire.AddrFrom(s.Addr))
		switch {
		case !own:
			warnings = append(warnings, fmt.Sprintf("the source %v towards the server %v is not an address of this machine: nobody "+
				"answers ARP or neighbour solicitations for it, so it must be routed here", s.Addr, s.Server))
		case s.First <= high && low <= s.Last:
			warnings = append(warnings, fmt.Sprintf("the source %v:%d-%d overlaps with the ports %d to %d of the kernel's own "+
				"connections (net.ipv4.ip_local_port_range): what else this machine connects to the server %v for gets no answer "+
				"at those; health checks avoid them, if there are others", s.Addr, s.First, s.Last, low, high, s.Server))
		}
	}
	return warnings
}
