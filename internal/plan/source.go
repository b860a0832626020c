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

// sourceOf translates a server-side address for the core.
func sourceOf(s config.Source) dataplane.Source {
	if !s.Set() {
		return dataplane.Source{}
	}
	return dataplane.Source{Addr: wire.AddrFrom(s.Addr), First: s.First, Last: s.Last}
}

// plain reports whether the kernel can forward a client to a server.
func plain(s *dataplane.Server) bool {
	return s.Proxy == proxyproto.None && s.Source == dataplane.Source{}
}

// sources lists the server-side addresses of all servers without duplicates, including servers that are retired.
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

// HasSources reports whether there are server-side addresses.
func (b *Tables) HasSources() bool { return len(b.sources()) > 0 }

// apart reports a service whose port is a server-side port on the same address. The port must show whether a client or a
// server sent a packet.
func (b *Tables) apart() error {
	for _, s := range b.sources() {
		for _, v := range b.Services {
			if v.Addr() == s.Addr && s.First <= v.Port() && v.Port() <= s.Last {
				return fmt.Errorf("the service %v uses a port of the server-side address %v:%d-%d towards the server %v: give its `source` a range without that port",
					v, s.Addr, s.First, s.Last, s.Server)
			}
		}
	}
	return nil
}

// sourceWarnings compares server-side addresses with this machine's addresses, and their ports with those that the kernel
// gives to its own connections.
func sourceWarnings(sources []firewall.Source, local []wire.Addr, low, high uint16) (warnings []string) {
	for _, s := range sources {
		own := slices.Contains(local, wire.AddrFrom(s.Addr))
		switch {
		case !own:
			warnings = append(warnings, fmt.Sprintf("the server-side address %v towards the server %v is not an address of this machine, which does "+
				"not answer ARP or neighbour solicitations for it: it must be routed here", s.Addr, s.Server))
		case s.First <= high && low <= s.Last:
			warnings = append(warnings, fmt.Sprintf("the server-side address %v:%d-%d overlaps with ports %d to %d of the kernel's own "+
				"connections (net.ipv4.ip_local_port_range): other connections of this machine to the server %v get no answer "+
				"on these ports; health checks avoid them if there are others", s.Addr, s.First, s.Last, low, high, s.Server))
		}
	}
	return warnings
}
