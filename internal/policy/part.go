package policy

import "hushgate/internal/mono"

// Part is a part of what a memory saves. A memory of a million passes is saved in parts, so that its shard is never busy with it for
// long. The zero value is the beginning.
type Part struct {
	WithoutPasses bool   // offenders alone
	Passes        []Pass // SavePart appends to both
	Offenders     []Offender
	pass          uint32 // the last positions that were looked at
	offender      uint32
}

// SavePart adds the next passes and offenders to a part: those at the next n places of the memory, used or not. It returns
// false when there are no more. What changes between two parts may be missing, or be there twice; RestorePasses sorts that out.
func (m *Memory) SavePart(p *Part, n int, now mono.Time) (more bool) {
	at, t := m.stamp(now), m.table
	if p.WithoutPasses {
		p.pass = max(m.passes.slab.Bound(), 1) - 1
	}
	for ; n > 0 && p.pass+1 < m.passes.slab.Bound(); n-- {
		p.pass++
		if e := m.passes.slab.At(p.pass); e.since != 0 && e.good(at, t.passTTL) {
			p.Passes = append(p.Passes, Pass{e.key, t.prefixes.bits(e.key), age(at, e.since)})
		}
	}
	for ; n > 0 && p.offender+1 < m.offenders.slab.Bound(); n-- {
		p.offender++
		if o, counts := t.offender(m.offenders.slab.At(p.offender), at); counts {
			p.Offenders = append(p.Offenders, o)
		}
	}
	return p.pass+1 < m.passes.slab.Bound() || p.offender+1 < m.offenders.slab.Bound()
}

// Changes is how often that changed which is saved: while it stays the same, there is nothing new to save.
func (m *Memory) Changes() uint64 { return m.changes }
