package flowtab

import (
	"cmp"
	"slices"
	"time"

	"hushgate/internal/mono"
)

// Each calls f for every record that is in a queue: the queues one after the other, the records of each in the order in
// which they come due, and then those that were placed, in no order. f may not change a queue.
func (q *Queues) Each(f func(rec uint32, delay time.Duration, due mono.Time)) {
	for i := 1; i < len(q.lists); i++ {
		l := &q.lists[i]
		for rec := l.head; rec != 0; {
			k := q.link(rec)
			next := k.next
			f(rec, l.delay, k.deadline)
			rec = next
		}
	}
	for i := range q.heaps {
		for j := range q.heaps[i].entries {
			if e := &q.heaps[i].entries[j]; q.current(e) {
				f(e.rec, q.lists[q.queueOf(e)].delay, e.due)
			}
		}
	}
}

// Restore appends a record, which must be in no queue, to the queue for a delay of a class, with a deadline that came from
// Each. If there is no such queue, it makes one that is already retired; false if there is no room for another queue. Before
// Settle only Restore, Remove and Oldest may be called.
func (q *Queues) Restore(rec uint32, class Class, delay time.Duration, due mono.Time) bool {
	i := q.find(class, delay)
	if i == 0 {
		if len(q.lists) > maxQueues {
			return false
		}
		i = QueueID(len(q.lists))
		q.lists = append(q.lists, list{delay: delay, class: class, retired: true})
	}
	l := &q.lists[i]
	k, in := q.linkOf(rec)
	*k, *in = Link{deadline: due, prev: l.tail}, i
	if l.tail == 0 {
		l.head = rec
	} else {
		tail := q.link(l.tail)
		tail.next = rec
		l.unsorted = l.unsorted || tail.deadline > due
	}
	l.tail = rec
	return true
}

// Settle sorts queues that were restored from several other queues.
func (q *Queues) Settle() {
	for i := 1; i < len(q.lists); i++ {
		l := &q.lists[i]
		if !l.unsorted {
			continue
		}
		var recs []uint32
		for rec := l.head; rec != 0; rec = q.link(rec).next {
			recs = append(recs, rec)
		}
		slices.SortStableFunc(recs, func(a, b uint32) int { return cmp.Compare(q.link(a).deadline, q.link(b).deadline) })
		for j, rec := range recs {
			k := q.link(rec)
			k.prev, k.next = 0, 0
			if j > 0 {
				k.prev = recs[j-1]
			}
			if j+1 < len(recs) {
				k.next = recs[j+1]
			}
		}
		l.head, l.tail, l.unsorted = recs[0], recs[len(recs)-1], false
	}
}
