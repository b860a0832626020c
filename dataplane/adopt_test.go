package dataplane

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// namedConfig is testConfig with names.
func namedConfig(v6 bool) *Config {
	cfg := testConfig(v6)
	cfg.Names = Names{Frontends: []string{"in"}, Servers: []ServerName{{"mail", "a"}, {"mail", "b"}}}
	return cfg
}

// tuple returns the addresses and ports of client n's connection.
func (d *driver) tuple(n int) *tcpstate.Tuple {
	a, port := d.peer(n)
	svc := &d.shard.cfg.Services[d.to]
	return &tcpstate.Tuple{Client: a, ClientPort: port, Service: svc.Addr, ServicePort: svc.Port}
}

// saved returns the saved connection of client n.
func (d *driver) saved(n int, reader Reader) (v FlowState) {
	d.tb.Helper()
	if !d.shard.SaveFlow(d.now, d.tuple(n), reader, &v) {
		d.tb.Fatalf("client %d has no connection", n)
	}
	return v
}

// adoption offers a connection to the shard and returns its answer.
func (s *Shard) adoption(v *FlowState, now mono.Time, ago time.Duration) (got Adoption) {
	s.Apply(Adopt{Flow: v, Now: now, Ago: ago, Answer: func(a Adoption) { got = a }})
	return got
}

// TestSaveFlow: a single connection is found by its addresses and saved as in a takeover of all; for another machine it has one
// more part. Saving changes nothing.
func TestSaveFlow(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, nil)
		d.splice(1)
		d.hold(0)
		var all []FlowState
		if err := d.shard.SaveFlows(func(v *FlowState) error { all = append(all, *v); return nil }); err != nil {
			t.Fatal(err)
		}
		before := counts(d.shard)
		for _, want := range all {
			n := int(want.ClientPort) - 1024
			if got := d.saved(n, SameMachine); got != want {
				t.Errorf("client %d:\n%+v\nwant\n%+v", n, got, want)
			}
			got := d.saved(n, AnotherMachine)
			if !got.Portable || got.Elsewhere.ServicePort != 25 || got.Elsewhere.SYN < 0 {
				t.Errorf("client %d for another machine: %+v", n, got.Elsewhere)
			}
			got.Portable, got.Elsewhere = false, PortableState{}
			if got != want {
				t.Errorf("client %d:\n%+v\nwant\n%+v", n, got, want)
			}
		}
		var v FlowState
		other := *d.tuple(0)
		other.ServicePort = 26
		if d.shard.SaveFlow(d.now, &other, SameMachine, &v) || d.shard.SaveFlow(d.now, d.tuple(2), SameMachine, &v) {
			t.Error("a connection that does not exist was saved")
		}
		if now := counts(d.shard); now != before {
			t.Errorf("the shard's counters were\n%s\nand after saving\n%s", before, now)
		}
	})
}

// TestAdoptedDeadline: an adopted client waits for the rest of its delay, less the time since it was saved, even in a shard with
// another clock that has long been idle. Its timestamps continue and its age is preserved.
func TestAdoptedDeadline(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, nil)
		d.hold(0)
		began := d.now
		d.now = d.now.Add(12*time.Second + 345*time.Microsecond)
		v := d.saved(0, AnotherMachine)
		ts := v.Elsewhere.TSval
		for _, at := range []mono.Time{1, mono.Time(time.Second + 999*time.Microsecond), mono.Time(1000 * time.Hour)} {
			const ago = 3*time.Second + 700*time.Microsecond
			s := New(namedConfig(v6))
			w, err := elsewhere(&v)
			if err != nil {
				t.Fatal(err)
			}
			if a := s.adoption(&w, at, ago); a.Err != nil {
				t.Fatal(a.Err)
			}
			if left, want := s.NextDeadline().Sub(at), 30*time.Second-d.now.Sub(began)-ago; left != want {
				t.Errorf("at %v the delay ends in %v, want %v", at, left, want)
			}
			f := s.flows.At(1)
			if age := at.Sub(f.established()); age != d.now.Sub(began)+ago {
				t.Errorf("the connection's age is %v", age)
			}
			// The old machine may have sent the client this timestamp just before.
			was := ts + uint32((d.now.Add(ago)-d.now.Add(-time.Duration(d.now%1e6)))/1e6)
			if late := f.conn.TSval(at) - was; late > 1 {
				t.Errorf("its timestamp is %d ms ahead of the last one", int32(late))
			}
			s.Advance(s.NextDeadline() - 1)
			if s.stats.Phase[PhaseHeld] != 1 || len(s.Drain().Out) != 0 {
				t.Error("it was connected to a server too early")
			}
			s.Advance(s.NextDeadline())
			if s.stats.Phase[PhaseConnecting] != 1 {
				t.Errorf("no server is being connected to: phases %v", s.stats.Phase)
			}
			s.audit(t)
		}
	})
}

// TestAdoptOutcomes: each reason to refuse a connection has a word, a counter and a text, and leaves the shard, with its own
// connection, unchanged.
func TestAdoptOutcomes(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, func(cfg *Config) { cfg.Names = namedConfig(v6).Names })
		d.splice(1)
		d.hold(0)
		d.fromClient(2, wire.SYN, 1000, 0, "")
		d.shard.Drain()
		iss := d.hold(3)
		d.shard.treatments.slots[1].Talk = policy.TalkReply
		d.fromClient(3, wire.ACK|wire.PSH, 1001, iss+1, "EHLO")
		d.shard.Drain()
		held, spliced, halfOpen, saying := d.saved(0, AnotherMachine), d.saved(1, AnotherMachine), d.saved(2, AnotherMachine), d.saved(3, AnotherMachine)
		here := d.saved(0, SameMachine)
		for _, c := range []struct {
			what   string
			v      FlowState
			change func(*FlowState)
			want   AdoptOutcome
			text   string
		}{
			{"held", held, func(v *FlowState) {}, Adopted, ""},
			{"spliced", spliced, func(v *FlowState) {}, Adopted, ""},
			{"half-open", halfOpen, func(v *FlowState) {}, Adopted, ""},
			{"saying", saying, func(v *FlowState) {}, Adopted, ""},
			{"a renamed frontend", held, func(v *FlowState) { v.Elsewhere.Frontend = "out" }, Adopted, ""},
			{"a renamed server", spliced, func(v *FlowState) { v.Elsewhere.ServerName = "z" }, Adopted, ""},
			{"another service", held, func(v *FlowState) { v.Elsewhere.ServicePort = 26 }, AdoptUnknownService, `:26 (of the frontend "in"`},
			{"another service here", here, func(v *FlowState) { v.Service = 7 }, AdoptUnknownService, "there is no service 7"},
			{"another server", spliced, func(v *FlowState) { v.Elsewhere.ServerPort = 26 }, AdoptUnknownServer, "there is no server mail/"},
			{"a server behind a source", spliced, func(v *FlowState) { v.Elsewhere.SourceAddr = held.Client }, AdoptUnknownServer, "is connected to as it was"},
			{"another PROXY header", spliced, func(v *FlowState) { v.Phase, v.Elsewhere.Proxy = PhaseIntroducing, 1 }, AdoptUnknownServer, "is connected to"},
			{"other numbers of a PROXY header", spliced, func(v *FlowState) { v.Phase, v.SynISS = PhaseConnecting, v.SynISS-9 }, AdoptUnknownServer, "PROXY header"},
			{"another text", saying, func(v *FlowState) { v.Elsewhere.Text = "554 go away\r\n" }, AdoptUnknownText, "go away"},
			{"no phase", held, func(v *FlowState) { v.Phase = phases }, AdoptMalformed, "phase"},
			{"another family", held, func(v *FlowState) { v.Client = addr(map[bool]string{true: "198.18.0.7", false: "2001:db8::1"}[v6]) }, AdoptMalformed, "family"},
			{"a client that nobody can be", held, func(v *FlowState) { v.Client = addr(map[bool]string{true: "ff02::1", false: "224.0.0.1"}[v6]) }, AdoptMalformed, "nobody"},
			{"a client without a port", held, func(v *FlowState) { v.ClientPort = 0 }, AdoptMalformed, "nobody"},
			{"a far deadline", held, func(v *FlowState) { v.Elsewhere.DueIn = time.Hour }, AdoptMalformed, "deadline"},
			{"an endless deadline", held, func(v *FlowState) { v.Elsewhere.DueIn = -1 << 63 }, AdoptMalformed, "deadline"},
			{"an endless past", held, func(v *FlowState) { v.Elsewhere.SYN = 1<<63 - 1 }, AdoptMalformed, "ago"},
			{"never established", held, func(v *FlowState) { v.Elsewhere.Established = -1 }, AdoptMalformed, "handshake"},
			{"established and half-open", halfOpen, func(v *FlowState) { v.Elsewhere.Established = 1 }, AdoptMalformed, "handshake"},
			{"told and held", held, func(v *FlowState) { v.Told = true }, AdoptMalformed, "told"},
			{"over and not told", saying, func(v *FlowState) { v.Told = false }, AdoptMalformed, "told"},
			{"let through and held", held, func(v *FlowState) { v.Observed = true }, AdoptMalformed, "talked early"},
			{"not counted", spliced, func(v *FlowState) { v.Counted = false }, AdoptMalformed, "counted"},
			{"the mark of what is settled", saying, func(v *FlowState) { v.Tries = settled }, AdoptMalformed, "255 times"},
			{"words in the hold", held, func(v *FlowState) { v.Words = 1 }, AdoptMalformed, "silent"},
			{"words of no number", saying, func(v *FlowState) { v.Words = 9 }, AdoptUnknownText, "told"},
			{"no treatment", here, func(v *FlowState) { v.Treated = 99 }, AdoptMalformed, "words"},
			{"a place beyond its backend", spliced, func(v *FlowState) { v.Slot = 9 }, AdoptMalformed, "no server number 9"},
			{"no state", held, func(v *FlowState) { v.Conn.State = 77 }, AdoptMalformed, "state 77"},
			{"no MSS", held, func(v *FlowState) { v.Conn.MSS = 0 }, AdoptMalformed, "MSS"},
			{"no shift", spliced, func(v *FlowState) { v.Splice.ClientScale = 15 }, AdoptMalformed, "shift"},
		} {
			cfg := namedConfig(v6)
			cfg.Limits.Flows = 4
			cfg.Frontends[0].Action = ActionReply
			s := New(cfg)
			e := &driver{tb: t, stage: stage{shard: s, build: d.build, dec: d.dec, now: mono.Time(time.Minute)}, v6: v6}
			e.hold(9)
			before := counts(s)
			v := c.v
			c.change(&v)
			got := s.adoption(&v, d.now, 0)
			if got.Outcome != c.want || (got.Err == nil) != (c.text == "") || got.Err != nil && !strings.Contains(got.Err.Error(), c.text) {
				t.Errorf("%s: %v, %v, want %v, %q", c.what, got.Outcome, got.Err, c.want, c.text)
				continue
			}
			if n := s.stats.Adoptions[c.want]; n != 1 {
				t.Errorf("%s: %v is counted %d times", c.what, c.want, n)
			}
			s.audit(t)
			if c.want == Adopted {
				if again := s.adoption(&v, d.now, 0); again.Outcome != AdoptAlreadyThere {
					t.Errorf("%s: a second adoption: %+v", c.what, again)
				}
				continue
			}
			if s.stats.Adoptions = ([adoptOutcomes]uint64{}); counts(s) != before {
				t.Errorf("%s: the shard's counters were\n%s\nand are\n%s", c.what, before, counts(s))
			}
		}
	})
}

// TestAdoptIntoFullTable: in a full table, an open connection takes the record of a finished one only. A finished connection
// takes none. A shard that is shutting down adopts nothing.
func TestAdoptIntoFullTable(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, nil)
		d.hold(0)
		iss := d.hold(1)
		d.shard.treatments.slots[1].Talk = policy.TalkReply
		d.fromClient(1, wire.ACK|wire.PSH, 1001, iss+1, "EHLO")
		fin := d.last()
		d.fromClient(1, wire.ACK, 1005, fin.Seq+wire.Seq(len(fin.Payload))+1, "")
		d.shard.Drain()
		goesOn, over := d.saved(0, AnotherMachine), d.saved(1, AnotherMachine)
		if !over.Settled {
			t.Fatalf("%+v", over)
		}
		fill := func(n int) *driver {
			e := newDriverOf(t, v6, func(cfg *Config) { cfg.Limits.Flows, cfg.Limits.HalfOpen = 4, 1 })
			for i := range n {
				e.hold(100 + i)
			}
			return e
		}
		e := fill(4)
		for _, v := range []*FlowState{&goesOn, &over} {
			if a := e.shard.adoption(v, e.now, 0); a.Outcome != AdoptTableFull || !strings.Contains(a.Err.Error(), "maxconn (4)") {
				t.Errorf("%+v", a)
			}
		}
		e = fill(3)
		if a := e.shard.adoption(&over, e.now, 0); a.Outcome != Adopted {
			t.Errorf("%+v", a)
		}
		if a := e.shard.adoption(&goesOn, e.now, 0); a.Outcome != Adopted || e.shard.stats.FinishedGivenUp != 1 || e.shard.Flows() != 4 {
			t.Errorf("%+v, %d gave way", a, e.shard.stats.FinishedGivenUp)
		}
		e.shard.audit(t)
		e = fill(1)
		d.fromClient(2, wire.SYN, 1000, 0, "")
		d.shard.Drain()
		e.fromClient(99, wire.SYN, 1000, 0, "")
		e.shard.Drain()
		halfOpen := d.saved(2, AnotherMachine)
		if a := e.shard.adoption(&halfOpen, e.now, 0); a.Outcome != AdoptTableFull {
			t.Errorf("one half-open connection above the limit: %+v", a)
		}
		e.shard.Apply(Shutdown{})
		if a := e.shard.adoption(&goesOn, e.now, 0); a.Outcome != AdoptEnding {
			t.Errorf("%+v", a)
		}
	})
}

// TestAdoptSameAddresses: a finished connection gives way to an open one with the same addresses, on either side. An open one
// does not.
func TestAdoptSameAddresses(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		one := func(cfg *Config) { cfg.Backends[0].Servers = cfg.Backends[0].Servers[:1] }
		d := newDriverOf(t, v6, one)
		d.splice(0)
		v := d.saved(0, AnotherMachine)

		e := newDriverOf(t, v6, one)
		e.now = e.now.Add(time.Hour)
		iss, server := e.splice(0) // an earlier connection of the same port
		e.shard.flows.At(1).conn.ISS++
		if a := e.shard.adoption(&v, e.now, 0); a.Outcome != AdoptAlreadyThere {
			t.Errorf("in place of an open connection: %+v", a)
		}
		a, port := e.peer(0)
		h := wire.Header{Src: server, SrcPort: 25, Dst: a, DstPort: port, Flags: wire.RST, Seq: 5001 + 11}
		e.input(wire.Inside, &h, "")
		e.shard.Drain()
		e.phase(PhaseLingering, 1)
		over := e.saved(0, AnotherMachine)
		if a := e.shard.adoption(&v, e.now, 0); a.Outcome != Adopted {
			t.Errorf("in place of a finished connection: %+v", a)
		}
		e.phase(PhaseSpliced, 1)
		if a := e.shard.adoption(&over, e.now, 0); a.Outcome != AdoptAlreadyThere {
			t.Errorf("a finished connection, in place of an open one: %+v", a)
		}
		e.shard.audit(t)
		_ = iss

		v.Elsewhere.ServiceAddr = otherService(v6) // the same port to another service, at the same server
		f := newDriverOf(t, v6, func(cfg *Config) {
			one(cfg)
			cfg.Services = append(cfg.Services, Service{Addr: otherService(v6), Port: 25})
		})
		f.splice(0)
		if a := f.shard.adoption(&v, f.now, 0); a.Outcome != AdoptTupleInUse {
			t.Errorf("with the 4-tuple of an open connection: %+v", a)
		}
		f.shard.audit(t)
	})
}

// TestAdoptedSource: a connection from the gateway's own address keeps its port if the port belongs to this shard. No other
// connection gets it.
func TestAdoptedSource(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		src := Source{addr("10.0.0.1"), 1000, 1007}
		if v6 {
			src.Addr = addr("2001:db8:2::1")
		}
		sourced := func(turn, shards int) func(*Config) {
			return func(cfg *Config) {
				cfg.Turn, cfg.Shards, cfg.HashKey[0] = turn, shards, uint64(turn)+7
				cfg.Backends[0].Servers = cfg.Backends[0].Servers[:1]
				cfg.Servers[0].Source = src
			}
		}
		d := newDriverOf(t, v6, sourced(0, 1))
		d.hold(0)
		d.now = d.now.Add(31 * time.Second)
		d.shard.Advance(d.now)
		port := d.last().SrcPort
		v := d.saved(0, AnotherMachine)
		for turn := range 2 {
			e := newDriverOf(t, v6, sourced(turn, 2))
			want := Adopted
			if int(port)%2 != turn {
				want = AdoptTupleInUse
			}
			if a := e.shard.adoption(&v, e.now, 0); a.Outcome != want {
				t.Errorf("port %d in shard %d of 2: %+v", port, turn, a)
			}
			if want != Adopted {
				continue
			}
			for n := range 3 { // the other three of the shard's four ports
				e.hold(n + 1)
			}
			e.now = e.now.Add(30 * time.Second)
			e.shard.Advance(e.now)
			seen := map[uint16]bool{port: true}
			for _, o := range e.shard.Drain().Out {
				if o.Side == wire.Inside && e.dec.Decode(o.Frame) == wire.KindTCP && e.dec.Segment.Flags == wire.SYN {
					if p := e.dec.Segment.SrcPort; seen[p] && p != port {
						t.Errorf("port %d was given out twice", p)
					} else if p == port {
						a, _ := e.peer(0)
						if got := e.shard.lookupIn(src.Addr, p, 0); got == 0 || e.shard.flows.At(got).client != a {
							t.Errorf("port %d now belongs to another client", p)
						}
					} else {
						seen[p] = true
					}
				}
			}
			e.shard.audit(t)
		}
	})
}

// TestAdoptManyWaits: a connection is refused if no queue is left for its deadline.
func TestAdoptManyWaits(t *testing.T) {
	d := newDriver(t, nil)
	d.hold(0)
	v := d.saved(0, AnotherMachine)
	s := New(namedConfig(false))
	taken := 0
	for ; taken < 300; taken++ {
		w := v
		w.ClientPort += uint16(taken)
		w.Wait += time.Duration(taken) * time.Second
		if a := s.adoption(&w, d.now, 0); a.Outcome != Adopted {
			if a.Outcome != AdoptTableFull || !strings.Contains(a.Err.Error(), ErrTooManyWaits.Error()) {
				t.Errorf("%+v", a)
			}
			break
		}
	}
	if taken < 200 || taken == 300 {
		t.Errorf("%d different deadlines found room", taken)
	}
	if err := s.SaveFlows(func(*FlowState) error { return nil }); err != nil || s.Flows() != taken {
		t.Errorf("the shard has %d connections, want %d: %v", s.Flows(), taken, err)
	}
}

// TestPortableRecord: a record for another machine is decoded as it was encoded, with texts of any length. A truncated record
// is refused.
func TestPortableRecord(t *testing.T) {
	r, err := portableReader()
	if err != nil {
		t.Fatal(err)
	}
	d := newDriver(t, nil)
	d.splice(0)
	base := d.saved(0, AnotherMachine)
	rapid.Check(t, func(t *rapid.T) {
		v := base
		p := &v.Elsewhere
		p.Frontend, p.Backend, p.ServerName = rapid.String().Draw(t, "frontend"), rapid.String().Draw(t, "backend"), rapid.String().Draw(t, "server")
		p.Text = rapid.StringN(0, 700, -1).Draw(t, "text")
		p.DueIn = time.Duration(rapid.Int64().Draw(t, "due in"))
		v.eachInstant(func(at *mono.Time, ago *Ago) {
			*at, *ago = mono.Time(rapid.Int64().Draw(t, "at")), Ago(rapid.Int64().Draw(t, "ago"))
		})
		p.TSval, p.TSns = rapid.Uint32().Draw(t, "tsval"), rapid.Uint32().Draw(t, "tsval ns")
		p.Talk, p.Members = policy.TalkObserve, rapid.Uint64().Draw(t, "members")
		v.Sought = rapid.Bool().Draw(t, "sought")
		if !v.Sought { // the part for the server is left out
			v = FlowState{Client: v.Client, Portable: true, Elsewhere: v.Elsewhere, Server: NoServer, Slot: noSlot, SYN: v.SYN, Established: v.Established}
		}
		record := AppendRecord(nil, &v)
		var w FlowState
		rest, err := r.Read(append(record[:len(record):len(record)], 7), &w)
		if err != nil || len(rest) != 1 || w != v {
			t.Fatalf("%v, %d octets are left:\n%+v\nwant\n%+v", err, len(rest), w, v)
		}
		if _, err := r.Read(record[:rapid.IntRange(0, len(record)-1).Draw(t, "cut")], &w); err == nil {
			t.Fatal("a truncated record was accepted")
		}
	})
}

// TestAdoptionIsIdentity: a connection that moves from machine to machine, with any time between saving and adoption, has the
// same age, deadline and timestamps as one that stayed.
func TestAdoptionIsIdentity(t *testing.T) {
	tb := t
	rapid.Check(t, func(t *rapid.T) {
		v6 := rapid.Bool().Draw(t, "v6")
		l := &layout{v6: v6}
		d := &driver{tb: tb, stage: newStage(l.of(testConfig(v6))), v6: v6}
		if rapid.Bool().Draw(t, "spliced") {
			d.splice(0)
		} else {
			d.hold(0)
		}
		start, passed := d.saved(0, AnotherMachine), time.Duration(0)
		for range rapid.IntRange(1, 5).Draw(t, "machines") {
			v, err := elsewhere(new(d.saved(0, AnotherMachine)))
			if err != nil {
				t.Fatal(err)
			}
			l = &layout{v6: v6, first: rapid.Bool().Draw(t, "first")}
			d.shard = New(l.of(testConfig(v6)))
			d.to = ServiceID(l.shift())
			d.now = mono.Time(rapid.Int64Range(1, int64(1000*time.Hour)).Draw(t, "now"))
			ago := time.Duration(rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "ago"))
			passed += ago
			if a := d.shard.adoption(&v, d.now, ago); a.Outcome != Adopted {
				t.Fatal(a.Err)
			}
		}
		end := d.saved(0, AnotherMachine)
		start.Elsewhere.DueIn -= passed
		var ages []Ago
		end.eachInstant(func(_ *mono.Time, ago *Ago) { ages = append(ages, *ago) })
		start.eachInstant(func(_ *mono.Time, ago *Ago) {
			if *ago >= 0 {
				*ago += Ago(passed)
			}
			if late := ages[0] - *ago; late > 0 && late <= 5 { // time 0 is reserved, so that times may be off by a nanosecond per machine
				*ago = ages[0]
			}
			ages = ages[1:]
		})
		ticked := end.Elsewhere.TSval - start.Elsewhere.TSval
		if past := uint32(passed / time.Millisecond); ticked < past || ticked > past+6 { // at most one tick ahead per machine
			t.Fatalf("timestamps advanced by %d ms in %v", ticked, passed)
		}
		end.Elsewhere.TSval, end.Elsewhere.TSns = start.Elsewhere.TSval, start.Elsewhere.TSns
		if a, b := portableView(start), portableView(end); a != b {
			t.Fatalf("was\n%+v\nis\n%+v", a, b)
		}
	})
}

// BenchmarkSaveFlow saves one of many connections for another machine.
func BenchmarkSaveFlow(b *testing.B) {
	d := newDriver(b, func(cfg *Config) { cfg.Names = namedConfig(false).Names })
	for n := range 100_000 {
		d.hold(n)
	}
	var v FlowState
	var record []byte
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		a, port := peer(n % 100_000)
		n++
		if !d.shard.SaveFlow(d.now, &tcpstate.Tuple{Client: a, ClientPort: port, Service: d.shard.cfg.Services[0].Addr, ServicePort: 25}, AnotherMachine, &v) {
			b.Fatal("the connection was not found")
		}
		record = AppendRecord(record[:0], &v)
	}
	b.ReportMetric(float64(len(record)), "B/record")
}

// BenchmarkAdopt reads records from another machine and adopts them, in random order of deadlines, into a shard that has 100,000
// connections.
func BenchmarkAdopt(b *testing.B) {
	d := newDriver(b, func(cfg *Config) { cfg.Names = namedConfig(false).Names })
	for n := range 100_000 {
		d.hold(n)
	}
	v := d.saved(0, AnotherMachine)
	record := AppendRecord(nil, &v)
	r, err := portableReader()
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Read(record, &v); err != nil {
			b.Fatal(err)
		}
		v.Client, v.ClientPort = peer(200_000 + n%50_000)
		v.Elsewhere.DueIn = time.Duration(n*7919%30_000) * time.Millisecond
		d.shard.Apply(Adopt{Flow: &v, Now: d.now})
		if n++; n%50_000 == 0 {
			b.StopTimer()
			for m := range 50_000 {
				a, port := peer(200_000 + m)
				if id := d.shard.lookupOut(a, port, 0); id != 0 {
					d.shard.forget(id, d.shard.flows.At(id))
				}
			}
			b.StartTimer()
		}
	}
	if got := d.shard.stats.Adoptions[Adopted]; got != uint64(n) {
		b.Fatalf("%d of %d were adopted", got, n)
	}
}

// TestAdoptAccepted: a client that a rule has accepted may talk early at another machine too, which has no such rule. No other client
// may because that machine accepts some.
func TestAdoptAccepted(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		named := func(change func(*Config)) *driver {
			return newDriverOf(t, v6, func(c *Config) {
				c.Names = namedConfig(v6).Names
				change(c)
			})
		}
		accepts := withPolicy(t, func(p *policy.Config) {
			p.Frontends[0].Access = []policy.Rule{{Name: "in", Do: policy.Outcome{Kind: policy.OutcomeAccept}}}
		})
		for _, c := range []struct {
			from, to func(*Config)
			accepted bool
		}{
			{accepts, func(*Config) {}, true},
			{accepts, accepts, true},
			{func(c *Config) { c.Frontends[0].Action = ActionObserve }, accepts, false},
		} {
			from, to := named(c.from), named(c.to)
			iss := from.hold(0)
			v := from.saved(0, AnotherMachine)
			w, err := elsewhere(&v)
			if err != nil {
				t.Fatal(err)
			}
			to.now = from.now
			if a := to.shard.adoption(&w, to.now, 0); a.Err != nil {
				t.Fatal(a.Err)
			}
			to.shard.Drain()
			to.fromClient(0, wire.PSH|wire.ACK, 1001, iss+1, "EHLO")
			told := to.shard.Drain().Events
			if tr := to.shard.treatment(to.shard.flows.At(1)); tr.Accepted != c.accepted || c.accepted && len(told) > 0 {
				t.Errorf("accepted: %v; treatment %+v, events %+v", c.accepted, tr, told)
			}
			to.shard.audit(t)
		}
	})
}
