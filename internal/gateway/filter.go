package gateway

import (
	"hushgate/dataplane/port"
	"hushgate/internal/wire"
)

// filter is what the sockets of an interface on some side let in; spread is the secret of port.Spread.
func (b *built) filter(side wire.Side, spread [2]uint64) port.Filter {
	f := port.Filter{Sides: side, Services: b.services, Servers: b.servers, Checks: b.ownChecks(), Spread: port.NewSpread(spread)}
	for _, s := range b.sources() {
		f.Sources = append(f.Sources, port.Source{Addr: s.Addr, First: s.First, Last: s.Last})
	}
	return f
}
