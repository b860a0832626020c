package flowtab

import (
	"time"

	"hushgate/internal/mono"
)

// A queue is sorted because all its records wait equally long from the moment at which they are pushed. A record that has
// waited elsewhere for a part of its delay would have to go into the middle. So Place keeps such records in heaps beside the
// queues, one heap for each class: a place costs O(log n), and who never places anything pays nothing. Such a record belongs to
// a queue like any other; it only is not linked.

// placed in Link.prev says that a record is in a heap, and is not linked.
const placed = ^uint32(0)

// heap holds the placed records of one class, the one that is due first at the root. A record that was removed leaves its
// entry behind: it is dropped when it gets to the root, or when such entries are the majority.
type heap struct {
	entries []entry
	stale   int
}

// entry is a record's place. The record has the same number in Link.next: one that is placed again has another one.
type entry struct {
	due    mono.Time
	rec    uint32
	number uint32
}

// before orders entries: of two that are due together the one that was placed first comes first.
func (e *entry) before(f *entry) bool {
	return e.due < f.due || e.due == f.due && int32(e.number-f.number) < 0
}

// Room reports whether Place, or Restore, would find a queue for a delay of a class.
func (q *Queues) Room(class Class, delay time.Duration) bool {
	if q.find(class, delay) != 0 || len(q.lists) <= maxQueues {
		return true
	}
	return q.unused() != 0
}

// Place puts a record, which is in no queue, into the queue for a delay of a class, due at any moment; false if there is none
// and no room for one more.
func (q *Queues) Place(rec uint32, class Class, delay time.Duration, due mono.Time) bool {
	i := q.find(class, delay)
	if i == 0 {
		if i = q.add(list{delay: delay, class: class, retired: true}); i == 0 {
			return false
		}
	}
	q.lists[i].placed++
	k, in := q.linkOf(rec)
	q.number++
	*k, *in = Link{deadline: due, next: q.number, prev: placed}, i
	for int(class) >= len(q.heaps) {
		q.heaps = append(q.heaps, heap{})
	}
	h := &q.heaps[class]
	h.entries = append(h.entries, entry{due, rec, q.number})
	h.up(len(h.entries) - 1)
	return true
}

// unplace takes a placed record out of its queue. Its entry stays for a while.
func (q *Queues) unplace(l *list) {
	l.placed--
	h := &q.heaps[l.class]
	if h.stale++; h.stale > len(h.entries)/2+16 {
		q.compact(h)
	}
}

// current reports whether an entry is about the record as it is now.
func (q *Queues) current(e *entry) bool {
	k, in := q.linkOf(e.rec)
	return *in != 0 && k.prev == placed && k.next == e.number
}

// compact drops all stale entries.
func (q *Queues) compact(h *heap) {
	kept := h.entries[:0]
	for i := range h.entries {
		if q.current(&h.entries[i]) {
			kept = append(kept, h.entries[i])
		}
	}
	h.entries, h.stale = kept, 0
	for i := len(kept)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// root returns the entry of a heap that is due first, nil if the heap has none.
func (q *Queues) root(h *heap) *entry {
	for len(h.entries) > 0 {
		if e := &h.entries[0]; q.current(e) {
			return e
		}
		h.stale--
		last := len(h.entries) - 1
		h.entries[0] = h.entries[last]
		h.entries = h.entries[:last]
		h.down(0)
	}
	return nil
}

// queueOf returns the queue that a current entry's record belongs to.
func (q *Queues) queueOf(e *entry) QueueID {
	_, in := q.linkOf(e.rec)
	return *in
}

func (h *heap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.entries[i].before(&h.entries[parent]) {
			return
		}
		h.entries[i], h.entries[parent] = h.entries[parent], h.entries[i]
		i = parent
	}
}

func (h *heap) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h.entries); child++ {
			if h.entries[child].before(&h.entries[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.entries[i], h.entries[least] = h.entries[least], h.entries[i]
		i = least
	}
}

// Deadline tells for how long a record waits in all and when that is over; false if it is in no queue.
func (q *Queues) Deadline(rec uint32) (delay time.Duration, due mono.Time, ok bool) {
	k, in := q.linkOf(rec)
	if *in == 0 {
		return 0, 0, false
	}
	return q.lists[*in].delay, k.deadline, true
}
