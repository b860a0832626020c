package policy

import (
	"hushgate/internal/flowtab"
	"hushgate/internal/wire"
)

// keyed is a bounded table of clients with a queue through some of its entries, the oldest first.
type keyed[V any] struct {
	slab       *flowtab.Slab[entry[V]]
	index      *flowtab.Index
	head, tail uint32
}

// entry is one client's. V holds no pointers.
type entry[V any] struct {
	key        wire.Addr
	next, prev uint32
	value      V
}

func newKeyed[V any](bound int, hash hasher) keyed[V] {
	slab := flowtab.NewSlab[entry[V]](bound)
	return keyed[V]{slab: slab, index: flowtab.NewIndex(func(id uint32) uint64 { return hash.of(&slab.At(id).key) })}
}

// find returns the id of a client, 0 if it has none.
func (t *keyed[V]) find(hash uint64, key *wire.Addr) uint32 {
	c := t.index.Find(hash)
	for id := c.Next(); id != 0; id = c.Next() {
		if t.slab.At(id).key == *key {
			return id
		}
	}
	return 0
}

// insert adds a client that has no entry; 0 if there is no room. The entry is not in the queue.
func (t *keyed[V]) insert(hash uint64, key *wire.Addr) uint32 {
	id, ok := t.slab.Alloc()
	if !ok {
		return 0
	}
	*t.slab.At(id) = entry[V]{key: *key}
	t.index.Insert(hash, id)
	return id
}

// remove removes a client that is not in the queue.
func (t *keyed[V]) remove(hash uint64, id uint32) {
	t.index.Delete(hash, id)
	*t.slab.At(id) = entry[V]{} // who goes through all ids sees that it is none
	t.slab.Free(id)
}

// push puts an entry at the end of the queue, in which it is not yet.
func (t *keyed[V]) push(id uint32) {
	e := t.slab.At(id)
	e.prev, e.next = t.tail, 0
	if t.tail == 0 {
		t.head = id
	} else {
		t.slab.At(t.tail).next = id
	}
	t.tail = id
}

// pull takes an entry out of the queue, in which it is.
func (t *keyed[V]) pull(id uint32) {
	e := t.slab.At(id)
	if e.prev == 0 {
		t.head = e.next
	} else {
		t.slab.At(e.prev).next = e.next
	}
	if e.next == 0 {
		t.tail = e.prev
	} else {
		t.slab.At(e.next).prev = e.prev
	}
}
