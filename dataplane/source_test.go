package dataplane

import (
	"testing"

	"hushgate/internal/mono"
)

// TestSourcePorts: each shard takes its own ports of a source, in turn; none that is in use or lingers; and when all are in
// use there is none.
func TestSourcePorts(t *testing.T) {
	cfg := testConfig(false)
	cfg.Servers[0].Source = Source{addr("10.0.0.1"), 1001, 1010}
	taken := map[uint16]bool{}
	for turn := range 3 {
		cfg.Turn, cfg.Shards = turn, 3
		s := New(cfg)
		for range 10 {
			ext, _ := s.exts.Alloc()
			id, _ := s.flows.Alloc()
			f := s.flows.At(id)
			*f = flow{ext: ext, client: addr("198.18.0.7"), clientPort: 40000, phase: PhaseLingering, syn: mono.Time(1)}
			*s.exts.At(ext) = splice{}
			switch s.claim(id, f, 0) {
			case claimed:
				port := s.exts.At(ext).port
				if taken[port] || int(port)%3 != turn || port < 1001 || port > 1010 {
					t.Errorf("shard %d got port %d", turn, port)
				}
				taken[port] = true
			case noPort:
			case tupleTaken:
				t.Error("the client's port counts with a source")
			}
		}
	}
	if len(taken) != 10 {
		t.Errorf("%d of 10 ports were used", len(taken))
	}
}
