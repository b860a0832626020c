package dataplane

import (
	"slices"
	"testing"
)

// audit checks that the shard's tables agree. Every live flow is in the outside index once, in the inside index if its
// indexed flag is set, in the right queue, and in every counter. No index has an id that is not live.
func (s *Shard) audit(t *testing.T) {
	t.Helper()
	s.auditBy(t.Fatalf)
}

// auditBy is audit for tests with their own fatalf, which must not return.
func (s *Shard) auditBy(fatalf func(format string, args ...any)) {
	c := newCensus(s)
	for id := uint32(1); id < s.flows.Bound(); id++ {
		if f := s.liveFlow(id); f != nil {
			c.count(f)
			c.look(id, f, fatalf)
		}
	}
	c.compare(fatalf)
}

// liveFlow returns the flow with this id, or nil if the slot is free. A live flow is in the index under its own key.
func (s *Shard) liveFlow(id uint32) *flow {
	f := s.flows.At(id)
	if s.lookupOut(f.client, f.clientPort, f.service) != id {
		return nil
	}
	return f
}

// census counts a shard's flows one by one, for comparison with the shard's own counters.
type census struct {
	*Shard
	seen, indexed, spliced int
	live, idle             int // no closing event yet; our reply is fully acknowledged
	inPhase                [phases]int64
	ofService, ofFrontend  []int
	ofServer, atServer     []int // counted as connections of the server; in the inside index
	sourced                []int // use a port of the server's source
}

func newCensus(s *Shard) *census {
	servers := len(s.cfg.Servers)
	return &census{
		Shard: s, ofService: make([]int, len(s.cfg.Services)), ofFrontend: make([]int, len(s.cfg.Frontends)),
		ofServer: make([]int, servers), atServer: make([]int, servers), sourced: make([]int, servers),
	}
}

func (c *census) count(f *flow) {
	c.seen++
	c.inPhase[f.phase]++
	c.ofService[f.service]++
	if f.phase == PhaseSaying && f.tries == settled {
		c.idle++
	}
	if f.phase != PhaseHalfOpen && f.words&told == 0 {
		c.live++
		c.ofFrontend[c.cfg.Services[f.service].Frontend]++
	}
	if f.ext == 0 {
		return
	}
	c.spliced++
	x := c.exts.At(f.ext)
	if x.counted {
		c.ofServer[x.server]++
	}
	if x.indexed {
		c.indexed++
		c.atServer[x.server]++
		if c.cfg.Servers[x.server].Source.used() {
			c.sourced[x.server]++
		}
	}
}

// look checks a single flow.
func (c *census) look(id uint32, f *flow, fatalf func(string, ...any)) {
	if f.queue == 0 {
		fatalf("flow %d in phase %v is in no deadline queue", id, f.phase)
	}
	if class := c.queues.ClassOf(f.queue); class != classOf(f) {
		fatalf("flow %d in phase %v (settled: %v) is in the deadline queue of class %d", id, f.phase, f.tries == settled, class)
	}
	if (f.phase == PhaseSaying || f.phase == PhaseLingering) && f.words&told == 0 {
		fatalf("flow %d in phase %v is over, but no closing event was emitted", id, f.phase)
	}
	if f.ext == 0 {
		return
	}
	x := c.exts.At(f.ext)
	if x.indexed {
		from, port := c.origin(f, x)
		if got := c.lookupIn(from, port, x.endpoint); got != id {
			fatalf("flow %d is indexed on the inside as flow %d", id, got)
		}
	}
	if (f.phase == PhaseConnecting || f.phase == PhaseBannerPending || f.phase == PhaseSpliced) && !x.indexed {
		fatalf("flow %d in phase %v is not in the inside index", id, f.phase)
	}
}

// compare compares the census with the shard's own counters.
func (c *census) compare(fatalf func(string, ...any)) {
	if c.seen != c.flows.Len() || c.byOut.Len() != c.seen || c.byIn.Len() != c.indexed || c.exts.Len() != c.spliced {
		fatalf("slab: %d flows, found %d; outside index: %d, inside index: %d, flows marked as indexed: %d; splice records: %d, in use %d",
			c.flows.Len(), c.seen, c.byOut.Len(), c.byIn.Len(), c.indexed, c.exts.Len(), c.spliced)
	}
	if c.inPhase != c.stats.Phase || c.live != c.active || c.idle != c.settled {
		fatalf("phases %v, counted as %v; %d active, counted as %d; %d settled, counted as %d", c.inPhase, c.stats.Phase, c.live,
			c.active, c.idle, c.settled)
	}
	for _, n := range []struct {
		what       string
		got, count []int
	}{
		{what: "flows by service", got: c.ofService, count: c.atSvc},
		{what: "connections by frontend", got: c.ofFrontend, count: c.fronts},
		{what: "connections by server", got: c.ofServer, count: c.servers},
		{what: "flows in the inside index by server", got: c.atServer, count: c.atSrv},
	} {
		if !slices.Equal(n.got, n.count) {
			fatalf("%s: %v, counted as %v", n.what, n.got, n.count)
		}
	}
	for i, n := range c.sourced {
		if busy := c.ports[i].Busy(); busy != n {
			fatalf("%d ports of server %d's source are in use, by %d flows", busy, i, n)
		}
	}
}
