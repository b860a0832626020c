package flowtab

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hushgate/internal/mono"
)

type record struct {
	key   uint64
	link  Link
	queue QueueID
}

// bad gives all keys a few hashes, so that probe sequences are long and deletions move many ids.
func bad(key uint64) uint64 { return key%3<<62 | key%5 }

func TestIndexAgainstMap(t *testing.T) {
	for name, hash := range map[string]func(uint64) uint64{"bad": bad, "fair": func(k uint64) uint64 { return k * 0x9e3779b97f4a7c15 }} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := NewSlab[record](10_000)
				x := NewIndex(func(id uint32) uint64 { return hash(s.At(id).key) })
				find := func(key uint64) uint32 {
					c := x.Find(hash(key))
					for id := c.Next(); id != 0; id = c.Next() {
						if s.At(id).key == key {
							return id
						}
					}
					return 0
				}
				known := map[uint64]uint32{}
				for range rapid.IntRange(0, 300).Draw(t, "steps") {
					key := rapid.Uint64Range(0, 100).Draw(t, "key")
					id, there := known[key]
					if got := find(key); got != id {
						t.Fatalf("key %d is found as %d, want %d", key, got, id)
					}
					switch {
					case !there:
						id, ok := s.Alloc()
						if !ok {
							t.Fatal("no room")
						}
						*s.At(id) = record{key: key}
						x.Insert(hash(key), id)
						known[key] = id
					case rapid.Bool().Draw(t, "delete"):
						if !x.Delete(hash(key), id) || x.Delete(hash(key), id) {
							t.Fatalf("key %d: deleted not at all, or twice", key)
						}
						s.Free(id)
						delete(known, key)
					}
				}
				for key, id := range known {
					if got := find(key); got != id {
						t.Fatalf("at the end key %d is found as %d, want %d", key, got, id)
					}
				}
				if x.Len() != len(known) || s.Len() != len(known) {
					t.Fatalf("%d in the index, %d in the slab, want %d", x.Len(), s.Len(), len(known))
				}
			})
		})
	}
}

func TestQueuesAgainstSort(t *testing.T) {
	delays := []time.Duration{0, time.Second, 2 * time.Second, time.Minute}
	rapid.Check(t, func(t *rapid.T) {
		s := NewSlab[record](1000)
		q := NewQueues(func(id uint32) (*Link, *QueueID) { return &s.At(id).link, &s.At(id).queue })
		due := map[uint32]mono.Time{}
		now := mono.Time(0)
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				id, _ := s.Alloc()
				*s.At(id) = record{}
				d := rapid.SampledFrom(delays).Draw(t, "delay")
				q.Push(q.Queue(d), id, now)
				due[id] = now.Add(d)
			case 1:
				if len(due) > 0 {
					ids := sorted(due)
					id := ids[rapid.IntRange(0, len(ids)-1).Draw(t, "which")]
					q.Remove(id)
					q.Remove(id) // in no queue: nothing happens
					delete(due, id)
					s.Free(id)
				}
			case 2:
				now = now.Add(rapid.SampledFrom([]time.Duration{0, 300 * time.Millisecond, 5 * time.Second}).Draw(t, "pass"))
				last := mono.Time(-1)
				for {
					id, ok := q.PopExpired(now)
					if !ok {
						break
					}
					if due[id] > now || due[id] < last {
						t.Fatalf("%d came at %d, due at %d, after one due at %d", id, now, due[id], last)
					}
					last = due[id]
					delete(due, id)
					s.Free(id)
				}
			}
			next := mono.Never
			for _, d := range due {
				next = min(next, d)
			}
			if got := q.Next(); got != next {
				t.Fatalf("next deadline %d, want %d", got, next)
			}
		}
	})
}

func sorted(m map[uint32]mono.Time) (ids []uint32) {
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func TestClockGoesBack(t *testing.T) {
	s := NewSlab[record](10)
	q := NewQueues(func(id uint32) (*Link, *QueueID) { return &s.At(id).link, &s.At(id).queue })
	a, _ := s.Alloc()
	b, _ := s.Alloc()
	w := q.Queue(time.Second)
	q.Push(w, a, 100)
	q.Push(w, b, 50)
	if first, _ := q.PopExpired(mono.Never); first != a {
		t.Errorf("%d came first", first)
	}
}

func TestSlabLimitAndPointers(t *testing.T) {
	s := NewSlab[record](2)
	a, _ := s.Alloc()
	if _, ok := s.Alloc(); !ok {
		t.Error("no room for the second")
	}
	if _, ok := s.Alloc(); ok {
		t.Error("room beyond the limit")
	}
	s.Free(a)
	if b, ok := s.Alloc(); !ok || b != a {
		t.Errorf("the freed id is not given out again: %d", b)
	}
	defer func() {
		if recover() == nil {
			t.Error("records with pointers were accepted")
		}
	}()
	NewSlab[struct{ p *int }](1)
}

func TestNoAllocations(t *testing.T) {
	s := NewSlab[record](1000)
	x := NewIndex(func(id uint32) uint64 { return bad(s.At(id).key) })
	q := NewQueues(func(id uint32) (*Link, *QueueID) { return &s.At(id).link, &s.At(id).queue })
	w := q.Queue(time.Second)
	now := mono.Time(0)
	round := func() {
		id, _ := s.Alloc()
		*s.At(id) = record{key: 7}
		x.Insert(bad(7), id)
		q.Push(w, id, now)
		now = now.Add(2 * time.Second)
		q.PopExpired(now)
		x.Delete(bad(7), id)
		s.Free(id)
	}
	round()
	if n := testing.AllocsPerRun(1000, round); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkIndex looks up ids among 1,000,000, and reports the index's memory for each.
func BenchmarkIndex(b *testing.B) {
	const n = 1_000_000
	hash := func(k uint64) uint64 { k *= 0x9e3779b97f4a7c15; return k ^ k>>29 }
	s := NewSlab[record](n)
	x := NewIndex(func(id uint32) uint64 { return hash(s.At(id).key) })
	for k := range uint64(n) {
		id, _ := s.Alloc()
		s.At(id).key = k
		x.Insert(hash(k), id)
	}
	slots := 0
	for i := range x.segments {
		slots += len(x.segments[i].slots)
	}
	k := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		k = (k + 7919) % n
		c := x.Find(hash(k))
		for id := c.Next(); id != 0 && s.At(id).key != k; id = c.Next() {
		}
	}
	b.ReportMetric(float64(4*slots)/n, "B/entry")
}
