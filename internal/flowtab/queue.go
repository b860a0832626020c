package flowtab

import (
	"fmt"
	"time"

	"hushgate/internal/mono"
)

// QueueID names one of the queues of a Queues.
type QueueID uint8

// Class tells apart records that wait equally long for different things, so that Oldest can look for one kind of them. What
// the classes mean is the owner's affair.
type Class uint8

// Link is what a record holds to be in a queue, beside a QueueID that is 0 while it is in none. The two are apart so that
// the record can put the octet where it has room for one.
type Link struct {
	deadline   mono.Time
	next, prev uint32
}

// Queues are the deadlines of all records: one FIFO queue for each distinct delay of each class. All that wait equally long
// come due in the order in which they began, so that a queue is sorted by itself and every operation is O(1).
type Queues struct {
	lists  []list // 0 is unused
	linkOf func(id uint32) (*Link, *QueueID)
}

type list struct {
	delay      time.Duration
	head, tail uint32
	class      Class
	retired    bool // nobody asked for its delay since Retire
	unsorted   bool // until Settle
}

// maxQueues is how many queues there can be: as many as a QueueID can name.
const maxQueues = 255

// NewQueues returns a Queues without queues; linkOf returns the link of a live record and the queue that it is in.
func NewQueues(linkOf func(id uint32) (*Link, *QueueID)) *Queues {
	return &Queues{lists: make([]list, 1), linkOf: linkOf}
}

// Queue returns the queue for a delay of class 0, which is made if there is none.
func (q *Queues) Queue(delay time.Duration) QueueID { return q.QueueOf(0, delay) }

// QueueOf returns the queue for a delay of a class, which is made if there is none. There can be 255 in all.
func (q *Queues) QueueOf(class Class, delay time.Duration) QueueID {
	if i := q.find(class, delay); i != 0 {
		q.lists[i].retired = false
		return i
	}
	for i := 1; i < len(q.lists); i++ {
		if l := &q.lists[i]; l.retired && l.head == 0 {
			*l = list{delay: delay, class: class}
			return QueueID(i)
		}
	}
	if len(q.lists) > maxQueues {
		panic(fmt.Sprintf("flowtab: no queue left for a delay of %v", delay))
	}
	q.lists = append(q.lists, list{delay: delay, class: class})
	return QueueID(len(q.lists) - 1)
}

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

// Retire begins a new set of delays: a queue that is not asked for again with Queue takes its records to their end, and
// may then serve another delay. Nothing is pushed to it any more.
func (q *Queues) Retire() {
	for i := 1; i < len(q.lists); i++ {
		q.lists[i].retired = true
	}
}

// Fits reports whether there would be room for the queues of wanted after Retire. What is true stays true until then.
func (q *Queues) Fits(wanted *Queues) bool {
	room := maxQueues - (len(q.lists) - 1)
	for i := 1; i < len(q.lists); i++ {
		if l := &q.lists[i]; l.retired && l.head == 0 && wanted.find(l.class, l.delay) == 0 {
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

// Push puts a record, which is in no queue, at the end of one: due after the queue's delay from now. Time that goes
// backwards counts as standing still.
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

// Remove takes a record out of its queue, if it is in one.
func (q *Queues) Remove(rec uint32) {
	k, in := q.linkOf(rec)
	if *in == 0 {
		return
	}
	l := &q.lists[*in]
	*in = 0
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

// earliest returns the queue whose head is due first, the lower id of two that are due together; 0 if all are empty.
func (q *Queues) earliest() (first QueueID, at mono.Time) {
	at = mono.Never
	for i := 1; i < len(q.lists); i++ {
		if h := q.lists[i].head; h != 0 {
			if d := q.link(h).deadline; d < at {
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

// Oldest returns the record of a class that has waited longest, whenever it is due; false if the class has none. It looks at
// one record of each queue.
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
	return rec, ok
}

// Next returns the earliest deadline, mono.Never if there is none.
func (q *Queues) Next() mono.Time {
	_, at := q.earliest()
	return at
}
