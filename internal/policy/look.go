package policy

import (
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// What is known of clients can be looked at in parts: each function looks at the next n places of a table, beginning with place
// from, which is 0 at first, and appends to list up to its capacity. It returns the place with which to go on; 0: that was the last
// one. What changes between two parts may be missing, or be there twice.

// Net is a network of clients. The zero value has all addresses.
type Net struct {
	Addr wire.Addr
	Bits uint8 // leading bits, of 128
}

// has reports whether the network has a client's prefix in it, or is a part of it.
func (n *Net) has(key wire.Addr, bits uint8) bool {
	if key.Is4() {
		bits += 96
	}
	for i, rest := 0, int(min(n.Bits, bits)); rest > 0; i, rest = i+1, rest-8 {
		shift := max(0, 8-rest)
		if n.Addr[i]>>shift != key[i]>>shift {
			return false
		}
	}
	return true
}

// places walks the places of a table. do returns false to end the walk behind its place.
func places(from uint32, n int, bound uint32, do func(id uint32) bool) (next uint32) {
	for id := max(from, 1); ; id++ {
		if id >= bound {
			return 0
		}
		if n--; n < 0 {
			return id
		}
		if !do(id) {
			return id + 1
		}
	}
}

// GoodPass is a pass and how long it is still good.
type GoodPass struct {
	Pass
	Left time.Duration
}

// ListPasses lists passes of a network that are good.
func (m *Memory) ListPasses(from uint32, n int, of *Net, list []GoodPass, now mono.Time) ([]GoodPass, uint32) {
	at, t := m.stamp(now), m.table
	next := places(from, n, m.passes.slab.Bound(), func(id uint32) bool {
		e := m.passes.slab.At(id)
		if e.since != 0 && e.good(at, t.passTTL) && of.has(e.key, t.prefixes.bits(e.key)) {
			has := age(at, e.since)
			list = append(list, GoodPass{Pass{e.key, t.prefixes.bits(e.key), has}, time.Duration(t.passTTL)*time.Second - has})
		}
		return len(list) < cap(list)
	})
	return list, next
}

// ListOffenders lists clients of a network that have talked early, or that were made offenders.
func (m *Memory) ListOffenders(from uint32, n int, of *Net, list []Offender, now mono.Time) ([]Offender, uint32) {
	at, t := m.stamp(now), m.table
	next := places(from, n, m.offenders.slab.Bound(), func(id uint32) bool {
		e := m.offenders.slab.At(id)
		if of.has(e.key, t.prefixes.bits(e.key)) {
			if o, counts := t.offender(e, at); counts {
				list = append(list, o)
			}
		}
		return len(list) < cap(list)
	})
	return list, next
}

// ListUsage lists the clients of a network that have connections, or had new ones lately.
func (m *Memory) ListUsage(from uint32, n int, of *Net, list []Connections, now mono.Time) ([]Connections, uint32) {
	w, t := m.windowAt(now), m.table
	next := places(from, n, m.clients.slab.Bound(), func(id uint32) bool {
		e := m.clients.slab.At(id)
		c := e.value
		c.turn(w)
		if u := (Connections{e.key, t.prefixes.bits(e.key), c.open, c.rate(w)}); e.key != (wire.Addr{}) && u.Open+u.Rate > 0 && of.has(u.Addr, u.Bits) {
			list = append(list, u)
		}
		return len(list) < cap(list)
	})
	return list, next
}

// Prefix returns the client that an address belongs to.
func (m *Memory) Prefix(a wire.Addr) (prefix wire.Addr, bits uint8) {
	return m.table.prefixes.cut(a), m.table.prefixes.bits(a)
}
