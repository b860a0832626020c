package port

import "hushgate/internal/wire"

// Shard returns the number of the shard, of n, to which the kernel gives a TCP segment by the Selector's program.
func (f Filter) Shard(src, dst wire.Addr, dstPort uint16, n int) int {
	if f.Sides.Has(wire.Inside) {
		for _, s := range f.Sources {
			if wire.AddrFrom(s.Addr) == dst && s.First <= dstPort && dstPort <= s.Last {
				return int(dstPort) % n
			}
		}
	}
	toService := f.Sides == wire.Outside
	if f.Sides.Has(wire.Outside) && f.Sides.Has(wire.Inside) {
		for _, s := range f.Services {
			toService = toService || wire.AddrFrom(s.Addr()) == dst
		}
	}
	if toService {
		return f.Spread.Shard(src, n)
	}
	return f.Spread.Shard(dst, n)
}
