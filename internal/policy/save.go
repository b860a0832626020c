package policy

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// Pass is a pass as it is saved. It knows no clock: whoever keeps it for later adds the time that goes by to its Age.
type Pass struct {
	Addr wire.Addr // of a client, cut to Bits
	Bits uint8     // length of the prefix, up to 32 for IPv4
	Age  time.Duration
}

// Offender is a client that has talked early, as it is saved.
type Offender struct {
	Addr wire.Addr
	Bits uint8
	Left time.Duration   // how long it is still listed; 0 if it is not
	Ages []time.Duration // of its offences, the oldest first
}

// Passes yields the passes that are good, the oldest first. The memory may not be used meanwhile.
func (m *Memory) Passes(now mono.Time) iter.Seq[Pass] { return m.passesOf(m.table, now) }

func (m *Memory) passesOf(t *Table, now mono.Time) iter.Seq[Pass] {
	return func(yield func(Pass) bool) {
		at := m.stamp(now)
		m.passes.each(func(e *pass) bool {
			return !e.good(at, t.passTTL) || yield(Pass{e.key, t.prefixes.bits(e.key), age(at, e.since)})
		})
	}
}

func age(now, since stamp) time.Duration { return time.Duration(now-since) * time.Second }

// before returns the stamp of what is that old; false if it is older than can be counted.
func before(now stamp, age time.Duration) (stamp, bool) {
	s := max(age, 0) / time.Second
	return now - stamp(s), s < time.Duration(now)
}

// fits reports whether a prefix that was saved stands for all addresses of a client.
func (p Prefixes) fits(a wire.Addr, bits uint8) bool { return bits <= 128 && p.bits(a) <= bits }

// RestorePasses adds passes that were saved, by this shard or by others, in any order. Of two for one client the younger one
// stays; if there are too many, the oldest go. A pass for a prefix that is shorter than the present ones is left out, because
// it would have to be one for many clients; so is one that has ended. It returns how many were taken.
func (m *Memory) RestorePasses(saved iter.Seq[Pass], now mono.Time) (taken int) {
	at, t := m.stamp(now), m.table
	var list []pass
	for p := range saved {
		since, ok := before(at, p.Age)
		e := pass{t.prefixes.cut(p.Addr), since}
		if ok && t.prefixes.fits(p.Addr, p.Bits) && e.good(at, t.passTTL) {
			list = append(list, e)
		}
	}
	taken = len(list)
	m.passes.each(func(e *pass) bool {
		list = append(list, *e)
		return true
	})
	list = youngest(list)
	evicted := m.passes.evicted
	m.passes = newPasses(m.bounds.Passes, m.key)
	for i := range list {
		m.passes.put(m.hash(&list[i].key), &list[i].key, list[i].since, at, t.passTTL)
	}
	m.passes.evicted += evicted
	m.changes++
	return taken
}

// youngest returns the youngest pass of each client, the oldest first. With a million passes this is done while a takeover keeps
// connections waiting, so what is sorted are numbers: the time, and the place in the list.
func youngest(list []pass) []pass {
	order := make([]uint64, len(list))
	for i := range list {
		order[i] = uint64(list[i].since)<<32 | uint64(i)
	}
	slices.Sort(order)
	seen := make(map[wire.Addr]struct{}, len(list))
	out := make([]pass, 0, len(list))
	for _, o := range slices.Backward(order) {
		e := &list[uint32(o)]
		if _, again := seen[e.key]; !again {
			seen[e.key] = struct{}{}
			out = append(out, *e)
		}
	}
	slices.Reverse(out)
	return out
}

// Offenders yields the clients that are listed, or have offences that still count, the one whose last offence is oldest
// first. The memory may not be used meanwhile.
func (m *Memory) Offenders(now mono.Time) iter.Seq[Offender] { return m.offendersOf(m.table, now) }

func (m *Memory) offendersOf(t *Table, now mono.Time) iter.Seq[Offender] {
	return func(yield func(Offender) bool) {
		at := m.stamp(now)
		for id := m.offenders.head; id != 0; id = m.offenders.slab.At(id).next {
			if o, counts := t.offender(m.offenders.slab.At(id), at); counts && !yield(o) {
				return
			}
		}
	}
}

// offender returns an entry as it is saved; false if nothing of it counts any more.
func (t *Table) offender(e *entry[record], at stamp) (o Offender, counts bool) {
	r := e.value
	r.forget(at, t.offences.within)
	o = Offender{Addr: e.key, Bits: t.prefixes.bits(e.key)}
	if r.until > at {
		o.Left = age(r.until, at)
	}
	for _, offence := range r.at[:r.count] {
		o.Ages = append(o.Ages, age(at, offence))
	}
	return o, o.Left > 0 || len(o.Ages) > 0
}

// RestoreOffenders adds offenders that were saved, by this shard or by others; see RestorePasses. It returns how many were
// taken.
func (m *Memory) RestoreOffenders(saved iter.Seq[Offender], now mono.Time) (taken int) {
	at, t := m.stamp(now), m.table
	list := slices.SortedStableFunc(saved, func(a, b Offender) int { return cmp.Compare(b.last(), a.last()) })
	m.changes++
	for _, o := range list {
		if !t.prefixes.fits(o.Addr, o.Bits) {
			continue
		}
		key := t.prefixes.cut(o.Addr)
		m.offenders.renew(m.hash(&key), &key, at).merge(&o, at)
		taken++
	}
	return taken
}

// last is the age of the last offence; of one that was listed by hand it is not known.
func (o *Offender) last() time.Duration {
	if len(o.Ages) == 0 {
		return 0
	}
	return o.Ages[len(o.Ages)-1]
}

// merge adds what was saved of a client.
func (r *record) merge(o *Offender, now stamp) {
	left := stamp(min(max(o.Left, 0)/time.Second, 1<<30))
	if left > 0 {
		r.until = max(r.until, now+left)
	}
	list := slices.Clone(r.at[:r.count])
	for _, a := range o.Ages {
		if at, ok := before(now, a); ok {
			list = append(list, at)
		}
	}
	slices.Sort(list)
	r.count = 0
	for _, at := range list {
		r.add(at)
	}
}

// Forget takes a client's pass, without an offence; false if it has none.
func (m *Memory) Forget(a wire.Addr, now mono.Time) bool {
	key := m.table.prefixes.cut(a)
	m.changes++
	return m.passes.take(m.hash(&key), &key, m.stamp(now), m.table.passTTL)
}

// HasPass reports whether a client has a pass.
func (m *Memory) HasPass(a wire.Addr, now mono.Time) bool {
	key := m.table.prefixes.cut(a)
	return m.passes.has(m.hash(&key), &key, m.stamp(now), m.table.passTTL)
}

// Listed reports whether a client is an offender.
func (m *Memory) Listed(a wire.Addr, now mono.Time) bool {
	key := m.table.prefixes.cut(a)
	return m.offenders.listed(m.hash(&key), &key, m.stamp(now))
}

// List makes a client an offender for a time, whatever it has done.
func (m *Memory) List(a wire.Addr, left time.Duration, now mono.Time) {
	key := m.table.prefixes.cut(a)
	m.changes++
	m.offenders.renew(m.hash(&key), &key, m.stamp(now)).until = m.stamp(now) + stamp(seconds(left))
}

// Prolong makes a client an offender for a time, unless it is one for longer.
func (m *Memory) Prolong(a wire.Addr, left time.Duration, now mono.Time) {
	key, at := m.table.prefixes.cut(a), m.stamp(now)
	if id := m.offenders.find(m.hash(&key), &key); id != 0 && m.offenders.slab.At(id).value.until >= at+stamp(seconds(left)) {
		return
	}
	m.List(a, left, now)
}

// Unlist forgets a client's offences; false if it has none.
func (m *Memory) Unlist(a wire.Addr) bool {
	key := m.table.prefixes.cut(a)
	id := m.offenders.find(m.hash(&key), &key)
	if id != 0 {
		m.offenders.forgetID(id)
		m.changes++
	}
	return id != 0
}

// Connections is how many connections a client has, for those who look.
type Connections struct {
	Addr wire.Addr
	Bits uint8
	Open uint32 // concurrent ones
	Rate uint32 // new ones in Config.Window
}

// Clients yields the clients that have connections, or have had new ones within two windows. The memory may not be used
// meanwhile.
func (m *Memory) Clients(now mono.Time) iter.Seq[Connections] {
	return func(yield func(Connections) bool) {
		w := m.windowAt(now)
		for id := uint32(1); id < m.clients.slab.Bound(); id++ {
			e := m.clients.slab.At(id)
			c := e.value
			c.turn(w)
			out := Connections{e.key, m.table.prefixes.bits(e.key), c.open, c.rate(w)}
			if (out.Open > 0 || out.Rate > 0) && !yield(out) {
				return
			}
		}
	}
}
