package plan

import (
	"hushgate/dataplane/port"
	"hushgate/internal/config"
	"hushgate/internal/wire"
)

// Filter returns the filter for the sockets of an interface on a side, of a gateway that spreads its clients over its shards.
func (b *Tables) Filter(side wire.Side, spread port.Spread) port.Filter {
	f := port.Filter{Sides: side, Services: b.Services, Servers: b.Servers, Checks: b.ownChecks(), Spread: spread}
	for _, s := range b.sources() {
		f.Sources = append(f.Sources, port.Source{Addr: s.Addr, First: s.First, Last: s.Last})
	}
	return f
}

// Prefix returns how many bits of a client's address select its shard: as many as make a client, so that the shard knows all
// of it.
func Prefix(cfg *config.Config) port.Prefix {
	p := cfg.Global.PrefixLength
	return port.Prefix{IPv4: uint8(p.IPv4), IPv6: uint8(p.IPv6)}
}
