package dataplane

import (
	"slices"
	"testing"
	"time"

	"hushgate/internal/mono"
)

// claimOne makes a new flow of a client and lets it claim the first server.
func claimOne(s *Shard) (id uint32, port uint16, what claim) {
	ext, _ := s.exts.Alloc()
	id, _ = s.flows.Alloc()
	f := s.flows.At(id)
	*f = flow{ext: ext, client: addr("198.18.0.7"), clientPort: 40000, phase: PhaseConnecting, syn: mono.Time(1)}
	*s.exts.At(ext) = splice{}
	what = s.claim(id, f, 0)
	return id, s.exts.At(ext).port, what
}

// TestSourcePorts: each shard uses only its own share of a source's ports and never a port that is in use. When all are in use
// there is none.
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
				t.Error("the client's port was taken into account in spite of the source")
			}
		}
	}
	if len(taken) != 10 {
		t.Errorf("%d of 10 ports were used", len(taken))
	}
}

// TestLastSourcePort: one free port is found among thousands in use. It is not given out twice if the same server has two
// numbers.
func TestLastSourcePort(t *testing.T) {
	cfg := testConfig(false)
	cfg.Servers[0].Source = Source{addr("10.0.0.1"), 1024, 5023}
	s := New(cfg)
	flows := map[uint16]uint32{}
	for range 4000 {
		id, port, what := claimOne(s)
		if _, again := flows[port]; what != claimed || again {
			t.Fatalf("got port %d, %v, after %d ports", port, what, len(flows))
		}
		flows[port] = id
	}
	if _, _, what := claimOne(s); what != noPort {
		t.Fatalf("got a port although all are in use: %v", what)
	}
	for _, free := range []uint16{5023, 1024, 3000} {
		s.leaveInside(flows[free], s.flows.At(flows[free]))
		id, port, what := claimOne(s)
		if what != claimed || port != free {
			t.Errorf("got port %d, %v, but %d is free", port, what, free)
		}
		flows[free] = id
	}
	next := *cfg
	next.Servers = append(slices.Clone(cfg.Servers), cfg.Servers[0]) // as a reload does while the old server has connections
	Reload{&next}.apply(s)
	x := s.exts.At(s.flows.At(flows[3000]).ext)
	if port, ok := s.freePort(ServerID(len(next.Servers)-1), x.endpoint); ok {
		t.Errorf("port %d was given out twice", port)
	}
	s.leaveInside(flows[3000], s.flows.At(flows[3000]))
	if port, ok := s.freePort(ServerID(len(next.Servers)-1), x.endpoint); !ok || port != 3000 {
		t.Errorf("got port %d, %v, but 3000 is free", port, ok)
	}
}

// TestFinishedPorts: finished connections do not use up a source's ports: the one that took its port first gives way. Open
// connections keep their ports.
func TestFinishedPorts(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		const ports, living = 12, 4
		d := newDriverOf(t, v6, func(c *Config) {
			own := "10.0.0.1"
			if v6 {
				own = "2001:db8:2::1"
			}
			c.Backends[0].Servers = c.Backends[0].Servers[:1]
			c.Servers[0].Source = Source{addr(own), 1001, 1000 + ports}
			c.Frontends[0].Delay = 0
		})
		for n := range living {
			d.hold(1000 + n)
		}
		d.shard.Drain()
		for n := range 100 {
			d.now = d.now.Add(10 * time.Millisecond)
			d.visit(n)
			d.shard.audit(t)
		}
		s := &d.shard.stats
		d.phase(PhaseLingering, ports-living)
		d.phase(PhaseConnecting, living)
		if s.SourcePortsUsedUp != 0 || s.FinishedGivenUp != 100-(ports-living) {
			t.Errorf("no port was found %d times, %d connections gave way", s.SourcePortsUsedUp, s.FinishedGivenUp)
		}
		for n := range ports - living {
			d.hold(2000 + n)
		}
		d.phase(PhaseConnecting, ports)
		d.shard.Drain()
		d.hold(3000)
		if events := d.shard.Drain().Events; len(events) != 1 || events[0].Cause != CausePortsInUse {
			t.Errorf("with all ports in use, events %+v", events)
		}
		d.phase(PhaseConnecting, ports)
		d.shard.audit(t)
	})
}
