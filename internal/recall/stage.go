package recall

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"hushgate/dataplane"
)

// A shard puts events aside, and takes them when there are some: the ring is cold in its caches, and a record costs half as much among
// many as alone. A goroutine that took them instead would cost the shard more, because the events would go from cache to cache.

// stageRoom is how many events a shard puts aside.
const stageRoom = 64

// maxShards is how many shards have a stage of their own.
const maxShards = 64

// stage is what one shard has put aside.
type stage struct {
	mu         sync.Mutex
	lot, spare []dataplane.Event // spare is used by absorbLocked
}

// Take implements drive.Sink.
func (m *Memory) Take(shard int, events []dataplane.Event) {
	s := &m.stages[shard%maxShards]
	for used := m.staged.Load(); used <= int32(shard%maxShards); used = m.staged.Load() {
		m.staged.CompareAndSwap(used, int32(shard%maxShards)+1)
	}
	full := false
	s.mu.Lock()
	for i := range events {
		if events[i].Kind == dataplane.EventClosed {
			s.lot = append(s.lot, events[i])
			full = len(s.lot) >= stageRoom
		}
	}
	s.mu.Unlock()
	if full {
		m.absorb()
	}
}

// absorbEvery is how old what was put aside gets at most.
const absorbEvery = time.Second

// Run takes what shards have put aside that have no more events, until ctx is done.
func (m *Memory) Run(ctx context.Context) {
	tick := time.NewTicker(absorbEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.absorb()
		}
	}
}

// absorb takes everything that was put aside.
func (m *Memory) absorb() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.absorbLocked()
}

// absorbLocked is absorb with mu held. What the shards have put aside is taken in the order in which the connections have ended.
func (m *Memory) absorbLocked() {
	filled := 0
	for i := range m.staged.Load() {
		s := &m.stages[i]
		s.mu.Lock()
		lot := s.lot
		if len(lot) > 0 {
			s.lot, s.spare = s.spare[:0], lot
		}
		s.mu.Unlock()
		if len(lot) > 0 {
			filled++
		}
		for j := range lot {
			m.order = append(m.order, &lot[j])
		}
	}
	if filled > 1 { // one shard's are in their order
		slices.SortStableFunc(m.order, func(a, b *dataplane.Event) int { return cmp.Compare(a.Closed, b.Closed) })
	}
	for _, e := range m.order {
		if m.size > 0 {
			m.add(e)
		}
	}
	m.order = m.order[:0]
}
