package flowtab

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"hushgate/internal/mono"
)

// TestRestore: the records of several queues come due in the same order and at the same times when they were brought, one
// after the other, into another.
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
				if at != due[rec] || !next.Restore(rec, wait, at) {
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
				t.Fatalf("record %d, due at %v, came at %v behind %v (%v)", rec, due[rec], at, last, ok)
			}
			last = at
		}
		if next.Next() != mono.Never {
			t.Fatal("there is more than there was")
		}
	})
}

// TestRestoreRoom: there is no queue for the 256th delay, and what was made for a restored record serves again.
func TestRestoreRoom(t *testing.T) {
	recs := make([]struct {
		link  Link
		queue QueueID
	}, 300)
	q := NewQueues(func(id uint32) (*Link, *QueueID) { return &recs[id].link, &recs[id].queue })
	for i := 1; i <= maxQueues; i++ {
		if !q.Restore(uint32(i), time.Duration(i), mono.Time(i)) {
			t.Fatalf("no room for queue %d", i)
		}
	}
	if q.Restore(299, 299, 299) {
		t.Error("there is room for one more")
	}
	q.Settle()
	q.Remove(7)
	if id := q.Queue(1000); id != 7 {
		t.Errorf("the queue that is empty was not used again: %d", id)
	}
}
