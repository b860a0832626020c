package dataplane

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// saved is the serialised state that a shard hands to another process.
type saved struct{ state, schema, records []byte }

func save(s *Shard) (v saved, err error) {
	if v.state, err = json.Marshal(s.Save()); err != nil {
		return v, err
	}
	if v.schema, err = schemaText(); err != nil {
		return v, err
	}
	return v, s.SaveFlows(func(f *FlowState) error {
		v.records = AppendRecord(v.records, f)
		return nil
	})
}

// schemaText returns the schema of this release's records as JSON.
var schemaText = sync.OnceValues(func() ([]byte, error) { return json.Marshal(RecordSchema()) })

// readers caches a reader per schema: tests resume thousands of times from records of few schemas.
var readers sync.Map

func readerOf(text []byte) (*RecordReader, error) {
	if r, ok := readers.Load(string(text)); ok {
		return r.(*RecordReader), nil
	}
	var schema []RecordField
	if err := json.Unmarshal(text, &schema); err != nil {
		return nil, err
	}
	r, err := NewRecordReader(schema)
	if err == nil {
		readers.Store(string(text), r)
	}
	return r, err
}

// resume makes a shard from saved ones. It restores the connections that wants selects; nil selects all.
func resume(cfg *Config, from []saved, wants func(*FlowState) bool) (*Shard, error) {
	states := make([]ShardState, len(from))
	for i, v := range from {
		if err := json.Unmarshal(v.state, &states[i]); err != nil {
			return nil, err
		}
		states[0].Now = max(states[0].Now, states[i].Now)
	}
	s, err := Resume(cfg, &states[0])
	if err != nil {
		return nil, err
	}
	for i := range states {
		s.Count(&states[i])
	}
	for _, v := range from {
		r, err := readerOf(v.schema)
		if err != nil {
			return nil, err
		}
		var f FlowState
		for rest := v.records; len(rest) > 0; {
			if rest, err = r.Read(rest, &f); err != nil {
				return nil, err
			}
			if wants == nil || wants(&f) {
				if err := s.Restore(&f); err != nil {
					return nil, err
				}
			}
		}
	}
	s.Settle()
	return s, nil
}

// takeOver replaces the shard of a script by a new one that takes over its state.
func takeOver(p *player) {
	if p.shard.sweep.begun { // a shard that shuts down is never taken over
		return
	}
	v, err := save(p.shard)
	if err != nil {
		p.fatalf("save: %v", err)
	}
	cfg := *p.cfg
	cfg.HashKey = [2]uint64{p.cfg.HashKey[0] + 1, 7} // open connections must not depend on the key
	next, err := resume(&cfg, []saved{v}, nil)
	if err != nil {
		p.fatalf("resume: %v", err)
	}
	if old, now := counts(p.shard), counts(next); old != now {
		p.fatalf("the shard's counters are\n%s\nand after the takeover\n%s", old, now)
	}
	if old, now := p.shard.NextDeadline(), next.NextDeadline(); old != now {
		p.fatalf("the next deadline was %v and is %v", old, now)
	}
	carryMemory(p.shard, next, next.now)
	p.cfg, p.shard = &cfg, next
}

// carryMemory gives a shard what another one knows of clients, as the gateway does in a takeover and over a restart. now is the
// moment by the new shard's clock.
func carryMemory(from, to *Shard, now mono.Time) {
	var part policy.Part
	for more := true; more; {
		from.Apply(SaveMemory{&part, 100, from.now, func(m bool) { more = m }})
	}
	to.Apply(RestoreMemory{slices.Values(part.Passes), slices.Values(part.Offenders), now, func(int, int) {}})
}

// counts returns a shard's counters as text.
func counts(s *Shard) string {
	var ports []int
	for i := range s.ports {
		ports = append(ports, s.ports[i].Next(), s.ports[i].Busy())
	}
	return fmt.Sprintf("%+v\nports %v, flows %d, active %d %v %v, servers %v, settled %d, of services %v, of servers %v, index %d %d",
		s.stats, ports, s.Flows(), s.active, s.actives, s.fronts, s.servers, s.settled, s.atSvc, s.atSrv, s.byOut.Len(), s.byIn.Len())
}

// TestScriptsTakenOver runs every script with a takeover between any two steps and deadlines. It shows that the saved state is
// complete.
func TestScriptsTakenOver(t *testing.T) {
	t.Parallel()
	takeovers := 0
	var seen [phases]bool
	scripts := runScripts(t, func(p *player) {
		takeovers++
		for i, n := range p.shard.stats.Phase {
			seen[i] = seen[i] || n > 0
		}
		takeOver(p)
	})
	t.Logf("%d takeovers in %d scripts", takeovers, scripts)
	for i, is := range seen {
		if !is {
			t.Errorf("no script has a takeover in phase %v", Phase(i))
		}
	}
}

// TestRecordSchema: a reader reports unknown and missing fields before it reads a record. The order of fields, the size of a
// record and the numbers of names are those of the writer.
func TestRecordSchema(t *testing.T) {
	for _, c := range []struct {
		change func([]RecordField) []RecordField
		want   string
	}{
		{func(s []RecordField) []RecordField {
			return append(s, RecordField{Name: "colour", Size: 1, Part: flowPart})
		}, `"colour" of a connection is unknown`},
		{func(s []RecordField) []RecordField { return s[1:] }, `"client.0" of a connection is missing`},
		{func(s []RecordField) []RecordField { return append(s, s[3]) }, `"service" of a connection is not what`},
		{func(s []RecordField) []RecordField { s[3].Size = 3; return s }, `"service" of a connection is not what`},
		{func(s []RecordField) []RecordField { s[3].Part = "tail"; return s }, `"service" of a connection is not what`},
		{func(s []RecordField) []RecordField { s[4].Names = nil; return s }, `"phase" of a connection is not what`},
		{func(s []RecordField) []RecordField { slices.Reverse(s); return s }, ""},
		{func(s []RecordField) []RecordField { // fields that an older release lacks
			return slices.DeleteFunc(s, func(f RecordField) bool { return strings.HasSuffix(f.Name, ".gone") })
		}, ""},
	} {
		_, err := NewRecordReader(c.change(RecordSchema()))
		if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	schema := RecordSchema()
	slices.Reverse(schema[4].Names)
	schema[4].Names = append([]string{"new phase"}, schema[4].Names...)
	r, err := NewRecordReader(schema)
	if err != nil {
		t.Fatal(err)
	}
	var v FlowState
	for n, want := range map[Phase]Phase{1: PhaseTarpit, 2: PhaseDropped, 11: PhaseHalfOpen} {
		if _, err := r.Read(AppendRecord(nil, &FlowState{Phase: n}), &v); err != nil || v.Phase != want {
			t.Errorf("phase %d is %v, want %v (%v)", n, v.Phase, want, err)
		}
	}
	if _, err := r.Read(AppendRecord(nil, &FlowState{Phase: 0}), &v); err == nil {
		t.Error("an unknown phase was accepted")
	}
	older, err := NewRecordReader(slices.DeleteFunc(RecordSchema(), func(f RecordField) bool { return f.Part == talkPart }))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := older.Read(AppendRecord(nil, &FlowState{Quoted: true}), &v); err == nil {
		t.Error("a part that the writer's schema lacks was accepted")
	}
	if _, err := r.Read(AppendRecord(nil, &FlowState{Phase: 1})[:40], &v); !errors.Is(err, errCut) {
		t.Errorf("a truncated record: %v, want errCut", err)
	}
}

// TestOtherNumberOfShards: three shards take over the connections of two, and one takes over theirs. Each connection keeps its
// deadline, so that the first to arrive is the first to be connected to a server.
func TestOtherNumberOfShards(t *testing.T) {
	const flows = 300
	shardsOf := func(n int) (list []*Config) {
		for i := range n {
			cfg := testConfig(false)
			cfg.Turn, cfg.Shards = i, n
			list = append(list, cfg)
		}
		return list
	}
	d := newDriver(t, nil)
	var old []*Shard
	for _, cfg := range shardsOf(2) {
		old = append(old, New(cfg))
	}
	began := map[uint16]time.Duration{} // by port
	for n := range flows {              // alternately, so that the deadlines of both shards interleave
		d.now = d.now.Add(time.Millisecond)
		d.shard = old[n%2]
		d.hold(n)
		_, port := peer(n)
		began[port] = d.now.Sub(0)
	}
	regroup := func(old []*Shard, n int) (next []*Shard) {
		var all []saved
		for _, s := range old {
			v, err := save(s)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, v)
		}
		for i, cfg := range shardsOf(n) {
			s, err := resume(cfg, all, func(f *FlowState) bool { return int(f.ClientPort)%n == i })
			if err != nil {
				t.Fatal(err)
			}
			next = append(next, s)
		}
		return next
	}
	three := regroup(old, 3)
	if n := three[0].Flows() + three[1].Flows() + three[2].Flows(); n != flows {
		t.Fatalf("%d flows in three shards after the takeover", n)
	}
	d.shard = regroup(three, 1)[0]
	if n := d.shard.Stats().SYNs; n != 3*flows { // resume adds the counters once for each of the three shards
		t.Errorf("counted %d SYNs", n)
	}
	handed := 0
	for last := time.Duration(0); d.shard.NextDeadline() < d.now.Add(29*time.Second+900*time.Millisecond); {
		d.now = d.shard.NextDeadline()
		d.shard.Advance(d.now)
		out := d.shard.Drain().Out
		for _, o := range out {
			d.dec.Decode(o.Frame)
			at := began[d.dec.Segment.SrcPort]
			if at < last || d.now.Sub(0)-at != 30*time.Second {
				t.Fatalf("port %d, opened at %v, after one opened at %v, was connected to a server at %v", d.dec.Segment.SrcPort, at, last, d.now)
			}
			last = at
			handed++
		}
		if handed == flows {
			break
		}
	}
	if handed != flows {
		t.Errorf("%d of %d were connected to a server", handed, flows)
	}
}

// TestRestoreRefuses: a record that cannot be a connection of this shard is refused, with a reason.
func TestRestoreRefuses(t *testing.T) {
	base := saveOne(t)
	for _, c := range []struct {
		change func(*FlowState)
		want   string
	}{
		{func(v *FlowState) {}, ""},
		{func(v *FlowState) { v.Service = 7 }, "there is no service 7"},
		{func(v *FlowState) { v.Client = addr("2001:db8::1") }, "of another family"},
		{func(v *FlowState) { v.Phase = phases }, "no such phase"},
		{func(v *FlowState) { v.Phase = PhaseHalfOpen }, "cannot be in ESTABLISHED"},
		{func(v *FlowState) { v.Conn.State = 99 }, "state 99"},
		{func(v *FlowState) { v.Conn.MSS = 1 }, "an MSS of 1"},
		{func(v *FlowState) { v.Conn.OwnScale = 15 }, "shift"},
		{func(v *FlowState) { v.Splice.ClientReads = 15 }, "shift"},
		{func(v *FlowState) { v.Sought = false }, "do not fit together"},
		{func(v *FlowState) { v.Indexed = false }, "do not fit together"},
		{func(v *FlowState) { v.Server = 9 }, "there is no server 9"},
		{func(v *FlowState) { v.Slot = 9 }, "no server number 9"},
		{func(v *FlowState) { v.Due = v.Due.Add(time.Hour) }, "deadline is too far"},
		{func(v *FlowState) { v.Wait = -1 }, "deadline is too far"},
		{func(v *FlowState) { v.Words = 9 }, "words"},
		{func(v *FlowState) { v.Treated = 200 }, "words"},
		{func(v *FlowState) { v.Settled = true }, "said nothing"},
		{func(v *FlowState) { v.Quoted = true }, "has not talked early"},
		{func(v *FlowState) { v.Quoted, v.Observed, v.TalkOctets = true, true, 5 }, ""},
	} {
		s, err := Resume(testConfig(false), base.state(t))
		if err != nil {
			t.Fatal(err)
		}
		v := base.flow
		c.change(&v)
		err = s.Restore(&v)
		if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v, want %q", err, c.want)
		}
		if c.want == "" {
			if err := s.Restore(&v); err == nil || !strings.Contains(err.Error(), "twice") {
				t.Errorf("the same record again: %v, want an error that says so", err)
			}
		}
	}
}

// TestSourceKeepsItsShard: each port of a source belongs to one shard. If the number of shards changes so that the port belongs
// to another one, its connection is refused.
func TestSourceKeepsItsShard(t *testing.T) {
	base := saveOne(t)
	cfg := testConfig(false)
	for i := range cfg.Servers {
		cfg.Servers[i].Source = Source{addr("10.0.0.1"), 1000, 1999}
	}
	for shards, want := range map[int]string{1: "", 2: "", 4: "the number of shards cannot change"} {
		cfg := *cfg
		cfg.Turn, cfg.Shards = 1%shards, shards
		s, err := Resume(&cfg, base.state(t))
		if err != nil {
			t.Fatal(err)
		}
		v := base.flow
		v.Port = 1003
		if err := s.Restore(&v); err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d shards: %v, want %q", shards, err, want)
		}
	}
}

// one is the saved state of a shard with one spliced connection.
type one struct {
	saved
	flow FlowState
}

func saveOne(t testing.TB) (v one) {
	d := newDriver(t, nil)
	d.splice(0)
	var err error
	if v.saved, err = save(d.shard); err != nil {
		t.Fatal(err)
	}
	if err := d.shard.SaveFlows(func(f *FlowState) error { v.flow = *f; return nil }); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *one) state(t testing.TB) *ShardState {
	var state ShardState
	if err := json.Unmarshal(v.saved.state, &state); err != nil {
		t.Fatal(err)
	}
	return &state
}

// FuzzRestore: a shard either refuses arbitrary records, or works with the connections that it restores from them.
func FuzzRestore(f *testing.F) {
	base := saveOne(f)
	f.Add(base.records, []byte{})
	for _, phase := range []Phase{PhaseHalfOpen, PhaseHeld, PhaseWaiting, PhaseConnecting, PhaseIntroducing, PhaseBannerPending, PhaseLingering, PhaseSaying} {
		v := base.flow
		v.Phase, v.Sought, v.Indexed = phase, phase.seeks(), phase.connected()
		switch phase {
		case PhaseHalfOpen:
			v.Conn.State = tcpstate.SynReceived
		case PhaseSaying:
			v.Conn.State, v.Words = tcpstate.FinWait1, 1
		default:
		}
		f.Add(AppendRecord(nil, &v), []byte{0, 16, 1, 1, 0, 0, 0, 0, 31, 0, 0, 0, 0, 0, 0, 0})
	}
	reader, err := NewRecordReader(RecordSchema())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, records, frames []byte) {
		cfg := testConfig(false)
		cfg.Limits.Flows = 64
		cfg.Servers[1].Proxy = 1
		s, err := Resume(cfg, base.state(t))
		if err != nil {
			t.Fatal(err)
		}
		var v FlowState
		for len(records) > 0 {
			if records, err = reader.Read(records, &v); err != nil {
				return
			}
			if s.Restore(&v) != nil {
				return
			}
		}
		s.Settle()
		if s.Flows() == 0 {
			return
		}
		b := wire.NewBuilder()
		now := s.now
		for ; len(frames) >= 8; frames = frames[8:] {
			h := wire.Header{
				Flags: wire.Flags(frames[1]), Wnd: uint16(frames[2]) << 8, Seq: v.Conn.RcvNxt + wire.Seq(int8(frames[3])),
				Ack: v.Conn.SndNxt + wire.Seq(int8(frames[4])),
			}
			side := wire.Outside
			h.Src, h.SrcPort, h.Dst, h.DstPort = v.Client, v.ClientPort, cfg.Services[0].Addr, 25
			if frames[0]&1 == 1 {
				side = wire.Inside
				srv := &cfg.Servers[frames[5]&1]
				h.Dst, h.DstPort, h.Src, h.SrcPort = v.Client, v.ClientPort, srv.Addr, srv.Port
				h.Seq, h.Ack = v.ServerISS+wire.Seq(int8(frames[3])), v.SynISS+wire.Seq(int8(frames[4]))
			}
			s.Input(now, side, b.Append(nil, &h, make([]byte, frames[6]&7)))
			now = now.Add(time.Duration(frames[7]) * 100 * time.Millisecond)
			s.Advance(now)
			s.Drain()
		}
		for range 10000 {
			next := s.NextDeadline()
			if next > now.Add(24*time.Hour) {
				return
			}
			s.Advance(next)
			s.Drain()
		}
	})
}

// BenchmarkTakeOver moves 100,000 held connections from one shard to another by records, without the socket in between.
func BenchmarkTakeOver(b *testing.B) {
	const flows = 100_000
	d := newDriver(b, nil)
	for n := range flows {
		d.hold(n)
	}
	reader, err := NewRecordReader(RecordSchema())
	if err != nil {
		b.Fatal(err)
	}
	records := make([]byte, 0, flows*128)
	var v FlowState
	b.ReportAllocs()
	for b.Loop() {
		records = records[:0]
		if err := d.shard.SaveFlows(func(f *FlowState) error { records = AppendRecord(records, f); return nil }); err != nil {
			b.Fatal(err)
		}
		s, err := Resume(d.shard.cfg, d.shard.Save())
		if err != nil {
			b.Fatal(err)
		}
		for rest := records; len(rest) > 0; {
			if rest, err = reader.Read(rest, &v); err != nil {
				b.Fatal(err)
			}
			if err := s.Restore(&v); err != nil {
				b.Fatal(err)
			}
		}
		s.Settle()
		if s.Flows() != flows {
			b.Fatal(s.Flows())
		}
	}
	b.ReportMetric(float64(len(records))/flows, "B/flow")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/flows, "ns/flow")
}
