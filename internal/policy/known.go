package policy

import (
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// Known is what a Memory knows of one client.
type Known struct {
	Pass        *GoodPass    // nil if it has none
	Offender    *Offender    // nil if it has no offences
	Connections *Connections // nil if it has none, and had none lately
}

// Known returns what is known of the client that an address belongs to.
func (m *Memory) Known(a wire.Addr, now mono.Time) (k Known) {
	at, t := m.stamp(now), m.table
	key, bits := t.prefixes.cut(a), t.prefixes.bits(a)
	hash := m.hash(&key)
	if id := m.passes.find(hash, &key); id != 0 {
		if e := m.passes.slab.At(id); e.good(at, t.passTTL) {
			has := age(at, e.since)
			k.Pass = &GoodPass{Pass{key, bits, has}, time.Duration(t.passTTL)*time.Second - has}
		}
	}
	if id := m.offenders.find(hash, &key); id != 0 {
		if o, counts := t.offender(m.offenders.slab.At(id), at); counts {
			k.Offender = &o
		}
	}
	if open, rate := m.clients.look(hash, &key, m.windowAt(now)); open+rate > 0 {
		k.Connections = &Connections{key, bits, open, rate}
	}
	return k
}

// Foresee decides as Treat would about a client whose signature is not known, and leaves everything as it is; false if
// there is no such frontend.
func (m *Memory) Foresee(a wire.Addr, frontend uint16, l Load, now mono.Time) (d Decision, t Treatment, ok bool) {
	if int(frontend) >= len(m.table.frontends) {
		return d, t, false
	}
	d = m.table.Explain(&Client{Addr: a, Frontend: frontend}, m, l, now)
	return d, *m.table.Treatment(d.Treatment), true
}

// ListsWith returns the names of the lists that have an address, each once.
func (t *Table) ListsWith(a wire.Addr) (names []string) {
	seen := map[string]bool{}
	for _, l := range t.lists {
		if _, in := l.List.Lookup(a); in && !seen[l.Name] {
			seen[l.Name] = true
			names = append(names, l.Name)
		}
	}
	return names
}
