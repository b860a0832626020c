package policy

import (
	"net/netip"
	"testing"
	"time"
)

// network returns a network, of IPv4 or IPv6.
func network(s string) Network {
	p := netip.MustParsePrefix(s)
	return Network{addr(p.Addr().String()), uint8(p.Bits())}
}

// TestFavours: what a rule lets in or has observed, in any frontend, is favoured; for a network that any of its addresses is, for an
// address what the first rule that holds says.
func TestFavours(t *testing.T) {
	const good, bad, table1 = 0, 1, 2
	answers := &networks{answers: []Answer{{Kind: Permit}, {Kind: Reject}, {Kind: Dunno}}}
	answers.add("198.51.100.0/28", 0)
	answers.add("198.51.100.16/28", 1)
	answers.add("198.51.100.32/28", 2)
	lists := []NamedList{
		{"good", plainList("192.0.2.1/32", "2001:db8:1::25/128", "203.0.113.0/24")},
		{"bad", plainList("203.0.113.128/25")},
		{"table", answers},
	}
	is := func(list int) Term { return Term{Any: []Test{{List: list}}} }
	accept, reject := Outcome{Kind: OutcomeAccept}, Outcome{Kind: OutcomeReject}
	in := func(o Outcome, terms ...Term) Rule { return Rule{When: Condition{terms}, Do: o} }
	signed := Term{Any: []Test{{Kind: TestSignature}}}
	not := func(list int) Term { return Term{Not: true, Any: []Test{{List: list}}} }
	for _, c := range []struct {
		name  string
		rules []Rule
		yes   []string
		no    []string
	}{
		{"no rule", nil, nil, []string{"192.0.2.1/32"}},
		{
			"accept",
			[]Rule{in(accept, is(good))},
			[]string{"192.0.2.1/32", "192.0.2.0/24", "2001:db8:1::25/128", "2001:db8:1::/64", "203.0.113.200/32"},
			[]string{"192.0.2.2/32", "192.0.3.0/24", "2001:db8:1::26/128", "2001:db8:1:1::/64"},
		},
		{
			"accept, unless",
			[]Rule{in(accept, is(good), not(bad))},
			[]string{"203.0.113.1/32", "203.0.113.0/24", "203.0.113.128/25"}, // it is not known that all of the last are bad
			[]string{"203.0.113.200/32"},
		},
		{"rejected before", []Rule{in(reject, is(bad)), in(accept, is(good))}, []string{"203.0.113.0/24"}, []string{"203.0.113.200/32"}},
		{"all", []Rule{{Do: accept}}, []string{"192.0.2.77/32", "2001:db8::/32"}, nil},
		{"rejected first", []Rule{{Do: reject}, {Do: accept}}, nil, []string{"192.0.2.77/32", "2001:db8::/32"}},
		{"dunno first", []Rule{{Do: Outcome{Kind: OutcomeDunno}}, {Do: accept}}, nil, []string{"192.0.2.77/32"}},
		{"by signature", []Rule{in(accept, signed)}, []string{"192.0.2.77/32", "2001:db8::/64"}, nil},
		{"by signature, of some", []Rule{in(accept, signed, is(good))}, []string{"192.0.2.1/32"}, []string{"192.0.2.77/32"}},
		{"maybe rejected", []Rule{in(reject, signed), {Do: accept}}, []string{"192.0.2.77/32"}, nil},
		{
			"observed",
			[]Rule{in(Outcome{Kind: OutcomeTalk, Talk: TalkObserve}, is(good)), in(Outcome{Kind: OutcomeTalk, Talk: TalkTarpit}, is(bad)), in(accept, is(bad))},
			[]string{"192.0.2.1/32"},
			[]string{"192.0.2.2/32"},
		},
		{
			"a table",
			[]Rule{{Do: Outcome{Kind: OutcomeByList, List: table1}}, in(reject, is(good)), in(accept, is(good))},
			[]string{"198.51.100.1/32", "198.51.100.0/24", "198.51.100.16/28"},
			[]string{"198.51.100.17/32", "198.51.100.33/32", "198.51.100.49/32", "198.51.101.0/24", "192.0.2.1/32"},
		},
	} {
		tab := table(t, &Config{Lists: lists, Frontends: []Frontend{{}, {Access: c.rules}}})
		for _, s := range c.yes {
			if !tab.Favours(network(s)) {
				t.Errorf("%s: %s is not favoured", c.name, s)
			}
		}
		for _, s := range c.no {
			if tab.Favours(network(s)) {
				t.Errorf("%s: %s is favoured", c.name, s)
			}
		}
	}
}

// TestObserversTreatNoOffenders: where early talk is observed alone, an offender is treated like others.
func TestObserversTreatNoOffenders(t *testing.T) {
	f := Frontend{Delay: time.Minute, Talk: TalkObserve, Offender: Outcome{Kind: OutcomeReject}}
	tab := table(t, &Config{Frontends: []Frontend{f}, Offences: Offences{After: 1, Within: time.Hour, For: time.Hour}})
	m := memory(tab)
	m.List(addr("192.0.2.1"), time.Hour, start)
	if d := tab.Treat(&Client{Addr: addr("192.0.2.1")}, m, Load{}, start); tab.Treatment(d.Treatment).Refusal != RefuseNone {
		t.Errorf("refused: %+v", tab.Treatment(d.Treatment))
	}
}

// TestListedByHand: a client is put on the list for longer or, by hand, for any time, and taken off.
func TestListedByHand(t *testing.T) {
	for _, b := range both {
		m := memory(table(t, &Config{
			PassTTL: time.Hour, Frontends: []Frontend{{}}, Offences: Offences{After: 3, Within: time.Hour, For: 24 * time.Hour},
		}))
		left := func() time.Duration {
			for o := range m.Offenders(start) {
				return o.Left
			}
			return 0
		}
		m.Prolong(addr(b.client), time.Hour, start)
		m.Prolong(addr(b.same), time.Minute, start)
		if l := left(); l != time.Hour || !m.Listed(addr(b.same), start) || m.Listed(addr(b.other), start) {
			t.Errorf("%s: listed for %v", b.name, l)
		}
		m.List(addr(b.same), time.Minute, start)
		if l := left(); l != time.Minute || m.Listed(addr(b.client), after(time.Minute)) {
			t.Errorf("%s: by hand for %v", b.name, l)
		}
		m.Passed(addr(b.client), start)
		p := Part{WithoutPasses: true}
		if m.SavePart(&p, 100, start) || len(p.Passes) > 0 || len(p.Offenders) != 1 {
			t.Errorf("%s: offenders alone: %+v", b.name, p)
		}
		if !m.HasPass(addr(b.same), start) || m.HasPass(addr(b.other), start) {
			t.Errorf("%s: the pass", b.name)
		}
		if !m.Unlist(addr(b.same)) || m.Unlist(addr(b.same)) || left() != 0 {
			t.Errorf("%s: taken off", b.name)
		}
	}
}
