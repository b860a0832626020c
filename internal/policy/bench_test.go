package policy

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// nth is one of four billion clients.
func nth(n uint32) (a wire.Addr) {
	a[10], a[11] = 0xff, 0xff
	binary.BigEndian.PutUint32(a[12:], n)
	return a
}

// heap is how much memory is in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// octets measures what an entry costs, its share of the index included, when a table has grown to n of them.
func octets(n int, fill func(m *Memory, i uint32)) float64 {
	tab, err := NewTable(benchConfig())
	if err != nil {
		panic(err)
	}
	before := heap()
	m := NewMemory(tab, [2]uint64{1, 2}, Bounds{Passes: n, Clients: n, Offenders: n}, start)
	for i := range uint32(n) {
		fill(m, i)
	}
	used := heap() - before
	runtime.KeepAlive(m)
	return float64(used) / float64(n)
}

func benchConfig() *Config {
	return &Config{
		Frontends: []Frontend{{Delay: 30 * time.Second}, {
			Delay:  30 * time.Second,
			Limits: Limits{Connections: 1 << 20, Rate: 1 << 30, Over: Outcome{Kind: OutcomeReject}}, Offender: Outcome{Kind: OutcomeTarpit},
		}, {
			Delay:  30 * time.Second,
			Access: []Rule{{When: when(inList(0), notIn(0)), Do: Outcome{Kind: OutcomeReject}}, {When: when(inList(0)), Do: Outcome{Kind: OutcomeAccept}}},
		}},
		Lists:    []NamedList{{"one", plainList("198.51.100.0/24")}},
		PassTTL:  24 * time.Hour,
		Offences: Offences{After: 3, Within: time.Hour, For: time.Hour},
	}
}

// filling is what an entry of each kind may cost.
var filling = []struct {
	name string
	most float64
	fill func(m *Memory, i uint32)
}{
	{"pass", 32, func(m *Memory, i uint32) { m.Passed(nth(i), start) }},
	{"client", 64, func(m *Memory, i uint32) { m.Recount(nth(i), start) }},
	{"offender", 80, func(m *Memory, i uint32) { m.Talked(nth(i), start) }},
}

// TestOctets holds entries to their size: the default bound of passes, and numbers at which the index has just grown.
func TestOctets(t *testing.T) {
	for _, f := range filling {
		for _, n := range []int{200_000, 425_000, 1_000_000} {
			if f.name != "pass" && n > 200_000 {
				continue
			}
			if got := octets(n, f.fill); got > f.most {
				t.Errorf("%d times a %s: %.1f octets each, at most %v", n, f.name, got, f.most)
			}
		}
	}
}

// BenchmarkOctets tells what an entry costs.
func BenchmarkOctets(b *testing.B) {
	for _, f := range filling {
		b.Run(f.name, func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(octets(1_000_000, f.fill), "B/entry")
			}
		})
	}
}

// warm is a memory with many clients in each table.
func warm(tb testing.TB, clients uint32) (*Table, *Memory) {
	tab := table(tb, benchConfig())
	m := NewMemory(tab, [2]uint64{1, 2}, Bounds{Passes: int(clients), Clients: int(clients), Offenders: int(clients)}, start)
	for i := range clients {
		m.Passed(nth(2*i), start)
		m.Talked(nth(2*i+1), start)
		tab.Treat(&Client{Addr: nth(i), Frontend: 1}, m, Load{}, start)
		m.Closed(nth(i))
	}
	return tab, m
}

// TestNoAllocation: nothing is allocated once the tables are full.
func TestNoAllocation(t *testing.T) {
	const clients = 2000
	tab, m := warm(t, clients)
	syn := syn(t, false, 64240, unhex("020405b40402080a000000000000000001030307"))
	text := Text("421 {client} and {client}\r\n")
	var stress Stress
	out := make([]byte, 0, 200)
	n := uint32(0)
	if got := testing.AllocsPerRun(20*clients, func() {
		n++
		sig := SignatureOf(syn)
		sig.window = uint16(n)
		id := m.Signatures().Hold(&sig)
		for f := range uint16(3) {
			c := Client{Addr: nth(n * 7), Frontend: f, Signature: id}
			d := tab.Treat(&c, m, Load{}, start)
			if tab.Treatment(d.Treatment).Counted {
				m.Closed(c.Addr)
			}
		}
		m.Passed(nth(n*3), start)
		m.Talked(nth(n*5), start)
		m.Signatures().Release(id)
		stress.Update(Use{int(n), 5000}, Use{1, 2})
		out = text.Append(out[:0], nth(n))
		out = sig.Append(out[:0])
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkTreat(b *testing.B) {
	for _, size := range []struct {
		name string
		n    uint32
	}{{"1000", 1000}, {"1000000", 1_000_000}} {
		tab, m := warm(b, size.n)
		for f, name := range []string{"NoRules", "Limits", "Rules"} {
			b.Run(name+"/clients="+size.name, func(b *testing.B) {
				b.ReportAllocs()
				c := Client{Frontend: uint16(f)}
				i := uint32(0)
				for b.Loop() {
					i += 2654435761 % size.n
					c.Addr = nth(i % (2 * size.n))
					d := tab.Treat(&c, m, Load{}, start)
					if tab.Treatment(d.Treatment).Counted {
						m.Closed(c.Addr)
					}
				}
			})
		}
	}
}

func BenchmarkPassed(b *testing.B) {
	_, m := warm(b, 1_000_000)
	b.ReportAllocs()
	i, now := uint32(0), mono.Time(start)
	for b.Loop() {
		i++
		m.Passed(nth(1<<30+i), now)
	}
}

func BenchmarkTalked(b *testing.B) {
	_, m := warm(b, 1_000_000)
	b.ReportAllocs()
	i := uint32(0)
	for b.Loop() {
		i++
		m.Talked(nth(1<<30+i), start)
	}
}

func BenchmarkSignature(b *testing.B) {
	_, m := warm(b, 1)
	seg := syn(b, false, 64240, unhex("020405b40402080a000000000000000001030307"))
	b.ReportAllocs()
	for b.Loop() {
		s := SignatureOf(seg)
		m.Signatures().Release(m.Signatures().Hold(&s))
	}
}
