package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"hushgate/internal/config"
	"hushgate/internal/netenv"
)

// RoutedSource is a server-side address that the configuration leaves to the route to the server (config.Source.ByRoute).
type RoutedSource struct {
	Server string // BACKEND/NAME
	Source config.Source
}

// String tells the administrator which address the server must trust.
func (s RoutedSource) String() string {
	return fmt.Sprintf("server %s sees connections from %v, ports %d to %d: the route to it prefers that address", s.Server,
		s.Source.Addr, s.Source.First, s.Source.Last)
}

// RouteSources completes each server-side address that is left to the route: it takes the address of this machine from which
// the kernel would connect to the server, as wayTo says, and ports that no service uses. It makes its changes in a copy.
func RouteSources(cfg *config.Config, services []netip.AddrPort, wayTo func(netip.Addr) (netip.Addr, error)) (*config.Config, []RoutedSource, error) {
	var list []RoutedSource
	out := *cfg
	out.Backends = slices.Clone(cfg.Backends)
	for i := range out.Backends {
		b := &out.Backends[i]
		b.Servers = slices.Clone(b.Servers)
		for j := range b.Servers {
			s := &b.Servers[j]
			if !s.Source.ByRoute() {
				continue
			}
			name := b.Name + "/" + s.Name
			a, err := wayTo(s.Addr)
			switch {
			case err != nil:
				return nil, nil, fmt.Errorf("server %s: %w", name, err)
			case a.IsLinkLocalUnicast() && !s.Addr.IsLinkLocalUnicast(): // the proper address is new and still being checked for duplicates (RFC 4862 section 5.4)
				return nil, nil, fmt.Errorf("server %s: this machine has no address to connect to %v from but %v: %w", name, s.Addr, a,
					netenv.ErrDown)
			case a == s.Addr:
				return nil, nil, fmt.Errorf("server %s: %v is an address of this machine: hushgate serves servers on other machines", name, a)
			}
			s.Source.Addr = a
			first, last := widest(s.Source, services)
			if first > last {
				return nil, nil, fmt.Errorf("server %s: its server-side address %v has only one port, which a service uses", name, s.Source)
			}
			s.Source.First, s.Source.Last = first, last
			list = append(list, RoutedSource{name, s.Source})
		}
	}
	return &out, list, nil
}

// widest returns the widest range of server-side ports without a service's port on the same address.
func widest(s config.Source, services []netip.AddrPort) (first, last uint16) {
	taken := []int{int(s.Last) + 1}
	for _, v := range services {
		if v.Addr() == s.Addr && s.First <= v.Port() && v.Port() <= s.Last {
			taken = append(taken, int(v.Port()))
		}
	}
	slices.Sort(taken)
	first, last = s.First, s.First-1 // none
	begin, most := int(s.First), 0
	for _, t := range taken {
		if t-begin > most {
			most, first, last = t-begin, uint16(begin), uint16(t-1)
		}
		begin = t + 1
	}
	return first, last
}

// sourceMove is a server-side address that has changed.
type sourceMove struct{ Was, Now RoutedSource }

func MovedSources(was, now []RoutedSource) (moves []sourceMove) {
	for i := range min(len(was), len(now)) { // both are of one configuration
		if was[i] != now[i] {
			moves = append(moves, sourceMove{was[i], now[i]})
		}
	}
	return moves
}
