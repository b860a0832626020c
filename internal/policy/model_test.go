package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// model is a Memory written plainly: maps and lists, looked through from end to end.
type model struct {
	ttl      time.Duration
	prefixes Prefixes
	offences Offences
	bounds   Bounds
	now      time.Duration
	passes   []modelPass // the oldest first
	open     map[netip.Prefix]int
	idle     []netip.Prefix // the oldest first
	rates    map[netip.Prefix][]int64
	offends  map[netip.Prefix]*modelOffender
	order    []netip.Prefix // of offends, by the last offence
}

type modelPass struct {
	client netip.Prefix
	since  time.Duration
}

type modelOffender struct {
	at    []time.Duration
	until time.Duration
}

func (m *model) client(a wire.Addr) netip.Prefix {
	n := a.Netip()
	bits := int(m.prefixes.V6)
	if n.Is4() {
		bits = int(m.prefixes.V4)
	}
	p, _ := n.Prefix(bits)
	return p
}

func (m *model) pass(c netip.Prefix) int {
	return slices.IndexFunc(m.passes, func(p modelPass) bool { return p.client == c })
}

func (m *model) hasPass(a wire.Addr) bool {
	i := m.pass(m.client(a))
	return i >= 0 && m.now-m.passes[i].since < m.ttl
}

func (m *model) passed(a wire.Addr) bool {
	if m.hasPass(a) {
		return false
	}
	m.take(m.client(a))
	m.passes = slices.DeleteFunc(m.passes, func(p modelPass) bool { return m.now-p.since >= m.ttl })
	m.passes = append(m.passes, modelPass{m.client(a), m.now})
	return true
}

func (m *model) take(c netip.Prefix) bool {
	i := m.pass(c)
	if i >= 0 {
		m.passes = slices.Delete(m.passes, i, i+1)
	}
	return i >= 0
}

func (m *model) opened(a wire.Addr, window int64) bool {
	c := m.client(a)
	if _, known := m.open[c]; !known && len(m.open) == m.bounds.Clients {
		if len(m.idle) == 0 {
			return false
		}
		delete(m.open, m.idle[0])
		delete(m.rates, m.idle[0])
		m.idle = m.idle[1:]
	}
	m.idle = slices.DeleteFunc(m.idle, func(p netip.Prefix) bool { return p == c })
	m.open[c]++
	m.rates[c] = append(m.rates[c], window)
	return true
}

// rate is the estimate: all of this window and a share of the one before.
func (m *model) rate(a wire.Addr, w window, number int64) uint32 {
	var now, earlier uint64
	for _, at := range m.rates[m.client(a)] {
		switch at {
		case number:
			now++
		case number - 1:
			earlier++
		}
	}
	return uint32(now + earlier*w.rest/w.length)
}

func (m *model) closed(a wire.Addr) {
	c := m.client(a)
	if m.open[c]--; m.open[c] == 0 {
		m.idle = append(m.idle, c)
	}
}

func (m *model) talked(a wire.Addr) Offence {
	c := m.client(a)
	o := Offence{PassLost: m.hasPass(a)}
	m.take(c)
	r := m.offends[c]
	if r == nil {
		if len(m.offends) == m.bounds.Offenders {
			delete(m.offends, m.order[0])
			m.order = m.order[1:]
		}
		r = &modelOffender{}
		m.offends[c] = r
	}
	m.order = append(slices.DeleteFunc(m.order, func(p netip.Prefix) bool { return p == c }), c)
	r.at = append(r.at, m.now)
	within := 0
	for _, at := range r.at {
		if m.now-at < m.offences.Within {
			within++
		}
	}
	if o.Again = r.until > m.now; within >= m.offences.After || o.Again {
		r.until = m.now + m.offences.For
		o.Listed, o.For = true, m.offences.For
	}
	return o
}

// TestModel: whatever clients do, the memory answers as the model does. Tables are small, so that they are full most of the time.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := time.Duration(rapid.IntRange(1, 5).Draw(t, "window")) * time.Second
		config := &Config{
			Prefixes: rapid.SampledFrom([]Prefixes{{32, 64}, {32, 128}, {24, 48}, {31, 127}}).Draw(t, "prefixes"),
			PassTTL:  time.Duration(rapid.IntRange(1, 50).Draw(t, "ttl")) * time.Second,
			Window:   window,
			Offences: Offences{After: rapid.IntRange(1, 8).Draw(t, "after"), Within: 20 * time.Second, For: 30 * time.Second},
			Frontends: []Frontend{{
				Delay: time.Second, Limits: Limits{Connections: 1 << 30, Over: Outcome{Kind: OutcomeReject}}, Offender: Outcome{Kind: OutcomeTarpit},
			}},
		}
		bounds := Bounds{Passes: 1000, Clients: rapid.IntRange(1, 6).Draw(t, "clients"), Offenders: rapid.IntRange(1, 5).Draw(t, "offenders")}
		tab, err := NewTable(config)
		if err != nil {
			t.Fatal(err)
		}
		m := NewMemory(tab, [2]uint64{3, 4}, bounds, start)
		plain := &model{
			ttl: config.PassTTL, prefixes: config.Prefixes, offences: config.Offences, bounds: bounds,
			open: map[netip.Prefix]int{}, rates: map[netip.Prefix][]int64{}, offends: map[netip.Prefix]*modelOffender{},
		}
		var counted []wire.Addr
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			a := drawClient(t)
			now := after(plain.now)
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				plain.now += time.Duration(rapid.IntRange(1, 15).Draw(t, "seconds")) * time.Second
			case 1:
				if got, want := m.Passed(a, now), plain.passed(a); got != want {
					t.Fatalf("%v passed: %v, want %v", a, got, want)
				}
			case 2:
				if got, want := m.Talked(a, now), plain.talked(a); got != want {
					t.Fatalf("%v talked: %+v, want %+v", a, got, want)
				}
			case 3, 4:
				w := m.windowAt(now)
				fits := plain.opened(a, int64(w.tick))
				d := tab.Treat(&Client{Addr: a}, m, Load{}, now)
				open, rate := uint32(0), uint32(0)
				if fits {
					open, rate = uint32(plain.open[plain.client(a)]), plain.rate(a, w, int64(w.tick))
					counted = append(counted, a)
				}
				r := plain.offends[plain.client(a)]
				offender := r != nil && r.until > plain.now && !plain.hasPass(a)
				tr := tab.Treatment(d.Treatment)
				if d.Connections != open || d.Rate != rate || tr.Counted != fits || (d.Pass == PassOld) != plain.hasPass(a) || (tr.Refusal == RefuseTarpit) != offender {
					t.Fatalf("%v: %+v, %+v: want %d connections, a rate of %d, pass %v, offender %v", a, d, tr, open, rate, plain.hasPass(a), offender)
				}
			case 5:
				if len(counted) > 0 {
					i := rapid.IntRange(0, len(counted)-1).Draw(t, "which")
					m.Closed(counted[i])
					plain.closed(counted[i])
					counted = slices.Delete(counted, i, i+1)
				}
			}
		}
		same(t, m, plain)
	})
}

// same compares all that is kept.
func same(t *rapid.T, m *Memory, plain *model) {
	now := after(plain.now)
	var want []Pass
	for _, p := range plain.passes {
		if age := plain.now - p.since; age < plain.ttl {
			want = append(want, Pass{wire.AddrFrom(p.client.Addr()), uint8(p.client.Bits()), age})
		}
	}
	if got := slices.Collect(m.Passes(now)); !slices.Equal(got, want) {
		t.Fatalf("passes %v, want %v", got, want)
	}
	open := map[netip.Prefix]int{}
	for c := range m.Clients(now) {
		if c.Open > 0 {
			open[netip.PrefixFrom(c.Addr.Netip(), int(c.Bits))] = int(c.Open)
		}
	}
	maps.DeleteFunc(plain.open, func(_ netip.Prefix, n int) bool { return n == 0 })
	if !maps.Equal(open, plain.open) {
		t.Fatalf("connections %v, want %v", open, plain.open)
	}
	var offenders []string
	for _, c := range plain.order {
		r := plain.offends[c]
		var ages []time.Duration
		for _, at := range r.at[max(0, len(r.at)-maxOffences):] {
			if age := plain.now - at; age < plain.offences.Within {
				ages = append(ages, age)
			}
		}
		if left := max(0, r.until-plain.now); left > 0 || len(ages) > 0 {
			offenders = append(offenders, fmt.Sprint(Offender{wire.AddrFrom(c.Addr()), uint8(c.Bits()), left, ages}))
		}
	}
	var got []string
	for o := range m.Offenders(now) {
		got = append(got, fmt.Sprint(o))
	}
	if !slices.Equal(got, offenders) {
		t.Fatalf("offenders\n%v\nwant\n%v", got, offenders)
	}
}

func drawClient(t *rapid.T) wire.Addr {
	n := rapid.IntRange(0, 11).Draw(t, "client")
	if n%2 == 0 {
		return addr(fmt.Sprintf("192.0.2.%d", n))
	}
	return addr(fmt.Sprintf("2001:db8:0:%d::%d", n/4, n))
}

// TestPassesFull: when there is no room the oldest pass goes, and only what was good counts as evicted.
func TestPassesFull(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const bound = 8
		tab, err := NewTable(&Config{PassTTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		m := NewMemory(tab, [2]uint64{}, Bounds{Passes: bound}, start)
		var ring []int // clients in the order of their passes, -1 for one that was taken
		evicted := uint64(0)
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			n := rapid.IntRange(0, 20).Draw(t, "client")
			a, at := addr(fmt.Sprintf("192.0.2.%d", n)), after(time.Duration(step)*time.Second)
			i := slices.Index(ring, n)
			if rapid.Bool().Draw(t, "take") {
				if m.Talked(a, at).PassLost != (i >= 0) {
					t.Fatalf("client %d: pass lost: %v", n, i < 0)
				}
				if i >= 0 {
					ring[i] = -1
				}
				continue
			}
			if m.Passed(a, at) != (i < 0) {
				t.Fatalf("client %d: passed: %v", n, i >= 0)
			}
			if i >= 0 {
				continue
			}
			for n := 0; n < sweepLimit && len(ring) > 0 && ring[0] < 0; n++ {
				ring = ring[1:]
			}
			if len(ring) == bound {
				if ring[0] >= 0 {
					evicted++
				}
				ring = ring[1:]
			}
			ring = append(ring, n)
		}
		var got []int
		for p := range m.Passes(after(time.Minute)) {
			got = append(got, int(p.Addr[15]))
		}
		want := slices.DeleteFunc(slices.Clone(ring), func(n int) bool { return n < 0 })
		if s := m.Sizes(); !slices.Equal(got, want) || s.PassesEvicted != evicted || s.Passes != len(want) {
			t.Fatalf("%v, want %v; %+v, want %d evicted", got, want, s, evicted)
		}
	})
}

// TestRestore: what is saved and restored, after a while, and in several parts, is what it was.
func TestRestore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab, err := NewTable(&Config{PassTTL: time.Minute, Offences: Offences{After: 2, Within: time.Minute, For: time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		// Three memories share the clients among them; a fourth gets what all of them have saved.
		shards := []*Memory{memory(tab), memory(tab), memory(tab)}
		var now mono.Time = start
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "seconds")) * time.Second)
			a := drawClient(t)
			m := shards[int(a[7]+a[15]*a[10]&1)%len(shards)] // a client's addresses are with one
			if rapid.Bool().Draw(t, "pass") {
				m.Passed(a, now)
			} else {
				m.Talked(a, now)
			}
		}
		const pause = 7 * time.Second
		heir := NewMemory(tab, [2]uint64{5, 6}, Bounds{}, 42)
		var passes, offenders []string
		for _, m := range shards {
			var list []Pass
			for p := range m.Passes(now) {
				p.Age += pause
				list = append(list, p)
			}
			heir.RestorePasses(slices.Values(list), 42)
			var offences []Offender
			for o := range m.Offenders(now) {
				o.Left = max(0, o.Left-pause)
				for i := range o.Ages {
					o.Ages[i] += pause
				}
				offences = append(offences, o)
			}
			heir.RestoreOffenders(slices.Values(offences), 42)
			for p := range m.Passes(now.Add(pause)) {
				passes = append(passes, fmt.Sprint(p))
			}
			for o := range m.Offenders(now.Add(pause)) {
				offenders = append(offenders, fmt.Sprint(o))
			}
		}
		var gotPasses, gotOffenders []string
		last := time.Duration(1 << 62)
		for p := range heir.Passes(42) {
			if p.Age > last {
				t.Fatal("passes are out of order")
			}
			last = p.Age
			gotPasses = append(gotPasses, fmt.Sprint(p))
		}
		for o := range heir.Offenders(42) {
			gotOffenders = append(gotOffenders, fmt.Sprint(o))
		}
		for _, c := range []struct{ got, want []string }{{gotPasses, passes}, {gotOffenders, offenders}} {
			slices.Sort(c.got)
			slices.Sort(c.want)
			if !slices.Equal(c.got, c.want) {
				t.Fatalf("%v\nwant %v", c.got, c.want)
			}
		}
	})
}

// TestRestoreTwice: of two passes for one client the younger one stays, and the oldest of too many go.
func TestRestoreTwice(t *testing.T) {
	tab := table(t, &Config{PassTTL: time.Hour})
	m := NewMemory(tab, [2]uint64{}, Bounds{Passes: 3}, start)
	pass := func(a string, age time.Duration) Pass {
		p := Pass{Addr: addr(a), Bits: 32, Age: age}
		if !p.Addr.Is4() {
			p.Bits = 64
		}
		return p
	}
	m.Passed(addr("192.0.2.1"), start.Add(-time.Minute))
	taken := m.RestorePasses(slices.Values([]Pass{
		pass("192.0.2.1", 2*time.Minute), pass("192.0.2.2", time.Second), pass("192.0.2.2", time.Minute),
		pass("2001:db8::1", 3*time.Minute), pass("192.0.2.4", 4*time.Minute), pass("192.0.2.5", time.Hour),
		pass("192.0.2.6", -time.Hour), pass("192.0.2.7", 1<<62),
		{Addr: addr("192.0.2.0"), Bits: 24},
		{Addr: addr("2001:db8:9::"), Bits: 200},
	}), start)
	want := []Pass{pass("192.0.2.1", time.Minute), pass("192.0.2.2", time.Second), pass("192.0.2.6", 0)}
	if got := slices.Collect(m.Passes(start)); taken != 6 || !slices.Equal(got, want) {
		t.Errorf("%d taken: %v, want %v", taken, got, want)
	}
	if n := m.RestoreOffenders(slices.Values([]Offender{
		{Addr: addr("192.0.2.0"), Bits: 24, Left: time.Hour}, {Addr: addr("192.0.2.1"), Bits: 32, Left: 1 << 62, Ages: []time.Duration{1 << 62, -1}},
	}), start); n != 1 {
		t.Errorf("%d offenders taken, want 1", n)
	}
}

// TestAdopt: another table, with the same clients and with others.
func TestAdopt(t *testing.T) {
	config := func(p Prefixes, window time.Duration) *Table {
		c := testConfig()
		c.Prefixes, c.Window = p, window
		c.Frontends[0].Limits = Limits{Connections: 10, Over: Outcome{Kind: OutcomeReject}}
		access(OutcomeAccept, inList(trusted))(&c.Frontends[0])
		return table(t, c)
	}
	first := config(Prefixes{32, 64}, time.Minute)
	m := memory(first)
	clients := []string{"192.0.2.10", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"}
	for _, a := range clients {
		first.Treat(&Client{Addr: addr(a)}, m, Load{}, start)
		m.Passed(addr(a), start)
		m.Talked(addr("192.0.2.9"), start)
	}
	second := config(Prefixes{32, 64}, time.Hour)
	if m.Adopt(second, start) {
		t.Error("the same clients are counted anew")
	}
	if d := second.Treat(&Client{Addr: addr("192.0.2.1")}, m, Load{}, start); d.Connections != 2 || d.Rate != 1 || d.Pass != PassOld {
		t.Errorf("with another window: %+v", d)
	}
	if m.Decided()[firstRule] != 1 || m.Matches()[trusted] != 1 {
		t.Errorf("rules decided %v, lists matched %v", m.Decided(), m.Matches())
	}
	for _, c := range []struct {
		prefixes Prefixes
		passes   int
		listed   int
		together uint32
	}{{Prefixes{24, 48}, 2, 1, 3}, {Prefixes{32, 64}, 0, 0, 1}} {
		if next := config(c.prefixes, time.Hour); !m.Adopt(next, start) {
			t.Fatal("other clients are not counted anew")
		}
		for _, a := range clients {
			if !m.Recount(addr(a), start) {
				t.Fatal("no room")
			}
		}
		passes, offenders := slices.Collect(m.Passes(start)), slices.Collect(m.Offenders(start))
		if len(passes) != c.passes || len(offenders) != c.listed {
			t.Errorf("%v: %v, %v", c.prefixes, passes, offenders)
		}
		for got := range m.Clients(start) {
			if got.Addr == c.prefixes.cut(addr("192.0.2.1")) && (got.Open != c.together || got.Rate != 0) {
				t.Errorf("%v: %+v, want %d connections", c.prefixes, got, c.together)
			}
		}
		for _, a := range clients {
			m.Closed(addr(a))
		}
		for got := range m.Clients(start) {
			t.Errorf("%v: all connections are closed, and there is %+v", c.prefixes, got)
		}
	}
}
