package flowtab

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hushgate/internal/mono"
)

// TestRestore checks that the records of several queues keep their order and their deadlines when they are restored, one after
// the other, into other queues.
func TestRestore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "records")
		type record struct {
			link  Link
			queue QueueID
		}
		make1 := func() (*Queues, []record) {
			recs := make([]record, n+1)
			return NewQueues(func(id uint32) (*Link, *QueueID) { return &recs[id].link, &recs[id].queue }), recs
		}
		olds := [2]*Queues{}
		olds[0], _ = make1()
		olds[1], _ = make1()
		due := map[uint32]mono.Time{}
		now := mono.Time(0)
		for rec := uint32(1); rec <= uint32(n); rec++ {
			now += mono.Time(rapid.IntRange(0, 3).Draw(t, "pause"))
			wait := time.Duration(rapid.IntRange(0, 3).Draw(t, "wait"))
			q := olds[rapid.IntRange(0, 1).Draw(t, "which")]
			q.Push(q.Queue(wait), rec, now)
			due[rec] = now.Add(wait)
		}
		next, _ := make1()
		for _, old := range olds {
			old.Each(func(rec uint32, wait time.Duration, at mono.Time) {
				if at != due[rec] || !next.Restore(rec, 0, wait, at) {
					t.Fatalf("record %d is due at %v, want %v", rec, at, due[rec])
				}
			})
		}
		next.Settle()
		last := mono.Time(0)
		for range n {
			at := next.Next()
			rec, ok := next.PopExpired(at)
			if !ok || at < last || at != due[rec] {
				t.Fatalf("record %d, due at %v, came at %v after %v (%v)", rec, due[rec], at, last, ok)
			}
			last = at
		}
		if next.Next() != mono.Never {
			t.Fatal("there are more records than before")
		}
	})
}

// TestOldest checks that Oldest returns the first record of its class, whatever the delays.
func TestOldest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var recs [61]struct {
			link  Link
			queue QueueID
		}
		q := NewQueues(func(id uint32) (*Link, *QueueID) { return &recs[id].link, &recs[id].queue })
		var of [3][]uint32
		now := mono.Time(0)
		for rec := uint32(1); rec < uint32(len(recs)); rec++ {
			now += mono.Time(rapid.IntRange(1, 3).Draw(t, "pause"))
			class := Class(rapid.IntRange(0, 2).Draw(t, "class"))
			q.Push(q.QueueOf(class, time.Duration(rapid.IntRange(0, 9).Draw(t, "wait"))), rec, now)
			of[class] = append(of[class], rec)
			if got := q.ClassOf(recs[rec].queue); got != class {
				t.Fatalf("record %d is in class %d, want %d", rec, got, class)
			}
			if at := rapid.IntRange(0, 2*len(of[class])).Draw(t, "removed"); at < len(of[class]) {
				q.Remove(of[class][at])
				of[class] = slices.Delete(of[class], at, at+1)
			}
		}
		for class, list := range of {
			for _, want := range list {
				rec, ok := q.Oldest(Class(class))
				if !ok || rec != want {
					t.Fatalf("the oldest of class %d is %d (%v), want %d", class, rec, ok, want)
				}
				q.Remove(rec)
			}
			if rec, ok := q.Oldest(Class(class)); ok {
				t.Fatalf("record %d of class %d is left", rec, class)
			}
		}
	})
}

// TestRestoreRoom checks that there is no queue for the 256th delay, and that a queue made for a restored record is used again.
func TestRestoreRoom(t *testing.T) {
	recs := make([]struct {
		link  Link
		queue QueueID
	}, 300)
	q := NewQueues(func(id uint32) (*Link, *QueueID) { return &recs[id].link, &recs[id].queue })
	for i := 1; i <= maxQueues; i++ {
		if !q.Restore(uint32(i), 0, time.Duration(i), mono.Time(i)) {
			t.Fatalf("no room for queue %d", i)
		}
	}
	if q.Restore(299, 0, 299, 299) {
		t.Error("there is room for one more")
	}
	q.Settle()
	q.Remove(7)
	if id := q.Queue(1000); id != 7 {
		t.Errorf("the empty queue was not used again: %d", id)
	}
}
