package flowtab

import (
	"fmt"
	"time"

	"hushgate/internal/mono"
)

// QueueID identifies a queue of a Queues.
type QueueID uint8

// Class distinguishes records that wait equally long for different things, so that Oldest can search one kind. The owner
// decides what the classes mean.
type Class uint8

// Link is the part of a record that puts it into a queue. The other part is a QueueID, which is 0 while the record is in no
// queue. They are separate so that a record can place that octet where it has room.
type Link struct {
	deadline   mono.Time
	next, prev uint32
}

// Queues holds the deadlines of all records: one FIFO queue for each distinct delay of each class. Records with the same delay
// come due in the order of their start, so that a queue is always sorted and every operation is O(1).
type Queues struct {
	lists  []list // 0 is unused
	heaps  []heap // by class, see Place
	number uint32 // of the latest entry there
	linkOf func(id uint32) (*Link, *QueueID)
}

type list struct {
	delay      time.Duration
	head, tail uint32
	placed     int // records that belong to it and are in a heap
	class      Class
	retired    bool // its delay was not requested since Retire
	unsorted   bool // restored out of order; Settle sorts it
}

// maxQueues is the maximum number of queues, because a QueueID cannot name more.
const maxQueues = 255

// NewQueues returns a Queues without queues; linkOf returns the link of a live record, and the id of its queue.
func NewQueues(linkOf func(id uint32) (*Link, *QueueID)) *Queues {
	return &Queues{lists: make([]list, 1), linkOf: linkOf}
}

// Queue returns the queue for a delay of class 0, and makes it if it does not exist.
func (q *Queues) Queue(delay time.Duration) QueueID { return q.QueueOf(0, delay) }

// QueueOf returns the queue for a delay of a class, and makes it if it does not exist. There can be 255 in all.
func (q *Queues) QueueOf(class Class, delay time.Duration) QueueID {
	if i := q.find(class, delay); i != 0 {
		q.lists[i].retired = false
		return i
	}
	i := q.add(list{delay: delay, class: class})
	if i == 0 {
		panic(fmt.Sprintf("flowtab: no queue left for a delay of %v", delay))
	}
	return i
}

// add makes a queue, in the place of one that nobody needs if there is one; 0 if there is no room.
func (q *Queues) add(l list) QueueID {
	if i := q.unused(); i != 0 {
		q.lists[i] = l
		return i
	}
	if len(q.lists) > maxQueues {
		return 0
	}
	q.lists = append(q.lists, l)
	return QueueID(len(q.lists) - 1)
}

// unused returns a queue that nobody asked for since Retire and that has no records, 0 if there is none.
func (q *Queues) unused() QueueID {
	for i := 1; i < len(q.lists); i++ {
		if l := &q.lists[i]; l.retired && l.empty() {
			return QueueID(i)
		}
	}
	return 0
}

func (l *list) empty() bool { return l.head == 0 && l.placed == 0 }

// ClassOf returns the class of a queue.
func (q *Queues) ClassOf(id QueueID) Class { return q.lists[id].class }

func (q *Queues) find(class Class, delay time.Duration) QueueID {
	for i := 1; i < len(q.lists); i++ {
		if l := &q.lists[i]; l.delay == delay && l.class == class {
			return QueueID(i)
		}
	}
	return 0
}

// Retire begins a new set of delays. A queue that is not requested again by Queue or QueueOf keeps its records until they
// expire, and may then serve another delay. Nothing may be pushed to it any more.
func (q *Queues) Retire() {
	for i := 1; i < len(q.lists); i++ {
		q.lists[i].retired = true
	}
}

// Fits reports whether, after Retire, there would be room for the queues of wanted. If true, it stays true until then.
func (q *Queues) Fits(wanted *Queues) bool {
	room := maxQueues - (len(q.lists) - 1)
	for i := 1; i < len(q.lists); i++ {
		if l := &q.lists[i]; l.retired && l.empty() && wanted.find(l.class, l.delay) == 0 {
			room++
		}
	}
	for i := 1; i < len(wanted.lists); i++ {
		if l := &wanted.lists[i]; q.find(l.class, l.delay) == 0 {
			room--
		}
	}
	return room >= 0
}

// Push appends a record, which must be in no queue, to a queue. It is due after the queue's delay from now. If the time goes
// backwards, it counts as standing still.
func (q *Queues) Push(id QueueID, rec uint32, now mono.Time) {
	l := &q.lists[id]
	k, in := q.linkOf(rec)
	*k, *in = Link{deadline: now.Add(l.delay), prev: l.tail}, id
	if l.tail == 0 {
		l.head = rec
	} else {
		tail := q.link(l.tail)
		tail.next = rec
		k.deadline = max(k.deadline, tail.deadline)
	}
	l.tail = rec
}

// Remove removes a record from its queue, if it is in one.
func (q *Queues) Remove(rec uint32) {
	k, in := q.linkOf(rec)
	if *in == 0 {
		return
	}
	l := &q.lists[*in]
	*in = 0
	if k.prev == placed {
		q.unplace(l)
		return
	}
	if k.prev == 0 {
		l.head = k.next
	} else {
		q.link(k.prev).next = k.next
	}
	if k.next == 0 {
		l.tail = k.prev
	} else {
		q.link(k.next).prev = k.prev
	}
}

func (q *Queues) link(rec uint32) *Link {
	k, _ := q.linkOf(rec)
	return k
}

// earliest returns the queue in which a record is due first, the lower id of two that are due together; 0 if all are empty.
// rec is that record.
func (q *Queues) earliest() (first QueueID, rec uint32, at mono.Time) {
	at = mono.Never
	for i := 1; i < len(q.lists); i++ {
		if h := q.lists[i].head; h != 0 {
			if d := q.link(h).deadline; d < at {
				first, rec, at = QueueID(i), h, d
			}
		}
	}
	for i := range q.heaps {
		if e := q.root(&q.heaps[i]); e != nil && (e.due < at || e.due == at && q.queueOf(e) < first) {
			first, rec, at = q.queueOf(e), e.rec, e.due
		}
	}
	return first, rec, at
}

// PopExpired removes and returns the record that is due first, if it is due at or before now; false if there is none.
func (q *Queues) PopExpired(now mono.Time) (rec uint32, ok bool) {
	first, rec, at := q.earliest()
	if first == 0 || at > now {
		return 0, false
	}
	q.Remove(rec)
	return rec, true
}

// Oldest returns the record of a class that has waited longest, whenever it is due; false if the class has none. It looks at
// one record of each queue, and at the one of those that were placed which is due first.
func (q *Queues) Oldest(class Class) (rec uint32, ok bool) {
	since := mono.Never
	for i := 1; i < len(q.lists); i++ {
		l := &q.lists[i]
		if l.class != class || l.head == 0 {
			continue
		}
		if began := q.link(l.head).deadline.Add(-l.delay); !ok || began < since {
			rec, since, ok = l.head, began, true
		}
	}
	if int(class) < len(q.heaps) {
		if e := q.root(&q.heaps[class]); e != nil && (!ok || e.due.Add(-q.lists[q.queueOf(e)].delay) < since) {
			rec, ok = e.rec, true
		}
	}
	return rec, ok
}

// Next returns the earliest deadline; mono.Never if there is none.
func (q *Queues) Next() mono.Time {
	_, _, at := q.earliest()
	return at
}
