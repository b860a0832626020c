package flowtab

import (
	"fmt"
	"time"

	"hushgate/internal/mono"
)

// QueueID names one of the queues of a Queues.
type QueueID uint8

// Link is what a record holds to be in a queue: 20 octets in a struct of 24.
type Link struct {
	deadline   mono.Time
	next, prev uint32
	queue      QueueID // 0: in none
}

// Queues are the deadlines of all records: one FIFO queue for each distinct delay. All that wait equally long come due
// in the order in which they began, so that a queue is sorted by itself and every operation is O(1).
type Queues struct {
	lists  []list // 0 is unused
	linkOf func(id uint32) *Link
}

type list struct {
	delay      time.Duration
	head, tail uint32
}

// NewQueues returns a Queues without queues; linkOf returns the link of a live record.
func NewQueues(linkOf func(id uint32) *Link) *Queues {
	return &Queues{lists: make([]list, 1), linkOf: linkOf}
}

// Queue returns the queue for a delay, which is made if there is none. There can be 255.
func (q *Queues) Queue(delay time.Duration) QueueID {
	for i := 1; i < len(q.lists); i++ {
		if q.lists[i].delay == delay {
			return QueueID(i)
		}
	}
	if len(q.lists) > 255 {
		panic(fmt.Sprintf("flowtab: no queue left for a delay of %v", delay))
	}
	q.lists = append(q.lists, list{delay: delay})
	return QueueID(len(q.lists) - 1)
}

// Push puts a record, which is in no queue, at the end of one: due after the queue's delay from now. Time that goes
// backwards counts as standing still.
func (q *Queues) Push(id QueueID, rec uint32, now mono.Time) {
	l := &q.lists[id]
	k := q.linkOf(rec)
	*k = Link{deadline: now.Add(l.delay), prev: l.tail, queue: id}
	if l.tail == 0 {
		l.head = rec
	} else {
		tail := q.linkOf(l.tail)
		tail.next = rec
		k.deadline = max(k.deadline, tail.deadline)
	}
	l.tail = rec
}

// Remove takes a record out of its queue, if it is in one.
func (q *Queues) Remove(rec uint32) {
	k := q.linkOf(rec)
	if k.queue == 0 {
		return
	}
	l := &q.lists[k.queue]
	if k.prev == 0 {
		l.head = k.next
	} else {
		q.linkOf(k.prev).next = k.next
	}
	if k.next == 0 {
		l.tail = k.prev
	} else {
		q.linkOf(k.next).prev = k.prev
	}
	k.queue = 0
}

// earliest returns the queue whose head is due first, the lower id of two that are due together; 0 if all are empty.
func (q *Queues) earliest() (first QueueID, at mono.Time) {
	at = mono.Never
	for i := 1; i < len(q.lists); i++ {
		if h := q.lists[i].head; h != 0 {
			if d := q.linkOf(h).deadline; d < at {
				first, at = QueueID(i), d
			}
		}
	}
	return first, at
}

// PopExpired takes out the record that is due first, at or before now; false if there is none.
func (q *Queues) PopExpired(now mono.Time) (rec uint32, ok bool) {
	first, at := q.earliest()
	if first == 0 || at > now {
		return 0, false
	}
	rec = q.lists[first].head
	q.Remove(rec)
	return rec, true
}

// Next returns the earliest deadline, mono.Never if there is none.
func (q *Queues) Next() mono.Time {
	_, at := q.earliest()
	return at
}
