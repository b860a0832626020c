package policy

import (
	"fmt"
	"slices"
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

// Foreseen is how a client would be treated, and why.
type Foreseen struct {
	Decision
	Treatment Treatment
	Outcomes  *Outcomes // of DNS lists; nil if they are not asked
}

// Foresee decides as Treat would about a client with a signature, which may be unknown, and leaves everything as it is; false if
// there is no such frontend.
func (m *Memory) Foresee(a wire.Addr, sig Signature, frontend uint16, l Load, now mono.Time) (f Foreseen, ok bool) {
	if int(frontend) >= len(m.table.frontends) {
		return f, false
	}
	id := m.signatures.borrow(&sig)
	defer m.signatures.Release(id)
	f.Decision = m.table.Explain(&Client{Addr: a, Frontend: frontend, Signature: id}, m, l, now)
	f.Treatment = *m.table.Treatment(f.Decision.Treatment)
	f.Outcomes = m.table.Outcomes(&f.Treatment)
	return f, true
}

// Lined is a List that knows which of its lines an address matches; 0 for a list without lines.
type Lined interface{ Line(a wire.Addr) int }

// ListsWith returns the names of the lists that have an address, each once, with the line that has it: NAME:LINE.
func (t *Table) ListsWith(a wire.Addr) (names []string) {
	for _, l := range t.lists {
		if _, in := l.List.Lookup(a); !in {
			continue
		}
		name := l.Name
		if file, ok := l.List.(Lined); ok && file.Line(a) > 0 {
			name = fmt.Sprintf("%s:%d", name, file.Line(a))
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
