package dataplane

import (
	"maps"
	"slices"
	"testing"
	"time"

	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// withPolicy returns a change of the configuration whose frontend is treated by a policy.
func withPolicy(t *testing.T, change func(*policy.Config)) func(*Config) {
	t.Helper()
	return func(c *Config) {
		p := &policy.Config{
			PassTTL: 24 * time.Hour,
			Frontends: []policy.Frontend{{
				Name: "ft", Delay: c.Frontends[0].Delay, Reject: "554 no\r\n", NoServer: "421 none\r\n",
			}},
		}
		if change != nil {
			change(p)
		}
		table, err := policy.NewTable(p)
		if err != nil {
			t.Fatal(err)
		}
		c.Policy, c.Frontends[0].Policy, c.Frontends[0].Live = table, 1, true
	}
}

// phaseOf returns the phase of client n's connection.
func (d *driver) phaseOf(n int) Phase {
	d.tb.Helper()
	a, port := d.peer(n)
	p, _, there := d.shard.Peek(a, port, 0)
	if !there {
		d.tb.Fatalf("client %d has no connection", n)
	}
	return p
}

// eventsOf returns the events of a kind since the last Drain.
func (d *driver) eventsOf(kind EventKind) (list []Event) {
	for _, e := range d.shard.Drain().Events {
		if e.Kind == kind {
			list = append(list, e)
		}
	}
	return list
}

// TestLook: what was decided about a client can be looked at from the end of its handshake on.
func TestLook(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, withPolicy(t, func(c *policy.Config) {
			c.Frontends[0].Access = []policy.Rule{{Name: "all", Do: policy.Outcome{Kind: policy.OutcomeDelay, Delay: 77 * time.Second}}}
		}))
		a, port := d.peer(0)
		if _, ok := d.shard.Treatment(a, port, 0); ok {
			t.Error("a client that is not there has a treatment")
		}
		d.fromClient(0, wire.SYN, 1000, 0, "")
		if _, ok := d.shard.Treatment(a, port, 0); ok {
			t.Error("a client has a treatment before its handshake is complete")
		}
		d.hold(1)
		a, port = d.peer(1)
		if tr, ok := d.shard.Treatment(a, port, 0); !ok || tr.Delay != 77*time.Second {
			t.Errorf("%+v, %v", tr, ok)
		}
	})
}

// TestPass: who waited once and was greeted waits no more; who talks early loses its pass; another process and another
// configuration keep passes.
func TestPass(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, withPolicy(t, nil))
		d.splice(0)
		if n := d.shard.stats.PassesGranted; n != 1 {
			t.Fatalf("%d passes were granted", n)
		}
		second := d.hold(1) // the same address, another port
		if p := d.phaseOf(1); p != PhaseConnecting {
			t.Errorf("a client with a pass is %v", p)
		}
		cfg := *d.shard.cfg
		d.shard.Apply(Reload{&cfg})
		d.hold(2)
		if p := d.phaseOf(2); p != PhaseConnecting {
			t.Errorf("after a reload a client with a pass is %v", p)
		}
		d.shard.Drain()
		d.fromClient(1, wire.PSH|wire.ACK, 1001, second+1, "EHLO")
		if e := d.eventsOf(EventClosed); len(e) != 1 || e[0].Verdict != VerdictEarlyTalker || e[0].Pass != policy.PassOld {
			t.Errorf("a client with a pass that talks early: %+v", e)
		}
		if n := d.shard.stats.PassesLost; n != 1 {
			t.Errorf("%d passes were lost", n)
		}
		d.hold(3)
		if p := d.phaseOf(3); p != PhaseHeld {
			t.Errorf("a client that has lost its pass is %v", p)
		}
		d.shard.audit(t)
	})
}

// TestLimit: a client over its limit gets the reply, and is let in again when one of its connections has ended. Another process
// goes on counting.
func TestLimit(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, withPolicy(t, func(c *policy.Config) {
			c.Frontends[0].Limits = policy.Limits{Connections: 2, Over: policy.Outcome{Kind: policy.OutcomeReject, Text: "421 4.7.0 {client}\r\n"}}
		}))
		first := d.hold(0)
		d.hold(1)
		d.shard.Drain()
		for n := 2; n < 5; n++ {
			d.hold(n)
			a, _ := d.peer(n)
			out := d.shard.Drain()
			d.dec.Decode(out.Out[len(out.Out)-1].Frame)
			if got, want := string(d.dec.Segment.Payload), "421 4.7.0 "+a.Netip().String()+"\r\n"; got != want {
				t.Errorf("connection %d is told %q, want %q", n, got, want)
			}
			e := out.Events[len(out.Events)-1]
			if e.Verdict != VerdictRefused || e.Cause != CauseRefused || e.Rule != policy.RuleConnections || e.BytesToClient == 0 {
				t.Errorf("connection %d: %+v", n, e)
			}
		}
		d.takeOver()
		d.hold(5)
		if p := d.phaseOf(5); p != PhaseSaying {
			t.Errorf("after a takeover a client over its limit is %v", p)
		}
		d.fromClient(0, wire.RST|wire.ACK, 1001, first+1, "")
		d.hold(6)
		if p := d.phaseOf(6); p != PhaseHeld {
			t.Errorf("after one of its connections has ended, a client is %v", p)
		}
		d.shard.audit(t)
	})
}

// TestRefusals: what each refusal sends, and what is left of the connection.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		do    policy.Outcome
		flags wire.Flags // of what is sent; 0 for nothing
		phase Phase      // phases: it is forgotten
	}{
		{policy.Outcome{Kind: policy.OutcomeReject}, wire.RST | wire.ACK, phases},
		{policy.Outcome{Kind: policy.OutcomeReject, Text: "554 5.7.1 no\r\n"}, wire.PSH | wire.ACK | wire.FIN, PhaseSaying},
		{policy.Outcome{Kind: policy.OutcomeSilentDrop}, 0, PhaseDropped},
		{policy.Outcome{Kind: policy.OutcomeTarpit}, wire.ACK, PhaseTarpit},
	} {
		eachFamily(t, func(t *testing.T, v6 bool) {
			d := newDriverOf(t, v6, withPolicy(t, func(p *policy.Config) {
				p.Frontends[0].Access = []policy.Rule{{Name: "bad", Where: "x:1", Do: c.do}}
			}))
			d.fromClient(0, wire.SYN, 1000, 0, "")
			iss := d.last().Seq
			d.shard.Drain()
			d.fromClient(0, wire.PSH|wire.ACK, 1001, iss+1, "EHLO") // also if it talks at once
			out := d.shard.Drain()
			var flags wire.Flags
			for _, o := range out.Out {
				d.dec.Decode(o.Frame)
				flags |= d.dec.Segment.Flags
			}
			if flags != c.flags {
				t.Errorf("%v: it gets %v, want %v", c.do.Kind, flags, c.flags)
			}
			e := out.Events[len(out.Events)-1]
			if e.Verdict != VerdictRefused || d.shard.cfg.Policy.Rules()[e.Rule].Name != "bad" {
				t.Errorf("%v: %+v", c.do.Kind, e)
			}
			a, port := d.peer(0)
			phase, _, there := d.shard.Peek(a, port, 0)
			if there != (c.phase != phases) || there && phase != c.phase {
				t.Errorf("%v: the connection is %v, there: %v", c.do.Kind, phase, there)
			}
			d.shard.audit(t)
		})
	}
}

// TestStress: the delay falls while the table is nearly full, and both changes are told once.
func TestStress(t *testing.T) {
	d := newDriver(t, func(c *Config) {
		c.Limits.Flows = 100
		withPolicy(t, func(p *policy.Config) { p.Frontends[0].Stress, p.Frontends[0].StressDelay = true, time.Second })(c)
	})
	isses := map[int]wire.Seq{}
	var e []Event
	for n := range 95 {
		isses[n] = d.hold(n)
		e = append(e, d.eventsOf(EventStress)...)
	}
	if len(e) != 1 || !e[0].Stress || e[0].Active != 90 {
		t.Fatalf("stress begins: %+v", e)
	}
	d.now = d.now.Add(time.Second)
	d.shard.Advance(d.now)
	if n := d.shard.stats.Phase[PhaseConnecting]; n != 6 {
		t.Errorf("%d clients had the shorter delay, want the 6 that came in stress", n)
	}
	d.shard.Drain()
	for n := range 40 {
		d.fromClient(n, wire.RST|wire.ACK, 1001, isses[n]+1, "")
	}
	if e := d.eventsOf(EventStress); len(e) != 1 || e[0].Stress || e[0].Active != 70 || d.shard.Stats().StressBegun != 1 {
		t.Errorf("stress ends: %+v", e)
	}
	d.shard.audit(t)
}

// TestSignature: the signature of the SYN is told with the verdict, and forgotten with the connection.
func TestSignature(t *testing.T) {
	d := newDriver(t, func(c *Config) {
		withPolicy(t, nil)(c)
		c.Frontends[0].Signatures = true
	})
	iss := d.hold(0)
	d.shard.Drain()
	d.takeOver()
	d.fromClient(0, wire.PSH|wire.ACK, 1001, iss+1, "EHLO")
	e := d.eventsOf(EventClosed)
	if len(e) != 1 || !e[0].Signature.Known() {
		t.Fatalf("%+v", e)
	}
	if n := d.shard.memory.Signatures().Len(); n != 0 {
		t.Errorf("%d signatures are left", n)
	}
}

// TestMemoryIsSaved: what a shard knows of its clients is saved in parts and given to another shard, where the same client is
// served at once. Its age counts on. What is saved changes when a pass is granted or lost, and else not.
func TestMemoryIsSaved(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, withPolicy(t, nil))
		if n := d.shard.MemoryChanges(); n != 0 {
			t.Errorf("%d changes at the start", n)
		}
		d.splice(0)
		changes := d.shard.MemoryChanges()
		if changes == 0 {
			t.Error("a pass was granted, and nothing has changed")
		}
		part, more, rounds := policy.Part{}, true, 0
		for ; more; rounds++ {
			d.shard.Apply(SaveMemory{&part, 1, d.now.Add(time.Hour), func(m bool) { more = m }})
		}
		if rounds != 1 || len(part.Passes) != 1 || part.Passes[0].Age < time.Hour || d.shard.MemoryChanges() != changes {
			t.Fatalf("after %d parts: %+v, %d changes, want %d", rounds, part, d.shard.MemoryChanges(), changes)
		}

		next := newDriverOf(t, v6, withPolicy(t, nil))
		passes, offenders := -1, -1
		next.shard.Apply(RestoreMemory{
			slices.Values(part.Passes), slices.Values(part.Offenders), next.now,
			func(p, o int) { passes, offenders = p, o },
		})
		if passes != 1 || offenders != 0 {
			t.Errorf("%d passes and %d offenders were taken", passes, offenders)
		}
		next.hold(1)
		if p := next.phaseOf(1); p != PhaseConnecting {
			t.Errorf("after a restart a client with a pass is %v", p)
		}
		next.shard.audit(t)

		part.Passes[0].Age = 24 * time.Hour
		late := newDriverOf(t, v6, withPolicy(t, nil))
		late.shard.Apply(RestoreMemory{slices.Values(part.Passes), slices.Values(part.Offenders), late.now, func(p, _ int) { passes = p }})
		late.hold(1)
		if p := late.phaseOf(1); passes != 0 || p != PhaseHeld {
			t.Errorf("a client whose pass has ended is %v, %d were taken", p, passes)
		}
	})
	d := newDriver(t, nil) // it has no policy
	d.shard.Apply(SaveMemory{&policy.Part{}, 1, d.now, func(more bool) {
		if more {
			t.Error("there is more of nothing")
		}
	}})
	d.shard.Apply(RestoreMemory{slices.Values([]policy.Pass{{}}), slices.Values([]policy.Offender{}), d.now, func(p, _ int) {
		if p != 0 {
			t.Error("a shard without a policy took a pass")
		}
	}})
}

// anybody is a list that everybody is in.
type anybody struct{}

func (anybody) Answers() []policy.Answer       { return []policy.Answer{{}} }
func (anybody) Overlaps(wire.Addr, uint8) bool { return true }

func (anybody) Lookup(wire.Addr) (int, bool) { return 0, true }

// TestPolicyCounts: matches of rules and lists are counted on after a takeover and a reload; so is what the bounds of the memory
// cost.
func TestPolicyCounts(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, func(c *Config) {
			withPolicy(t, func(p *policy.Config) {
				p.Lists = []policy.NamedList{{Name: "all", List: anybody{}}}
				p.Frontends[0].Limits = policy.Limits{Connections: 1, Over: policy.Outcome{Kind: policy.OutcomeReject}}
				p.Frontends[0].Access = []policy.Rule{{
					Name: "wait", Where: "f:1", When: policy.Condition{{{Any: []policy.Test{{Kind: policy.TestList}}}}},
					Do: policy.Outcome{Kind: policy.OutcomeDelay, Delay: time.Second},
				}}
			})(c)
			c.Bounds.Passes = 1
		})
		d.shard.memory.Passed(wire.Addr{1}, d.now)
		d.shard.memory.Passed(wire.Addr{2}, d.now)
		d.hold(0)
		d.takeOver()
		d.hold(1)
		cfg := *d.shard.cfg
		d.shard.Apply(Reload{&cfg})
		d.hold(2)
		got := map[string]uint64{}
		counts := d.shard.PolicyCounts()
		for n := range EachCount(&counts) {
			if n.Value > 0 {
				got[n.Name+" "+n.Labels[0].Value] = n.Value
			}
		}
		want := map[string]uint64{"rule_matches ft: wait (f:1)": 3, "rule_matches too many connections": 2, "list_matches all": 3}
		if !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		if s := d.shard.Stats(); s.PassesEvicted != 1 || s.Clients != 1 {
			t.Errorf("%d passes evicted, %d clients", s.PassesEvicted, s.Clients)
		}
	})
}

// TestAccepted: a client that a rule accepts may talk before the banner: the server gets what it says, nobody is told of early
// talk, and it costs no pass. So it is after a takeover, too.
func TestAccepted(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		for _, takenOver := range []bool{false, true} {
			d := newDriverOf(t, v6, withPolicy(t, func(p *policy.Config) {
				p.Offences = policy.Offences{After: 1, Within: time.Hour, For: time.Hour}
				p.Frontends[0].Offender = policy.Outcome{Kind: policy.OutcomeReject}
				p.Frontends[0].Access = []policy.Rule{{Name: "in", Do: policy.Outcome{Kind: policy.OutcomeAccept}}}
			}))
			a, _ := d.peer(0)
			d.shard.memory.Passed(a, d.now)
			iss := d.hold(0)
			if e := d.only(EventOpened); !e.Accepted {
				t.Errorf("%+v", e)
			}
			if takenOver {
				d.takeOver()
			}
			d.fromClient(0, wire.PSH|wire.ACK, 1001, iss+1, "EHLO")
			if p := d.phaseOf(0); p != PhaseConnecting {
				t.Fatalf("an accepted client that talks is %v", p)
			}
			d.fromClient(0, wire.RST, 1001, 0, "")
			e := d.only(EventClosed)
			if !e.Accepted || e.Observed || e.Verdict != VerdictHangup || e.TalkLen != 0 {
				t.Errorf("taken over: %v; %+v", takenOver, e)
			}
			if s := d.shard.Stats(); s.PassesLost != 0 || s.Offenders != 0 {
				t.Errorf("%d passes lost, %d offenders", s.PassesLost, s.Offenders)
			}
			d.shard.audit(t)
		}
	})
}
