package dataplane

import (
	"testing"
	"time"

	"hushgate/internal/wire"
)

// opened opens held connections of n clients.
func (d *driver) opened(n int) {
	for i := range n {
		d.fromClient(i, wire.SYN, 100, 0, "")
		d.fromClient(i, wire.ACK, 101, d.last().Seq+1, "")
		d.shard.Drain()
	}
}

// TestListFlows: pages have every connection once, each message looks at no more places than it may, and allocates nothing.
func TestListFlows(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, nil)
		const n = 1000
		d.opened(n)
		seen := map[uint16]bool{}
		list, from, turns := make([]FlowInfo, 0, 7), uint32(0), 0
		for {
			before := from
			d.shard.Apply(ListFlows{From: from, Places: 5, List: list, Answer: func(got []FlowInfo, next uint32) {
				for _, f := range got {
					if seen[f.ClientPort] || f.Phase != PhaseHeld || f.Established == 0 || f.Delay != 30*time.Second || f.Server != NoServer {
						t.Fatalf("%+v", f)
					}
					seen[f.ClientPort] = true
				}
				from = next
			}})
			turns++
			if from == 0 {
				break
			}
			if from-before > 6 {
				t.Fatalf("from %d to %d in one message", before, from)
			}
		}
		if len(seen) != n || turns < n/5 {
			t.Errorf("%d connections in %d pages", len(seen), turns)
		}
		var c Control = ListFlows{Places: 100, List: list, Answer: func([]FlowInfo, uint32) {}}
		if a := testing.AllocsPerRun(100, func() { d.shard.Apply(c) }); a != 0 {
			t.Errorf("%v allocations", a)
		}
		d.shard.Apply(ListFlows{Places: 100, Answer: func(got []FlowInfo, next uint32) {
			if len(got) > 0 || next == 0 {
				t.Errorf("without room: %d connections, next %d", len(got), next)
			}
		}})
	})
}

// count lists how many connections a filter selects.
func (d *driver) count(w FlowFilter) (n int) {
	d.shard.Apply(ListFlows{Places: 1 << 20, Want: w, List: make([]FlowInfo, 0, 1<<16), Answer: func(list []FlowInfo, _ uint32) { n = len(list) }})
	return n
}

// TestFlowFilter: each condition selects what it says, and all of them count together.
func TestFlowFilter(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, nil)
		d.opened(10)
		d.fromClient(20, wire.SYN, 100, 0, "")
		d.shard.Drain()
		a, port := d.peer(3)
		other := a
		other[15] ^= 1
		for _, c := range []struct {
			what string
			w    FlowFilter
			want int
		}{
			{"all", FlowFilter{}, 11},
			{"held", FlowFilter{Phases: 1 << PhaseHeld}, 10},
			{"half-open or held", FlowFilter{Phases: 1<<PhaseHeld | 1<<PhaseHalfOpen}, 11},
			{"the client", FlowFilter{Client: a, Bits: 128}, 11},
			{"another client", FlowFilter{Client: other, Bits: 128}, 0},
			{"both clients' network", FlowFilter{Client: other, Bits: 127}, 11},
			{"a network of whole octets", FlowFilter{Client: other, Bits: 120}, 11},
			{"a port", FlowFilter{Port: port}, 1},
			{"a port in another phase", FlowFilter{Port: port, Phases: 1 << PhaseHalfOpen}, 0},
			{"the service", FlowFilter{Services: []bool{true}}, 11},
			{"another service", FlowFilter{Services: []bool{false, true}}, 0},
			{"no service", FlowFilter{Services: []bool{}}, 0},
			{"a server", FlowFilter{Servers: []bool{true, true, true}}, 0},
		} {
			if n := d.count(c.w); n != c.want {
				t.Errorf("%s: %d connections, want %d", c.what, n, c.want)
			}
		}
		d.now = d.now.Add(30 * time.Second)
		d.shard.Advance(d.now)
		d.shard.Drain()
		servers := make([]bool, len(d.shard.cfg.Servers))
		sum := 0
		for i := range servers {
			clear(servers)
			servers[i] = true
			sum += d.count(FlowFilter{Servers: servers})
		}
		if sum != 10 {
			t.Errorf("%d connections have a server", sum)
		}
	})
}

// TestEndFlowsInPortions: a message ends no more connections than it may, and the next goes on behind them.
func TestEndFlowsInPortions(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, nil)
		d.opened(100)
		from, all := uint32(0), 0
		for {
			before := d.shard.Flows()
			d.shard.Apply(EndFlows{From: from, Places: 1000, Most: 9, Now: d.now, Answer: func(n int, next uint32) { all, from = all+n, next }})
			if n := before - d.shard.Flows(); n > 9 {
				t.Fatalf("%d connections ended in one message", n)
			}
			if frames := len(d.shard.Drain().Out); frames > 9 {
				t.Fatalf("%d frames in one message", frames)
			}
			if from == 0 {
				break
			}
		}
		if all != 100 || d.shard.Flows() != 0 {
			t.Errorf("%d ended, %d are left", all, d.shard.Flows())
		}
	})
}

// TestByHandIsInherited: what was set by hand goes on after a reload, with the rest of a new configuration, and in another process.
func TestByHandIsInherited(t *testing.T) {
	d := newDriver(t, nil)
	d.shard.Apply(ServerByHand{Server: 0, Out: true, Weight: -1})
	d.shard.Apply(ServerByHand{Server: 1, Weight: 7})
	cfg := *d.shard.cfg
	cfg.Servers = append([]Server(nil), cfg.Servers...)
	for i := range cfg.Servers {
		cfg.Servers[i].Weight = 100
	}
	d.shard.Apply(Reload{&cfg})
	check := func(when string, s *Shard) {
		t.Helper()
		p := &s.pools[0]
		if p.hands[0] != (hand{true, -1}) || p.hands[1] != (hand{false, 7}) {
			t.Errorf("%s: %+v", when, p.hands)
		}
		for range 50 {
			slot, ok := p.Pick([4]uint64{})
			if !ok || p.backend.Servers[slot] == 0 {
				t.Fatalf("%s: picked %d, %v", when, slot, ok)
			}
		}
	}
	check("after a reload", d.shard)
	next, err := Resume(&cfg, d.shard.Save())
	if err != nil {
		t.Fatal(err)
	}
	check("in another process", next)
	next.Apply(ServerByHand{Server: 0, Weight: -1})
	if p := &next.pools[0]; p.hands[0] != asConfigured {
		t.Errorf("%+v", p.hands)
	}
}

// BenchmarkListFlows is one look at the table for the control API: how long a frame may have to wait for it.
func BenchmarkListFlows(b *testing.B) {
	d := newDriver(b, nil)
	d.opened(100_000)
	list, from := make([]FlowInfo, 0, 1000), uint32(0)
	for _, c := range []struct {
		name string
		w    FlowFilter
	}{{"all", FlowFilter{}}, {"none", FlowFilter{Port: 1}}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d.shard.Apply(ListFlows{From: from, Places: 2048, Want: c.w, List: list, Answer: func(_ []FlowInfo, next uint32) { from = next }})
			}
		})
	}
}
