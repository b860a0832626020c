package dataplane

import (
	"testing"
	"time"

	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// withOffenders is a policy under which two early talks make an offender, which is reset.
func withOffenders(t *testing.T, change func(*policy.Config)) func(*Config) {
	return withPolicy(t, func(c *policy.Config) {
		c.Offences = policy.Offences{After: 2, Within: time.Hour, For: 24 * time.Hour}
		c.Frontends[0].Offender = policy.Outcome{Kind: policy.OutcomeReject}
		if change != nil {
			change(c)
		}
	})
}

// talk has client n open a connection and talk early.
func (d *driver) talk(n int) {
	d.tb.Helper()
	iss := d.hold(n)
	d.fromClient(n, wire.PSH|wire.ACK, 1001, iss+1, "EHLO bot\r\n")
}

// network is the client that a driver's clients are, by the default prefix lengths.
func (d *driver) network() policy.Network {
	a, _ := d.peer(0)
	if a.Is4() {
		return policy.Network{Addr: a, Bits: 32}
	}
	clear(a[8:])
	return policy.Network{Addr: a, Bits: 64}
}

// TestOffenderEvent: the early talk that makes a client an offender is told of, and so is each further one.
func TestOffenderEvent(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, withOffenders(t, nil))
		d.talk(0)
		if e := d.eventsOf(EventOffender); len(e) != 0 {
			t.Fatalf("after one early talk: %+v", e)
		}
		waits := d.hold(1)
		d.shard.Drain()
		d.talk(2)
		e := d.eventsOf(EventOffender)
		if len(e) != 1 || e[0].Again || e[0].Offender != d.network() || e[0].Until.Sub(d.now) != 24*time.Hour || e[0].Closed != d.now {
			t.Fatalf("after two: %+v, want %v", e, d.network())
		}
		d.fromClient(1, wire.PSH|wire.ACK, 1001, waits+1, "EHLO bot\r\n") // its handshake was complete before
		if e := d.eventsOf(EventOffender); len(e) != 1 || !e[0].Again {
			t.Errorf("after three: %+v", e)
		}
		d.hold(3)
		if e := d.eventsOf(EventClosed); len(e) != 1 || e[0].Cause != CauseRefused || e[0].Rule != policy.RuleOffender {
			t.Errorf("an offender's connection: %+v", e)
		}
		if n := d.shard.stats.OffendersListed; n != 2 {
			t.Errorf("%d early talks were counted", n)
		}
		d.shard.audit(t)
	})
}

// TestAcceptedNeverOffends: the early talk of a client that a rule accepts is no offence.
func TestAcceptedNeverOffends(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, withOffenders(t, func(c *policy.Config) {
			c.Frontends[0].Access = []policy.Rule{{Name: "all", Do: policy.Outcome{Kind: policy.OutcomeAccept}}}
		}))
		for n := range 4 {
			d.talk(n)
		}
		if n := d.shard.stats.OffendersListed; n != 0 {
			t.Errorf("%d offences", n)
		}
		if e := d.eventsOf(EventOffender); len(e) != 0 || d.shard.memory.Listed(d.network().Addr, d.now) {
			t.Errorf("an offender: %+v", e)
		}
	})
}

// TestNoPassForOffender: who becomes an offender while another of its connections waits gets no pass by that one.
func TestNoPassForOffender(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, withOffenders(t, func(c *policy.Config) { c.Offences.After = 1 }))
		d.splice(0)
		if n := d.shard.stats.PassesGranted; n != 1 {
			t.Fatalf("%d passes without an offence", n)
		}
		d = newDriverOf(t, v6, withOffenders(t, nil))
		list := ListOffenders{Offenders: []policy.Offender{{Addr: d.network().Addr, Left: time.Hour}}, Now: d.now, Answer: func(int, bool) {}}
		d.hold(0)
		d.shard.Apply(list)
		d.spliceHeld(0)
		if n := d.shard.stats.PassesGranted; n != 0 {
			t.Errorf("%d passes were granted to an offender", n)
		}
	})
}

// TestListOffenders: a client with a pass is not put on the list of offenders, except by hand; then it loses the pass.
func TestListOffenders(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, withOffenders(t, nil))
		d.splice(0)
		who := d.network()
		list := func(byHand bool, left time.Duration) (kept bool) {
			d.shard.Apply(ListOffenders{[]policy.Offender{{Addr: who.Addr, Bits: who.Bits, Left: left}}, byHand, d.now, func(i int, pass bool) { kept = pass && i == 0 }})
			return kept
		}
		if !list(false, time.Hour) || d.shard.memory.Listed(who.Addr, d.now) {
			t.Error("a client with a pass is an offender")
		}
		if list(true, time.Hour) || !d.shard.memory.Listed(who.Addr, d.now) || d.shard.stats.PassesLost != 1 {
			t.Error("by hand a client with a pass is no offender")
		}
		if list(false, time.Minute) || !d.shard.memory.Listed(who.Addr, d.now.Add(2*time.Minute)) {
			t.Error("the time became shorter")
		}
		found := 0
		for range 2 {
			d.shard.Apply(UnlistOffender{who, func(f bool) {
				if f {
					found++
				}
			}})
		}
		if found != 1 || d.shard.memory.Listed(who.Addr, d.now) {
			t.Errorf("found %d times", found)
		}
	})
	d := newDriver(t, nil) // it has no policy
	d.shard.Apply(UnlistOffender{policy.Network{}, func(f bool) {
		if f {
			t.Error("found without a policy")
		}
	}})
	answers := 0
	d.shard.Apply(ListOffenders{make([]policy.Offender, 2), false, d.now, func(int, bool) { answers++ }})
	if answers != 2 {
		t.Errorf("%d answers without a policy", answers)
	}
}
