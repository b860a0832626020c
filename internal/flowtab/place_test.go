package flowtab

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hushgate/internal/mono"
)

type linked struct {
	link  Link
	queue QueueID
}

func newLinked(n int) (*Queues, []linked) {
	recs := make([]linked, n+1)
	return NewQueues(func(id uint32) (*Link, *QueueID) { return &recs[id].link, &recs[id].queue }), recs
}

// TestPlaceAgainstSort: records that are pushed, placed, removed and placed again come due in order, each once, and are listed
// with their delays; a model of a sorted list knows no more and no less.
func TestPlaceAgainstSort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 80
		type waiting struct {
			due   mono.Time
			delay time.Duration
			class Class
		}
		q, _ := newLinked(n)
		model := map[uint32]waiting{}
		now := mono.Time(0)
		for range rapid.IntRange(0, 400).Draw(t, "steps") {
			rec := uint32(rapid.IntRange(1, n).Draw(t, "record"))
			delay := time.Duration(rapid.IntRange(1, 4).Draw(t, "delay"))
			class := Class(rapid.IntRange(0, 2).Draw(t, "class"))
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				q.Remove(rec)
				q.Push(q.QueueOf(class, delay), rec, now)
				model[rec] = waiting{now.Add(delay), delay, class}
			case 1:
				q.Remove(rec)
				due := now.Add(time.Duration(rapid.IntRange(-2, int(delay)).Draw(t, "left")))
				if !q.Place(rec, class, delay, due) {
					t.Fatal("there is no room")
				}
				model[rec] = waiting{due, delay, class}
			case 2:
				q.Remove(rec)
				delete(model, rec)
			case 3:
				now++
				for {
					rec, ok := q.PopExpired(now)
					if !ok {
						break
					}
					m, there := model[rec]
					if !there || m.due > now {
						t.Fatalf("record %d came at %v: %+v", rec, now, m)
					}
					for other, o := range model {
						if o.due < m.due {
							t.Fatalf("record %d, due at %v, came before %d, due at %v", rec, m.due, other, o.due)
						}
					}
					delete(model, rec)
				}
			}
			seen := map[uint32]waiting{}
			q.Each(func(rec uint32, delay time.Duration, due mono.Time) {
				if _, twice := seen[rec]; twice {
					t.Fatalf("record %d is listed twice", rec)
				}
				seen[rec] = waiting{due, delay, model[rec].class}
			})
			next := mono.Never
			for rec, m := range model {
				delay, due, ok := q.Deadline(rec)
				if seen[rec] != m || !ok || delay != m.delay || due != m.due {
					t.Fatalf("record %d is listed as %+v, %v %v %v, want %+v", rec, seen[rec], delay, due, ok, m)
				}
				next = min(next, m.due)
			}
			if len(seen) != len(model) || q.Next() != next {
				t.Fatalf("%d records are listed, want %d; the next is due at %v, want %v", len(seen), len(model), q.Next(), next)
			}
			for class := range Class(3) {
				rec, ok := q.Oldest(class)
				some := false
				for _, m := range model {
					some = some || m.class == class
				}
				if ok != some || ok && (model[rec].class != class || q.ClassOf(q.queueOf(&entry{rec: rec})) != class) {
					t.Fatalf("the oldest of class %d is %d, %v", class, rec, ok)
				}
			}
		}
	})
}

// TestPlaceForgets: records that were placed and have gone elsewhere long before their time cost no memory for ever.
func TestPlaceForgets(t *testing.T) {
	q, _ := newLinked(10)
	for n := range 100_000 {
		rec := uint32(n%10) + 1
		q.Remove(rec)
		q.Place(rec, 0, time.Hour, mono.Time(time.Hour-time.Duration(n)))
	}
	if n := len(q.heaps[0].entries); n > 64 {
		t.Errorf("%d entries for 10 records", n)
	}
}

// TestPlacedKeepsItsQueue: a queue whose last records were placed is theirs until they are gone, and is then free for another
// delay; without a free one nothing is placed.
func TestPlacedKeepsItsQueue(t *testing.T) {
	q, recs := newLinked(300)
	if !q.Place(1, 1, 7*time.Second, 5) {
		t.Fatal("there is no room")
	}
	of := recs[1].queue
	for n := 1; n < maxQueues; n++ {
		if id := q.QueueOf(0, time.Duration(n)*time.Minute); id == of {
			t.Fatalf("the queue for %d min is that of a record which waits 7 s", n)
		}
	}
	if q.Room(0, time.Hour-1) || q.Place(2, 0, time.Hour-1, 5) || recs[2].queue != 0 {
		t.Error("there is room for a queue more than there can be")
	}
	if !q.Room(1, 7*time.Second) || !q.Room(0, time.Minute) {
		t.Error("there is no room where there is a queue")
	}
	q.Remove(1)
	if !q.Room(0, time.Hour-1) || !q.Place(2, 0, time.Hour-1, 5) || recs[2].queue != of {
		t.Error("the queue of a record that is gone is not used again")
	}
}

// TestPlacedInReverse: records that were placed in the reverse order of their deadlines come due in order.
func TestPlacedInReverse(t *testing.T) {
	const n = 1 << 12
	q, _ := newLinked(n)
	for rec := uint32(1); rec <= n; rec++ {
		q.Place(rec, 0, time.Hour, mono.Time(n-rec))
	}
	var order []uint32
	for range n {
		rec, _ := q.PopExpired(mono.Never)
		order = append(order, rec)
	}
	if !slices.IsSortedFunc(order, func(a, b uint32) int { return int(b) - int(a) }) {
		t.Error("they come in another order than that of their deadlines")
	}
}
