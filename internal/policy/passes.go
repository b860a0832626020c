package policy

import (
	"hushgate/internal/flowtab"
	"hushgate/internal/wire"
)

// passes are the clients that have waited, in the order in which they got their passes. A pass is not renewed by further
// connections, as in postscreen, so that this is also the order in which passes end, and a ring holds them without links: an
// entry costs 20 octets and its share of the index. Who loses its pass leaves a hole in the ring until its turn comes.
type passes struct {
	slab    *flowtab.Slab[pass] // the ring: positions are ids, from 1 to bound
	index   *flowtab.Index
	hash    hasher
	bound   uint32
	oldest  uint32 // position of the oldest entry
	used    uint32 // positions from there on, holes included
	evicted uint64
}

type pass struct {
	key   wire.Addr
	since stamp // 0: a hole
}

// sweepLimit is how many ended passes a new one clears away: more than one, so that they become fewer.
const sweepLimit = 4

func newPasses(bound int, hash hasher) passes {
	slab := flowtab.NewSlab[pass](bound)
	return passes{
		slab: slab, hash: hash, bound: uint32(bound), oldest: 1,
		index: flowtab.NewIndex(func(id uint32) uint64 { return hash.of(&slab.At(id).key) }),
	}
}

func (p *passes) find(hash uint64, key *wire.Addr) uint32 {
	c := p.index.Find(hash)
	for id := c.Next(); id != 0; id = c.Next() {
		if p.slab.At(id).key == *key {
			return id
		}
	}
	return 0
}

func (e *pass) good(now stamp, ttl uint32) bool { return uint32(now-e.since) < ttl }

// has reports whether a client has a pass that is still good.
func (p *passes) has(hash uint64, key *wire.Addr, now stamp, ttl uint32) bool {
	id := p.find(hash, key)
	return id != 0 && p.slab.At(id).good(now, ttl)
}

// take takes a client's pass; false if it has none that is good.
func (p *passes) take(hash uint64, key *wire.Addr, now stamp, ttl uint32) bool {
	id := p.find(hash, key)
	if id == 0 {
		return false
	}
	p.index.Delete(hash, id)
	e := p.slab.At(id)
	good := e.good(now, ttl)
	e.since = 0
	return good
}

// grant gives a client a pass; false if it has one that is good.
func (p *passes) grant(hash uint64, key *wire.Addr, now stamp, ttl uint32) bool {
	if p.has(hash, key, now, ttl) {
		return false
	}
	p.take(hash, key, now, ttl)
	for n := 0; n < sweepLimit && p.used > 0 && !p.lives(now, ttl); n++ {
		p.drop()
	}
	p.put(hash, key, now, now, ttl)
	return true
}

// lives reports whether the oldest entry is a pass that is good.
func (p *passes) lives(now stamp, ttl uint32) bool {
	e := p.slab.At(p.oldest)
	return e.since != 0 && e.good(now, ttl)
}

// put adds a pass at the end. The client has none.
func (p *passes) put(hash uint64, key *wire.Addr, since, now stamp, ttl uint32) {
	if p.used == p.bound {
		if p.lives(now, ttl) {
			p.evicted++
		}
		p.drop()
	}
	id := (p.oldest-1+p.used)%p.bound + 1
	if id == p.slab.Bound() { // never used before
		p.slab.Alloc()
	}
	*p.slab.At(id) = pass{*key, since}
	p.index.Insert(hash, id)
	p.used++
}

// drop removes the oldest entry.
func (p *passes) drop() {
	if e := p.slab.At(p.oldest); e.since != 0 {
		p.index.Delete(p.hash.of(&e.key), p.oldest)
		e.since = 0
	}
	p.oldest = p.oldest%p.bound + 1
	p.used--
}

// each calls f for all passes, the oldest first, until it returns false.
func (p *passes) each(f func(*pass) bool) {
	for i := range p.used {
		if e := p.slab.At((p.oldest-1+i)%p.bound + 1); e.since != 0 && !f(e) {
			return
		}
	}
}
