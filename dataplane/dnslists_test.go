package dataplane

import (
	"fmt"
	"testing"
	"time"

	"hushgate/internal/policy"
)

// withLists has DNS lists asked about the clients of the frontend.
func withLists(t *testing.T, number uint32, dns policy.DNS) func(*Config) {
	return func(c *Config) {
		withPolicy(t, func(p *policy.Config) { p.DNS, p.Frontends[0].DNS = dns, true })(c)
		c.Lists = number
	}
}

// dnsAnswer is the answer to a question: the lists of these numbers have the client.
func dnsAnswer(q *Event, dns *policy.DNS, sites ...int) DNSAnswer {
	var set, all policy.SiteSet
	for i := range dns.Sites {
		all.Add(i)
	}
	for _, i := range sites {
		set.Add(i)
	}
	return DNSAnswer{
		Client: q.Client, ClientPort: q.ClientPort, Service: q.Service, SYN: q.SYN, Opened: q.Established, Lists: q.Lists,
		Verdict: dns.Judge(set, all), Sites: set,
	}
}

// TestListsOfReload: a client that waits is treated by the lists that it was asked about, whatever a reload changes. The log
// names them as far as they are still there. The next client is treated by the new ones.
func TestListsOfReload(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		old, next := scriptLists, scriptLists
		old.Deny = policy.Outcome{Kind: policy.OutcomeReject, Text: "550 old {list}\r\n"}
		next.Deny = policy.Outcome{Kind: policy.OutcomeReject, Text: "550 new {list}\r\n"}
		next.Sites = []policy.Site{{Name: "other", Weight: 9}, {Name: "bl", Weight: 9}}
		d := newDriverOf(t, v6, withLists(t, 1, old))
		d.hold(0)
		first := d.only2(EventOpened, EventAsk)
		cfg := *d.shard.cfg
		cfg.Frontends = append([]Frontend(nil), cfg.Frontends...)
		withLists(t, 2, next)(&cfg)
		d.shard.Apply(Reload{&cfg})
		d.hold(1)
		second := d.only2(EventOpened, EventAsk)
		if first.Lists != 1 || second.Lists != 2 {
			t.Fatalf("asked for the lists of %d and %d", first.Lists, second.Lists)
		}
		for _, c := range []struct {
			answer DNSAnswer
			said   string
			sites  string
		}{
			{dnsAnswer(&first, &old, 0, 1), "550 old zen\r\n", "[bl]"},
			{dnsAnswer(&second, &next, 0, 1), "550 new other\r\n", "[other bl]"},
		} {
			d.shard.Apply(c.answer)
			out := d.shard.Drain()
			d.dec.Decode(out.Out[len(out.Out)-1].Frame)
			e := out.Events[len(out.Events)-1]
			names := fmt.Sprint(e.Listing.Sites.Names(d.shard.cfg.Policy.Sites()))
			if said := string(d.dec.Segment.Payload); said != c.said || names != c.sites || e.Cause != CauseListed || e.Rule != policy.RuleDNS {
				t.Errorf("the client is told %q, want %q; listed by %s, want %s; %+v", said, c.said, names, c.sites, e)
			}
		}
		d.shard.audit(t)
	})
}

// only2 returns the second of two events.
func (d *driver) only2(first, second EventKind) Event {
	d.tb.Helper()
	e := d.shard.Drain().Events
	if len(e) != 2 || e[0].Kind != first || e[1].Kind != second {
		d.tb.Fatalf("events %+v", e)
	}
	return e[1]
}

// TestListedIsRemembered: what lists said of a client stays with its connection, in a reload with other numbers of the lists and
// in another process, and is forgotten with it.
func TestListedIsRemembered(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, withLists(t, 1, policy.DNS{
			Sites: scriptLists.Sites, Threshold: 3, Deny: policy.Outcome{Kind: policy.OutcomeDelay, Delay: time.Minute},
		}))
		iss := d.hold(0)
		q := d.only2(EventOpened, EventAsk)
		dns := scriptLists
		d.shard.Apply(dnsAnswer(&q, &dns, 0, 1))
		d.shard.Drain()
		cfg := *d.shard.cfg
		cfg.Frontends = append([]Frontend(nil), cfg.Frontends...)
		other := policy.DNS{Sites: []policy.Site{{Name: "bl", Weight: 1}, {Name: "new", Weight: 1}}, Threshold: 1, Deny: policy.Outcome{Kind: policy.OutcomeTarpit}}
		withLists(t, 2, other)(&cfg)
		d.shard.Apply(Reload{&cfg})
		d.takeOver()
		d.shard.Apply(AskAgain{Most: 10, Answer: func(uint32) {}})
		if e := d.shard.Drain().Events; len(e) != 0 {
			t.Errorf("a client that is known to be listed is asked about again: %+v", e)
		}
		d.fromClient(0, 0x18, 1001, iss+1, "EHLO")
		e := d.only(EventClosed)
		if names := fmt.Sprint(e.Listing.Sites.Names(d.shard.cfg.Policy.Sites())); names != "[bl]" || e.Listing.Rank != 5 || e.Rule != policy.RuleDNS {
			t.Errorf("listed by %s with rank %d, rule %d", names, e.Listing.Rank, e.Rule)
		}
		for i := range d.shard.treatments.slots {
			if s := &d.shard.treatments.slots[i]; s.listing != (policy.Listing{}) && s.used() && !s.current {
				t.Errorf("a treatment is left: %+v", s)
			}
		}
	})
}

// TestAskAgain: a process that takes over asks once more about the clients that wait, a few at a time, and treats them as its
// own lists say. About those for whom nobody asked, nobody asks now.
func TestAskAgain(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		dns := scriptLists
		dns.Deny = policy.Outcome{Kind: policy.OutcomeReject, Text: "550 {list}\r\n"}
		const waiting = 10
		for _, asks := range []bool{true, false} {
			d := newDriverOf(t, v6, withLists(t, 1, dns))
			for n := range waiting {
				d.hold(n)
			}
			d.shard.Drain()
			d.rewriteState(func(*ShardState) {}, func(c *Config) {
				change := withLists(t, 7, dns)
				if !asks {
					change = withPolicy(t, nil)
				}
				change(c)
			})
			var again []Event
			rounds := 0
			for next := uint32(1); next != 0; rounds++ {
				d.shard.Apply(AskAgain{From: next, Most: 4, Answer: func(n uint32) { next = n }})
				batch := d.shard.Drain().Events
				if len(batch) > 4 {
					t.Fatalf("%d questions at once", len(batch))
				}
				again = append(again, batch...)
			}
			if !asks {
				if len(again) != 0 {
					t.Errorf("%d questions without lists", len(again))
				}
				continue
			}
			if len(again) != waiting || rounds != 3 {
				t.Fatalf("%d questions in %d rounds", len(again), rounds)
			}
			for i := range again {
				if again[i].Kind != EventAsk || again[i].Lists != 7 {
					t.Fatalf("%+v", again[i])
				}
				d.shard.Apply(dnsAnswer(&again[i], &dns, 0))
			}
			if n := d.shard.stats.DNSAnswers[AnswerListed]; n != waiting || d.shard.stats.Phase[PhaseSaying] != waiting {
				t.Errorf("%d clients were turned away, want %d", n, waiting)
			}
			d.shard.audit(t)
		}
	})
}

// TestManyListings: however many different sets of lists have clients, the shard tells them apart only up to a bound, and treats
// them as they say beyond it. With the connections all that is forgotten.
func TestManyListings(t *testing.T) {
	dns := policy.DNS{Threshold: 13, Deny: policy.Outcome{Kind: policy.OutcomeDelay, Delay: time.Minute}}
	for i := range 13 {
		dns.Sites = append(dns.Sites, policy.Site{Name: fmt.Sprint("list", i), Weight: 1})
	}
	d := newDriver(t, withLists(t, 1, dns))
	const sets = 1 << 13
	for set := range sets {
		d.fromClient(set, 0x02, 1000, 0, "")
		d.fromClient(set, 0x10, 1001, d.last().Seq+1, "")
		q := d.only2(EventOpened, EventAsk)
		var sites []int
		for i := range dns.Sites {
			if set>>i&1 != 0 {
				sites = append(sites, i)
			}
		}
		d.shard.Apply(dnsAnswer(&q, &dns, sites...))
	}
	d.shard.Drain()
	if n := len(d.shard.treatments.slots); n > maxListings+10 {
		t.Errorf("%d treatments", n)
	}
	if a := d.shard.stats.DNSAnswers; a[AnswerListed] != 1 || a[AnswerNeutral] != sets-1 {
		t.Errorf("answers %v", a)
	}
	d.shard.Apply(Shutdown{Now: true})
	for d.shard.Remaining() > 0 {
		d.now = d.now.Add(sweepPause)
		d.shard.Advance(d.now)
		d.shard.Drain()
	}
	for i := range d.shard.treatments.slots {
		if s := &d.shard.treatments.slots[i]; s.flows > 0 || s.listing != (policy.Listing{}) {
			t.Fatalf("a treatment is left: %+v", s)
		}
	}
}

// TestAskingAllocatesNothing: neither a question nor an answer that changes nothing allocates.
func TestAskingAllocatesNothing(t *testing.T) {
	d := newDriver(t, withLists(t, 1, scriptLists))
	n := 0
	for ; n < 2000; n++ { // tables and buffers grow
		d.hold(n)
		d.shard.Drain()
	}
	dns := scriptLists
	q := Event{}
	if a := testing.AllocsPerRun(1000, func() {
		d.hold(n)
		n++
		q = d.shard.Drain().Events[1]
		d.shard.Apply(dnsAnswer(&q, &dns))
	}); a > 1 { // the message itself, outside the shard
		t.Errorf("%v allocations", a)
	}
}
