package kernelset

import (
	"cmp"
	"container/heap"
	"net/netip"
	"slices"
	"time"
)

// Entry is a network that is kept out.
type Entry struct {
	Prefix netip.Prefix
	// Left is for how long. In a List, 0 means for ever; only an administrator makes such entries, with nft.
	Left time.Duration
}

// entry is an Entry with the time at which it ends; the zero time means never.
type entry struct {
	prefix netip.Prefix
	ends   time.Time
	at     int // its place in the queue
}

// entries are what should be in the kernel, up to a bound. When they are too many, those that end first give way.
type entries struct {
	byPrefix map[netip.Prefix]*entry
	queue    queue
	max      int
}

func newEntries(limit int) *entries {
	return &entries{byPrefix: map[netip.Prefix]*entry{}, max: limit}
}

// change remembers what entries were before they changed, and so what the kernel must be told. A nil entry was not there.
type change map[netip.Prefix]*entry

func (e *entries) note(c change, p netip.Prefix) {
	if _, noted := c[p]; noted {
		return
	}
	if old := e.byPrefix[p]; old != nil {
		kept := *old
		c[p] = &kept
		return
	}
	c[p] = nil
}

// put adds an entry, or changes when it ends.
func (e *entries) put(c change, p netip.Prefix, ends time.Time) {
	e.note(c, p)
	if old := e.byPrefix[p]; old != nil {
		old.ends = ends
		heap.Fix(&e.queue, old.at)
		return
	}
	n := &entry{prefix: p, ends: ends}
	e.byPrefix[p] = n
	heap.Push(&e.queue, n)
}

// drop removes an entry, if it is there.
func (e *entries) drop(c change, p netip.Prefix) {
	if old := e.byPrefix[p]; old != nil {
		e.note(c, p)
		heap.Remove(&e.queue, old.at)
		delete(e.byPrefix, p)
	}
}

// expire forgets entries whose time is over. The kernel has forgotten them by itself.
func (e *entries) expire(now time.Time) {
	for len(e.queue) > 0 && !e.queue[0].ends.IsZero() && !e.queue[0].ends.After(now) {
		e.drop(change{}, e.queue[0].prefix)
	}
}

// bound removes those that end first until no more are left than allowed, and returns how many it removed.
func (e *entries) bound(c change) (n uint64) {
	for ; len(e.queue) > e.max; n++ {
		e.drop(c, e.queue[0].prefix)
	}
	return n
}

// undo takes a change back.
func (e *entries) undo(c change) {
	for p, old := range c {
		if old == nil {
			e.drop(change{}, p)
		} else {
			e.put(change{}, p, old.ends)
		}
	}
}

// list returns the entries in order of their addresses.
func (e *entries) list(now time.Time) []Entry {
	list := make([]Entry, 0, len(e.byPrefix))
	for p, x := range e.byPrefix {
		list = append(list, Entry{Prefix: p, Left: x.left(now)})
	}
	slices.SortFunc(list, func(a, b Entry) int { return order(a.Prefix, b.Prefix) })
	return list
}

// order compares networks by address, then by length.
func order(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// left returns how much time an entry has left: at least what the kernel can count, and 0 if it never ends.
func (x *entry) left(now time.Time) time.Duration {
	if x.ends.IsZero() {
		return 0
	}
	return max(x.ends.Sub(now), time.Millisecond)
}

// queue is a heap of entries: the first one ends first.
type queue []*entry

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	a, b := q[i].ends, q[j].ends
	switch {
	case a.Equal(b): // which one gives way must not depend on the order of a map
		return order(q[i].prefix, q[j].prefix) < 0
	case a.IsZero() || b.IsZero():
		return b.IsZero()
	}
	return a.Before(b)
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

func (q *queue) Push(x any) {
	n := x.(*entry)
	n.at = len(*q)
	*q = append(*q, n)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return x
}
