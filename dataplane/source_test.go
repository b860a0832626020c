package dataplane

import (
	"slices"
	"testing"

	"hushgate/internal/mono"
)

// claimOne has a new flow of one client claim the first server.
func claimOne(s *Shard) (id uint32, port uint16, what claim) {
	ext, _ := s.exts.Alloc()
	id, _ = s.flows.Alloc()
	f := s.flows.At(id)
	*f = flow{ext: ext, client: addr("198.18.0.7"), clientPort: 40000, phase: PhaseLingering, syn: mono.Time(1)}
	*s.exts.At(ext) = splice{}
	what = s.claim(id, f, 0)
	return id, s.exts.At(ext).port, what
}

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
			_, port, what := claimOne(s)
			switch what {
			case claimed:
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

// TestLastSourcePort: one port that is free is found among thousands that are in use, and given to nobody else by another
// number of the same server.
func TestLastSourcePort(t *testing.T) {
	cfg := testConfig(false)
	cfg.Servers[0].Source = Source{addr("10.0.0.1"), 1024, 5023}
	s := New(cfg)
	flows := map[uint16]uint32{}
	for range 4000 {
		id, port, what := claimOne(s)
		if _, again := flows[port]; what != claimed || again {
			t.Fatalf("port %d, %v, after %d", port, what, len(flows))
		}
		flows[port] = id
	}
	if _, _, what := claimOne(s); what != noPort {
		t.Fatalf("a port when all are in use: %v", what)
	}
	for _, free := range []uint16{5023, 1024, 3000} {
		s.leaveInside(flows[free], s.flows.At(flows[free]))
		id, port, what := claimOne(s)
		if what != claimed || port != free {
			t.Errorf("port %d, %v, when %d is free", port, what, free)
		}
		flows[free] = id
	}
	next := *cfg
	next.Servers = append(slices.Clone(cfg.Servers), cfg.Servers[0]) // as a reload does while the old one has connections
	Reload{&next}.apply(s)
	x := s.exts.At(s.flows.At(flows[3000]).ext)
	if port, ok := s.freePort(ServerID(len(next.Servers)-1), x.endpoint); ok {
		t.Errorf("port %d is in use twice", port)
	}
	s.leaveInside(flows[3000], s.flows.At(flows[3000]))
	if port, ok := s.freePort(ServerID(len(next.Servers)-1), x.endpoint); !ok || port != 3000 {
		t.Errorf("port %d, %v, when 3000 is free", port, ok)
	}
}
