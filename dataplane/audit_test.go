package dataplane

import "testing"

// audit checks that the shard's tables agree with one another: every live flow is in the outside index once, in the
// inside index if it says so, and counted in its phase; no id is in an index that is not live.
func (s *Shard) audit(t *testing.T) {
	t.Helper()
	var phases [phases]int64
	seen, inside, counted := 0, 0, 0
	for id := uint32(1); id <= fuzzFlows && s.flows.Len() > 0; id++ {
		f := s.liveFlow(id)
		if f == nil {
			continue
		}
		seen++
		phases[f.phase]++
		if got := s.lookupOut(f.client, f.clientPort, f.service); got != id {
			t.Fatalf("flow %d is found as %d", id, got)
		}
		if f.queue == 0 {
			t.Fatalf("flow %d in phase %v waits for nothing", id, f.phase)
		}
		if c := s.queues.ClassOf(f.queue); c != classOf(f) {
			t.Fatalf("flow %d in phase %v (settled: %v) waits in class %d", id, f.phase, f.tries == settled, c)
		}
		if f.ext == 0 {
			continue
		}
		x := s.exts.At(f.ext)
		if x.counted {
			counted++
		}
		if x.indexed {
			inside++
			from, port := s.origin(f, x)
			if got := s.lookupIn(from, port, x.endpoint); got != id {
				t.Fatalf("flow %d is found from the inside as %d", id, got)
			}
		}
	}
	if seen != s.flows.Len() || s.byOut.Len() != seen || s.byIn.Len() != inside {
		t.Fatalf("%d flows live, %d found; %d and %d in the outside and inside index, %d inside", s.flows.Len(), seen,
			s.byOut.Len(), s.byIn.Len(), inside)
	}
	if phases != s.stats.Phase {
		t.Fatalf("phases %v, counted as %v", phases, s.stats.Phase)
	}
	busy := 0
	for _, n := range s.servers {
		busy += n
	}
	if busy != counted || s.active < 0 {
		t.Fatalf("the servers have %d flows, %d say so; %d active", busy, counted, s.active)
	}
}

// liveFlow returns the flow of an id, nil if it is free: a live one is in the index under its own key.
func (s *Shard) liveFlow(id uint32) *flow {
	f := s.flows.At(id)
	if s.lookupOut(f.client, f.clientPort, f.service) != id {
		return nil
	}
	return f
}
