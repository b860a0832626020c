package plan

import (
	"hushgate/dataplane/port"
	"hushgate/internal/wire"
)

// Filter returns the filter for the sockets of an interface on a side. spread is the secret of port.Spread.
func (b *Tables) Filter(side wire.Side, spread [2]uint64) port.Filter {
	f := port.Filter{Sides: side, Services: b.Services, Servers: b.Servers, Checks: b.ownChecks(), Spread: port.NewSpread(spread)}
	for _, s := range b.sources() {
		f.Sources = append(f.Sources, port.Source{Addr: s.Addr, First: s.First, Last: s.Last})
	}
	return f
}
