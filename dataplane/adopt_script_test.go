package dataplane

import (
	"encoding/json"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
	"hushgate/nat"
	"hushgate/tcpstate"
)

// layout renumbers the tables of a configuration and adds an unrelated service to them. A nil layout changes nothing.
type layout struct {
	v6    bool
	first bool // the unrelated entries come first, and servers are reversed
}

// server maps the script's number of a server to its number in the layout, and back.
func (l *layout) server(id ServerID) ServerID {
	if l == nil || id == NoServer || !l.first {
		return id
	}
	return 8 - id
}

// shift returns how many services, frontends and backends precede those of the script.
func (l *layout) shift() int {
	if l != nil && l.first {
		return 1
	}
	return 0
}

func otherClient(v6 bool) wire.Addr {
	a, _ := (&driver{v6: v6}).peer(0)
	return a
}

func otherService(v6 bool) wire.Addr {
	if v6 {
		return addr("2001:db8:1::99")
	}
	return addr("198.18.0.99")
}

// of returns a configuration in this layout: the script's service, frontend and backend, and the unrelated ones.
func (l *layout) of(cfg *Config) *Config {
	if l == nil {
		return cfg
	}
	_, _, s1, _ := addrs(l.v6)
	out, at, other := *cfg, l.shift(), 1-l.shift()
	out.Services, out.Frontends, out.Backends = make([]Service, 2), make([]Frontend, 2), make([]Backend, 2)
	out.Services[at], out.Frontends[at], out.Backends[at] = cfg.Services[0], cfg.Frontends[0], cfg.Backends[0]
	out.Services[at].Frontend, out.Frontends[at].Backend = FrontendID(at), BackendID(at)
	out.Servers, out.Names.Servers = make([]Server, 9), make([]ServerName, 9)
	out.Backends[at].Servers = nil
	for _, id := range cfg.Backends[0].Servers {
		out.Backends[at].Servers = append(out.Backends[at].Servers, l.server(id))
	}
	for i, srv := range cfg.Servers {
		id := l.server(ServerID(i))
		out.Servers[id], out.Names.Servers[id] = srv, ServerName{"mail", string(rune('a' + i))}
	}
	out.Services[other] = Service{Addr: otherService(l.v6), Port: 25, Frontend: FrontendID(other)}
	out.Frontends[other] = Frontend{Delay: 30 * time.Second, Backend: BackendID(other), NoServerText: "421 others\r\n"}
	out.Backends[other].Servers = []ServerID{4}
	out.Servers[4] = Server{Addr: addr(s1), Port: 26, Weight: 1, Up: true, Options: testConfig(l.v6).Servers[0].Options}
	out.Names.Servers[4] = ServerName{"others", "other"}
	// A server of another backend with the address of one of the script's: only the name tells them apart.
	out.Servers[3], out.Names.Servers[3] = out.Servers[l.server(0)], ServerName{"elsewhere", "a"}
	out.Names.Frontends = []string{"script", "others"}
	if at == 1 {
		slices.Reverse(out.Names.Frontends)
	}
	return &out
}

// otherFlows returns unrelated connections, saved for another machine: one with a server, and two that are held.
func otherFlows(t testing.TB, v6 bool) (list []FlowState) {
	l := &layout{v6: v6}
	d := newDriverOf(t, v6, func(cfg *Config) {
		laid := *l.of(cfg)
		laid.Limits = cfg.Limits
		*cfg = laid
	})
	d.to = 1
	d.hold(0)
	d.now = d.now.Add(31 * time.Second)
	d.shard.Advance(d.now)
	d.shard.Drain()
	d.hold(1)
	d.hold(2)
	for n := range 3 {
		a, port := d.peer(n)
		var v FlowState
		if !d.shard.SaveFlow(d.now, &tcpstate.Tuple{Client: a, ClientPort: port, Service: otherService(v6), ServicePort: 25}, AnotherMachine, &v) {
			t.Fatal("the unrelated connection was not found")
		}
		list = append(list, v)
	}
	return list
}

// ofOthers reports whether a frame belongs to an unrelated connection.
func (p *player) ofOthers(o *Out) bool {
	if p.others == 0 {
		return false
	}
	other := otherClient(p.v6)
	return o.Dst == other || p.dec.Decode(o.Frame) == wire.KindTCP && p.dec.Segment.Src == other
}

// forgetOthers removes the unrelated connections without any segment or event.
func (p *player) forgetOthers() {
	for id := uint32(1); p.others > 0 && id < p.shard.flows.Bound(); id++ {
		if f := p.shard.flows.At(id); f.phase != phases && f.client == otherClient(p.v6) {
			p.shard.fronts[p.shard.cfg.Services[f.service].Frontend]--
			p.shard.actives[f.service]--
			p.shard.active--
			p.shard.forget(id, f)
		}
	}
	p.others = 0
}

// portableReader reads records for another machine. Its schema has been encoded and decoded, too.
var portableReader = sync.OnceValues(func() (*RecordReader, error) {
	text, err := json.Marshal(SchemaFor(AnotherMachine))
	if err != nil {
		return nil, err
	}
	var schema []RecordField
	if err := json.Unmarshal(text, &schema); err != nil {
		return nil, err
	}
	return NewRecordReader(schema)
})

// elsewhere encodes and decodes a connection, and overwrites every field that only its old machine understands.
func elsewhere(v *FlowState) (w FlowState, err error) {
	r, err := portableReader()
	if err == nil {
		_, err = r.Read(AppendRecord(nil, v), &w)
	}
	w.Service, w.Treated, w.Due, w.Conn.TSOffset = 0xfff0, 13, 4711, 0xdeadbeef
	if w.Server != NoServer {
		w.Server = 0xfff1
	}
	w.eachInstant(func(at *mono.Time, _ *Ago) { *at = 815 })
	return w, err
}

// eachPortable calls f for every connection of a shard, saved for another machine.
func (s *Shard) eachPortable(now mono.Time, f func(*FlowState) error) error {
	return s.SaveFlows(func(v *FlowState) error {
		svc := &s.cfg.Services[v.Service]
		tuple, w := tcpstate.Tuple{Client: v.Client, ClientPort: v.ClientPort, Service: svc.Addr, ServicePort: svc.Port}, FlowState{}
		s.SaveFlow(now, &tuple, AnotherMachine, &w)
		return f(&w)
	})
}

// like copies what a shard knows apart from its connections: which servers are up and which is next, and how earlier
// configurations treated clients.
func (s *Shard) like(old *Shard, from, to *layout) {
	p, q := &s.pools[to.shift()], &old.pools[from.shift()]
	for slot, credit := range q.Credits() {
		p.SetUp(slot, q.Up(slot))
		p.SetOptions(slot, q.Options(slot))
		p.setHand(slot, q.hands[slot], s.cfg)
		p.SetCredit(slot, credit)
	}
	p.refreshOffer()
	for i := range old.treatments.slots[1:] {
		if t := &old.treatments.slots[i+1]; t.used() {
			s.treatments.intern(&t.Treatment, t.rule)
		}
	}
	for _, id := range []ServerID{0, 1} {
		if was := &old.ports[from.server(id)]; was.Len() > 0 {
			s.ports[to.server(id)] = nat.NewPorts(was.Len(), was.Next())
		}
	}
}

// elsewhen returns the time on another machine's clock, which is sometimes less than the connection's age. A client that opens
// another connection gets timestamps from this clock; they are the same on a clock that is 2^32 ms ahead.
func (p *player) elsewhen(n int) mono.Time {
	if p.syns > 1 {
		const ahead = time.Millisecond << 32
		if p.shard.now > mono.Time(ahead) {
			return p.shard.now.Add(-ahead)
		}
		return p.shard.now.Add(ahead)
	}
	at := []mono.Time{mono.Time(1003 * time.Millisecond), mono.Time(50 * time.Hour), mono.Time(61007 * time.Millisecond)}[n%3]
	return at.Add(p.shard.now.Sub(at) % time.Millisecond) // timestamps have a resolution of a millisecond
}

// adoptScript replaces a script's shard by one of another machine, with another clock, other tables and secrets, and its own
// connections. It adopts each of the script's connections separately.
func adoptScript(p *player, n int, others []FlowState) {
	if p.cfg.Policy != nil { // what DNS lists are to be asked is not in the record: another machine has its own
		return
	}
	if p.layout == nil { // at the first call
		p.layout = &layout{v6: p.v6}
		p.shard = New(p.layout.of(p.cfg))
	}
	if p.shard.sweep.begun || p.shard.now == 0 { // it is shutting down, or has not started
		return
	}
	from, to := p.layout, &layout{v6: p.v6, first: n%2 == 0}
	at := p.elsewhen(n)
	cfg := *to.of(p.cfg)
	cfg.HashKey[0] += uint64(n)
	next := New(&cfg)
	next.now = at
	next.like(p.shard, from, to)
	next.clock, next.secret, next.oldSecret = p.shard.clock, p.shard.secret, p.shard.oldSecret
	adopt := func(v *FlowState) {
		w, err := elsewhere(v)
		if err != nil {
			p.fatalf("%v", err)
		}
		next.Apply(Adopt{Flow: &w, Now: at, Answer: func(a Adoption) {
			if a.Outcome != Adopted || a.Err != nil {
				p.fatalf("%v: %v", a.Outcome, a.Err)
			}
		}})
	}
	adopt(&others[0])
	adopt(&others[1])
	had, flows := 0, map[uint16]FlowState{}
	err := p.shard.eachPortable(p.shard.now, func(v *FlowState) error {
		if v.Client != otherClient(p.v6) {
			had++
			flows[v.ClientPort] = *v
			adopt(v)
		}
		return nil
	})
	if err != nil {
		p.fatalf("%v", err)
	}
	adopt(&others[2])
	if next.Flows() != had+len(others) || next.stats.Adoptions[Adopted] != uint64(had+len(others)) {
		p.fatalf("the shard has %d connections; the script had %d", next.Flows(), had)
	}
	_ = next.eachPortable(at, func(v *FlowState) error {
		if was, ok := flows[v.ClientPort]; ok && v.Client != otherClient(p.v6) {
			if a, b := portableView(was), portableView(*v); a != b {
				p.fatalf("an adopted connection differs: %s", cmp.Diff(a, b))
			}
		}
		return nil
	})
	carryMemory(p.shard, next, at)
	p.start, p.now = p.start.Add(at.Sub(p.shard.now)), p.now.Add(at.Sub(p.shard.now))
	p.shard, p.layout, p.others = next, to, len(others)
}

// portableView returns a connection without the fields that are valid on one machine only.
func portableView(v FlowState) FlowState {
	v.Service, v.Treated, v.Server, v.Due, v.Conn.TSOffset = 0, 0, 0, 0, 0
	v.eachInstant(func(at *mono.Time, _ *Ago) { *at = 0 })
	if v.ServerMSS == math.MaxUint16 { // both mean unknown
		v.ServerMSS = 0
	}
	return v
}

// TestScriptsAdopted moves the connections of every script to another machine's shard between any two steps and deadlines. It
// shows that names and durations are sufficient there.
func TestScriptsAdopted(t *testing.T) {
	t.Parallel()
	moves := 0
	var seen [phases]bool
	others := map[bool][]FlowState{false: otherFlows(t, false), true: otherFlows(t, true)}
	scripts := runScripts(t, func(p *player) {
		moves++
		for i, n := range p.shard.stats.Phase {
			seen[i] = seen[i] || n > 0
		}
		adoptScript(p, moves, others[p.v6])
	})
	t.Logf("%d moves in %d scripts", moves, scripts)
	for i, is := range seen {
		if !is {
			t.Errorf("no connection was adopted in phase %v", Phase(i))
		}
	}
}
