package lists

import (
	"net/netip"
	"slices"
)

// pattern is a network, or all addresses of its family outside it.
type pattern struct {
	network netip.Prefix
	not     bool
}

// region returns the prefixes that p consists of, disjoint and in the order of their addresses.
func (p pattern) region() []netip.Prefix {
	if !p.not {
		return []netip.Prefix{p.network}
	}
	parts := make([]netip.Prefix, 0, p.network.Bits())
	for bits := 1; bits <= p.network.Bits(); bits++ {
		parts = append(parts, sibling(p.network, bits))
	}
	slices.SortFunc(parts, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return parts
}

// sibling returns the prefix of length bits that agrees with p in all bits but the last.
func sibling(p netip.Prefix, bits int) netip.Prefix {
	a, at := p.Addr().AsSlice(), bits-1
	a[at/8] ^= 0x80 >> (at % 8)
	addr, _ := netip.AddrFromSlice(a)
	return netip.PrefixFrom(addr, bits).Masked()
}

// intersect returns the addresses that are in both a and b, which are as region returns them, of one family or of two.
func intersect(a, b []netip.Prefix) []netip.Prefix {
	if len(a) == 0 || len(b) == 0 || a[0].Addr().Is4() != b[0].Addr().Is4() {
		return nil
	}
	a, b = from(a, b[0]), from(b, a[0])
	var both []netip.Prefix
	for len(a) > 0 && len(b) > 0 {
		x, y := a[0], b[0]
		switch {
		case !x.Overlaps(y) && x.Addr().Less(y.Addr()):
			a = a[1:]
		case !x.Overlaps(y):
			b = b[1:]
		case x.Bits() <= y.Bits():
			both, b = append(both, y), b[1:]
		default:
			both, a = append(both, x), a[1:]
		}
	}
	return both
}

// from returns the rest of parts behind those that lie entirely before p, so that a million small networks within a region
// of many parts do not each walk over all of them.
func from(parts []netip.Prefix, p netip.Prefix) []netip.Prefix {
	i, _ := slices.BinarySearchFunc(parts, p, func(x, p netip.Prefix) int {
		if !x.Overlaps(p) && x.Addr().Less(p.Addr()) {
			return -1
		}
		return 1
	})
	return parts[i:]
}
