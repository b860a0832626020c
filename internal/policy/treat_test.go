package policy

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	trusted = iota // indexes of testConfig's lists
	bad
	postfix
)

// testConfig has every step; what each test needs is added to it.
func testConfig() *Config {
	mixed := &networks{answers: []Answer{{Kind: Permit}, {Kind: Reject, Reject: "554 5.7.1 no\r\n"}, {Kind: Reject}, {Kind: Dunno}, {}}}
	for i, p := range []string{"198.51.100.0/28", "198.51.100.16/28", "198.51.100.32/28", "198.51.100.48/28", "198.51.100.64/28"} {
		mixed.add(p, i)
	}
	return &Config{
		Lists: []NamedList{
			{"trusted", plainList("192.0.2.10/32", "2001:db8:10::/48")},
			{"bad", plainList("192.0.2.20/32", "2001:db8:20::/48")},
			{"postfix", mixed},
		},
		Frontends: []Frontend{{
			Name: "mx", Delay: 30 * time.Second, Reject: "554 wait\r\n", NoServer: "421 none\r\n", Teaser: "220-mx\r\n",
			PassDelay: time.Second, Stress: true, StressDelay: 2 * time.Second,
		}},
		PassTTL:  time.Hour,
		Offences: Offences{After: 3, Within: time.Hour, For: 24 * time.Hour},
		DNS:      DNS{Sites: []Site{{"zen.example", 3}, {"wl.example", -2}}, Threshold: 3, AllowThreshold: -2, Deny: Outcome{Kind: OutcomeReject, Text: "550 {client} is in {list}\r\n"}},
	}
}

func inList(list int) Term { return Term{Any: []Test{{Kind: TestList, List: list}}} }

func notIn(list int) Term { return Term{Not: true, Any: []Test{{Kind: TestList, List: list}}} }

func when(terms ...Term) Condition { return Condition{terms} }

// TestTreat walks through the steps of the decision, for one rule at a time.
func TestTreat(t *testing.T) {
	let := Treatment{Accepted: true, Talk: TalkObserve}
	for _, c := range []struct {
		name    string
		change  func(*Frontend)
		client  string
		load    Load
		want    Treatment // texts are left out
		decided string
	}{
		{"nothing is configured", func(*Frontend) {}, "192.0.2.1", Load{}, Treatment{Delay: 30 * time.Second, Pass: PassNew}, "delay"},
		{"stress", func(*Frontend) {}, "192.0.2.1", Load{Stress: true}, Treatment{Delay: 2 * time.Second, Pass: PassNew}, "delay"},
		{"a short delay stays in stress", func(f *Frontend) { f.Delay = time.Second }, "192.0.2.1", Load{Stress: true}, Treatment{Delay: time.Second, Pass: PassNew}, "delay"},
		{"no stress delay", func(f *Frontend) { f.Stress = false }, "192.0.2.1", Load{Stress: true}, Treatment{Delay: 30 * time.Second, Pass: PassNew}, "delay"},
		{"who does not wait gets no pass", func(f *Frontend) { f.Delay = 0 }, "192.0.2.1", Load{}, Treatment{}, "delay"},
		{"nor who does not wait in stress", func(f *Frontend) { f.StressDelay = 0 }, "192.0.2.1", Load{Stress: true}, Treatment{}, "delay"},
		{"pass: never", func(f *Frontend) { f.Pass = PassNever }, "192.0.2.1", Load{}, Treatment{Delay: 30 * time.Second}, "delay"},
		{"veto", func(f *Frontend) { f.Veto = true }, "192.0.2.1", Load{}, Treatment{Delay: 30 * time.Second, Pass: PassVetoed}, "veto"},
		{"accept", access(OutcomeAccept, inList(trusted)), "192.0.2.10", Load{}, let, "r (f:1)"},
		{"accept, IPv6", access(OutcomeAccept, inList(trusted)), "2001:db8:10::1", Load{}, let, "r (f:1)"},
		{"accept, another client", access(OutcomeAccept, inList(trusted)), "192.0.2.11", Load{}, Treatment{Delay: 30 * time.Second, Pass: PassNew}, "delay"},
		{"unless", access(OutcomeReject, notIn(trusted)), "192.0.2.11", Load{}, Treatment{Refusal: RefuseReset}, "r (f:1)"},
		{"unless, another client", access(OutcomeReject, notIn(trusted)), "192.0.2.10", Load{}, Treatment{Delay: 30 * time.Second, Pass: PassNew}, "delay"},
		{"and", access(OutcomeReject, notIn(trusted), inList(bad)), "192.0.2.20", Load{}, Treatment{Refusal: RefuseReset}, "r (f:1)"},
		{"reject", access(OutcomeReject, inList(bad)), "2001:db8:20::1", Load{Stress: true}, Treatment{Refusal: RefuseReset}, "r (f:1)"},
		{"silent-drop", access(OutcomeSilentDrop), "192.0.2.1", Load{}, Treatment{Refusal: RefuseSilentDrop}, "r (f:1)"},
		{"tarpit", access(OutcomeTarpit), "192.0.2.1", Load{}, Treatment{Refusal: RefuseTarpit}, "r (f:1)"},
		{"dunno", access(OutcomeDunno), "192.0.2.1", Load{}, Treatment{Delay: 30 * time.Second, Pass: PassNew}, "delay"},
		{"delay", func(f *Frontend) {
			f.Access = []Rule{{Name: "r", Where: "f:1", Do: Outcome{Kind: OutcomeDelay, Delay: time.Minute}}}
		}, "192.0.2.1", Load{}, Treatment{Delay: time.Minute, Pass: PassNew}, "r (f:1)"},
		{"delay, in stress", func(f *Frontend) {
			f.Access = []Rule{{Name: "r", Where: "f:1", Do: Outcome{Kind: OutcomeDelay, Delay: time.Minute}}}
		}, "192.0.2.1", Load{Stress: true}, Treatment{Delay: 2 * time.Second, Pass: PassNew}, "r (f:1)"},
		{"talk", func(f *Frontend) {
			f.Access = []Rule{{Name: "r", Where: "f:1", Do: Outcome{Kind: OutcomeTalk, Talk: TalkObserve}}}
		}, "192.0.2.1", Load{}, Treatment{Delay: 30 * time.Second, Talk: TalkObserve, Pass: PassNew}, "r (f:1)"},
		{"list: permit", access(OutcomeByList), "198.51.100.1", Load{}, let, "r (f:1)"},
		{"list: reject with its text", access(OutcomeByList), "198.51.100.17", Load{}, Treatment{Refusal: RefuseReply, Refuse: "554 5.7.1 no\r\n"}, "r (f:1)"},
		{"list: reject", access(OutcomeByList), "198.51.100.33", Load{}, Treatment{Refusal: RefuseReset}, "r (f:1)"},
		{"list: dunno", access(OutcomeByList), "198.51.100.49", Load{}, Treatment{Delay: 30 * time.Second, Pass: PassNew}, "delay"},
		{"list: listed", access(OutcomeByList), "198.51.100.65", Load{}, let, "r (f:1)"},
		{"list: not in it", access(OutcomeByList), "192.0.2.1", Load{}, Treatment{Delay: 30 * time.Second, Pass: PassNew}, "delay"},
		{"admission: accept is no end", func(f *Frontend) {
			f.Admission = []Rule{{Name: "a", Where: "f:1", Do: Outcome{Kind: OutcomeAccept}}, {Name: "b", Where: "f:2", Do: Outcome{Kind: OutcomeReject}}}
			f.Access = []Rule{{Name: "c", Where: "f:3", Do: Outcome{Kind: OutcomeTarpit}}}
		}, "192.0.2.1", Load{}, Treatment{Refusal: RefuseTarpit}, "c (f:3)"},
		{"admission: reject", func(f *Frontend) {
			f.Admission = []Rule{{Name: "b", Where: "f:2", Do: Outcome{Kind: OutcomeReject}}}
			access(OutcomeAccept)(f)
		}, "192.0.2.1", Load{}, Treatment{Refusal: RefuseReset}, "b (f:2)"},
		{"the first rule that matches", func(f *Frontend) {
			f.Access = []Rule{
				{Name: "a", Where: "f:1", When: when(inList(bad)), Do: Outcome{Kind: OutcomeReject}},
				{Name: "b", Where: "f:2", When: Condition{{inList(trusted)}, {notIn(bad)}}, Do: Outcome{Kind: OutcomeTarpit}},
				{Name: "c", Where: "f:3", Do: Outcome{Kind: OutcomeAccept}},
			}
		}, "192.0.2.1", Load{}, Treatment{Refusal: RefuseTarpit}, "b (f:2)"},
		{"DNS lists", func(f *Frontend) { f.DNS = true }, "192.0.2.1", Load{}, Treatment{Delay: 30 * time.Second, Pass: PassNew, Ask: true}, "delay"},
		{"no time for DNS lists", func(f *Frontend) { f.DNS, f.Delay = true, 0 }, "192.0.2.1", Load{}, Treatment{}, "delay"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := testConfig()
			c.change(&config.Frontends[0])
			tab := table(t, config)
			client := &Client{Addr: addr(c.client)}
			m := memory(tab)
			explained := tab.Explain(client, m, c.load, start)
			d := tab.Treat(client, m, c.load, start)
			got := *tab.Treatment(d.Treatment)
			teaser := Text("")
			if got.Delay > 0 && got.Pass != PassOld { // who does not wait, or has a pass, is not tested
				teaser = "220-mx\r\n"
			}
			if got.Refusal == RefuseNone && (got.Reject != "554 wait\r\n" || got.NoServer != "421 none\r\n" || got.Teaser != teaser) {
				t.Errorf("its texts are %q, %q, %q", got.Reject, got.NoServer, got.Teaser)
			}
			got.Reject, got.NoServer, got.Teaser = "", "", ""
			if got != c.want || tab.Rules()[d.Rule].String() != c.decided {
				t.Errorf("%+v by %v\nwant %+v by %s", got, tab.Rules()[d.Rule], c.want, c.decided)
			}
			if d != explained {
				t.Errorf("explained as %+v, treated as %+v", explained, d)
			}
			if d.Pass != got.Pass || d.Ask != got.Ask || m.Decided()[d.Rule] != 1 {
				t.Errorf("%+v, decided %d times", d, m.Decided()[d.Rule])
			}
		})
	}
}

// access gives a frontend one rule.
func access(do OutcomeKind, terms ...Term) func(*Frontend) {
	return func(f *Frontend) {
		r := Rule{Name: "r", Where: "f:1", Do: Outcome{Kind: do, List: postfix}}
		if len(terms) > 0 {
			r.When = when(terms...)
		}
		f.Access = []Rule{r}
	}
}

// TestSigned: a signature is a condition, also as a pattern, and an unknown one is none.
func TestSigned(t *testing.T) {
	linux, err := ParseSignature("64240_2-4-8-1-3_1460_7")
	if err != nil {
		t.Fatal(err)
	}
	for pattern, matches := range map[string]bool{"64240_2-4-8-1-3_1460_7": true, "*_*_*_7": true, "*_*_*_*": true, "1024_*_*_*": false} {
		p, err := ParsePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		config := testConfig()
		access(OutcomeReject, Term{Any: []Test{{Kind: TestSignature, Signature: p}}})(&config.Frontends[0])
		tab := table(t, config)
		m := memory(tab)
		for id, want := range map[SignatureID]bool{m.Signatures().Hold(&linux): matches, 0: false} {
			d := tab.Treat(&Client{Addr: addr("192.0.2.1"), Signature: id}, m, Load{}, start)
			if got := tab.Treatment(d.Treatment).Refusal == RefuseReset; got != want {
				t.Errorf("%s matches %v: %v, want %v", pattern, m.Signatures().At(id), got, want)
			}
		}
	}
}

// TestLimits: the connection that is one too many is refused, is not counted, and gets in when another ends.
func TestLimits(t *testing.T) {
	for _, f := range both {
		t.Run(f.name, func(t *testing.T) {
			config := testConfig()
			config.Frontends[0].Limits = Limits{Connections: 2, Over: Outcome{Kind: OutcomeReject, Text: "421 4.7.0 {client}\r\n"}}
			access(OutcomeAccept, inList(trusted))(&config.Frontends[0])
			tab := table(t, config)
			m := memory(tab)
			visit := func(a string) Treatment {
				return *tab.Treatment(tab.Treat(&Client{Addr: addr(a)}, m, Load{}, start).Treatment)
			}
			for range 2 {
				if got := visit(f.client); got.Refusal != RefuseNone || !got.Counted {
					t.Fatalf("refused below the limit: %+v", got)
				}
			}
			for range 3 {
				got := visit(f.same)
				text := string(got.Refuse.Append(nil, addr(f.same)))
				if got.Refusal != RefuseReply || got.Counted || text != "421 4.7.0 "+f.same+"\r\n" || got.Refuse.Len(addr(f.same)) != len(text) {
					t.Fatalf("over the limit: %+v, %q", got, text)
				}
			}
			if got := visit(f.other); got.Refusal != RefuseNone {
				t.Errorf("another client: %+v", got)
			}
			m.Closed(addr(f.client))
			if got := visit(f.same); got.Refusal != RefuseNone {
				t.Errorf("after one of its connections ended: %+v", got)
			}
			for range 4 {
				if got := visit("192.0.2.10"); got.Refusal != RefuseNone || !got.Counted {
					t.Errorf("who is accepted has no limit: %+v", got)
				}
			}
		})
	}
}

// TestRateLimit: HAProxy's estimate, as a limit and as a condition.
func TestRateLimit(t *testing.T) {
	config := testConfig()
	config.Window = 10 * time.Second
	config.Frontends[0].Limits = Limits{Rate: 4, Over: Outcome{Kind: OutcomeSilentDrop}}
	config.Frontends = append(config.Frontends, Frontend{Name: "haproxy", Admission: []Rule{{
		Name: "rate", When: when(Term{Any: []Test{{Kind: TestRate, Compare: GT, Number: 4}}}), Do: Outcome{Kind: OutcomeReject},
	}}})
	for i, want := range []Refusal{RefuseSilentDrop, RefuseReset} {
		tab := table(t, config)
		m := memory(tab)
		client := &Client{Addr: addr("2001:db8::1"), Frontend: uint16(i)}
		at := start.Add(time.Duration(m.windowAt(start).rest) * time.Millisecond) // a window begins
		visit := func() (Refusal, uint32) {
			d := tab.Treat(client, m, Load{}, at)
			if tab.Treatment(d.Treatment).Counted {
				m.Closed(client.Addr)
			}
			return tab.Treatment(d.Treatment).Refusal, d.Rate
		}
		for n := range uint32(4) {
			if got, rate := visit(); got != RefuseNone || rate != n+1 {
				t.Fatalf("connection %d: %v at a rate of %d", n+1, got, rate)
			}
		}
		if got, rate := visit(); got != want || rate != 5 {
			t.Errorf("the fifth: %v at a rate of %d", got, rate)
		}
		at = at.Add(14 * time.Second) // six tenths of the window before still count: 3
		if got, rate := visit(); got != RefuseNone || rate != 4 {
			t.Errorf("in the next window: %v at a rate of %d", got, rate)
		}
		at = at.Add(20 * time.Second)
		if got, rate := visit(); got != RefuseNone || rate != 1 {
			t.Errorf("two windows later: %v at a rate of %d", got, rate)
		}
	}
}

// TestPass: who has waited is known, until it talks early or its time is over; a backup MX grants none.
func TestPass(t *testing.T) {
	for _, f := range both {
		t.Run(f.name, func(t *testing.T) {
			config := testConfig()
			config.Frontends = append(config.Frontends, config.Frontends[0], config.Frontends[0])
			config.Frontends[1].Pass, config.Frontends[2].Veto = PassNever, true
			tab := table(t, config)
			m := memory(tab)
			expect := func(a string, frontend uint16, at time.Duration, want PassState, delay time.Duration) {
				t.Helper()
				d := tab.Treat(&Client{Addr: addr(a), Frontend: frontend}, m, Load{}, after(at))
				if d.Pass != want || tab.Treatment(d.Treatment).Delay != delay {
					t.Errorf("pass %v, delay %v: want %v, %v", d.Pass, tab.Treatment(d.Treatment).Delay, want, delay)
				}
			}
			long, short := 30*time.Second, time.Second
			expect(f.client, 2, 0, PassVetoed, long)
			expect(f.client, 0, 0, PassNew, long)
			if !m.Passed(addr(f.client), start) || m.Passed(addr(f.same), after(time.Minute)) {
				t.Error("the first connection grants the pass, and no other")
			}
			expect(f.same, 0, time.Minute, PassOld, short)
			expect(f.other, 0, time.Minute, PassNew, long)
			expect(f.same, 1, time.Minute, PassUnused, long)
			expect(f.same, 2, time.Minute, PassOld, short)
			expect(f.same, 0, time.Hour-time.Second, PassOld, short)
			expect(f.same, 0, time.Hour, PassNew, long)
			m.Passed(addr(f.client), after(time.Hour))
			expect(f.same, 0, time.Hour+time.Second, PassOld, short)
			if o := m.Talked(addr(f.same), after(time.Hour+time.Second)); !o.PassLost || o.Listed {
				t.Errorf("talked: %+v", o)
			}
			expect(f.client, 0, time.Hour+time.Second, PassNew, long)
		})
	}
}

// TestOffender: what the third offence leads to, for each outcome; passes and access rules come first.
func TestOffender(t *testing.T) {
	for _, c := range []struct {
		do   Outcome
		want Treatment
	}{
		{Outcome{Kind: OutcomeDelay, Delay: time.Minute}, Treatment{Delay: time.Minute, Pass: PassNew}},
		{Outcome{Kind: OutcomeDelay, Delay: time.Second}, Treatment{Delay: 30 * time.Second, Pass: PassNew}},
		{Outcome{Kind: OutcomeTarpit}, Treatment{Refusal: RefuseTarpit}},
		{Outcome{Kind: OutcomeReject}, Treatment{Refusal: RefuseReset}},
		{Outcome{Kind: OutcomeReject, Text: "550 no\r\n"}, Treatment{Refusal: RefuseReply, Refuse: "550 no\r\n"}},
		{Outcome{Kind: OutcomeSilentDrop}, Treatment{Refusal: RefuseSilentDrop}},
	} {
		for _, f := range both {
			config := testConfig()
			config.Frontends[0].Offender = c.do
			access(OutcomeAccept, inList(trusted))(&config.Frontends[0])
			tab := table(t, config)
			m := memory(tab)
			treated := func(at time.Duration) Treatment {
				tr := *tab.Treatment(tab.Treat(&Client{Addr: addr(f.client)}, m, Load{}, after(at)).Treatment)
				tr.Reject, tr.NoServer, tr.Teaser = "", "", ""
				return tr
			}
			usual := Treatment{Delay: 30 * time.Second, Pass: PassNew}
			for n, at := range []time.Duration{0, 59 * time.Minute, 61 * time.Minute, 62 * time.Minute} {
				o := m.Talked(addr(f.same), after(at))
				if listed := n == 3; o.Listed != listed || listed && o.For != 24*time.Hour { // the first is too long ago at the third
					t.Fatalf("offence %d: %+v", n+1, o)
				}
			}
			if got := treated(63 * time.Minute); got != c.want {
				t.Errorf("%v: %+v, want %+v", c.do, got, c.want)
			}
			if got := treated(62*time.Minute + 24*time.Hour); got != usual {
				t.Errorf("%v: a day later %+v", c.do, got)
			}
			m.List(addr(f.client), time.Hour, start)
			if got := treated(time.Minute); got != c.want {
				t.Errorf("%v: listed by hand %+v", c.do, got)
			}
			m.Passed(addr(f.client), start)
			if got := treated(time.Minute); got.Pass != PassOld {
				t.Errorf("%v: with a pass %+v", c.do, got)
			}
			if !m.Forget(addr(f.client), start) || !m.Unlist(addr(f.client)) || m.Unlist(addr(f.client)) {
				t.Error("neither pass nor offences could be taken away")
			}
			if got := treated(time.Minute); got != usual {
				t.Errorf("%v: forgotten %+v", c.do, got)
			}
		}
	}
}

// TestAfter: what verdicts of DNS lists turn a treatment into; what is counted stays counted.
func TestAfter(t *testing.T) {
	for _, c := range []struct {
		deny Outcome
		want Treatment
	}{
		{Outcome{Kind: OutcomeReject, Text: "550 {client} is in {list}\r\n"}, Treatment{Refusal: RefuseReply, Refuse: "550 {client} is in zen.example\r\n"}},
		{Outcome{Kind: OutcomeReject}, Treatment{Refusal: RefuseReset}},
		{Outcome{Kind: OutcomeTarpit}, Treatment{Refusal: RefuseTarpit}},
		{Outcome{Kind: OutcomeDelay, Delay: time.Minute}, Treatment{Delay: time.Minute, Pass: PassVetoed}},
		{Outcome{Kind: OutcomeDelay, Delay: time.Second}, Treatment{Delay: 30 * time.Second, Pass: PassVetoed}},
		{Outcome{Kind: OutcomeDunno}, Treatment{Delay: 30 * time.Second, Pass: PassNew}},
	} {
		for _, limit := range []uint32{0, 5} {
			config := testConfig()
			config.DNS.Deny = c.deny
			config.Frontends[0].DNS = true
			config.Frontends[0].Limits = Limits{Connections: limit, Over: Outcome{Kind: OutcomeReject}}
			tab := table(t, config)
			id := tab.Treat(&Client{Addr: addr("192.0.2.1")}, memory(tab), Load{}, start).Treatment
			c.want.Counted = limit > 0
			out := tab.Outcomes(tab.Treatment(id))
			denied, ok := out.After(Verdict{Effect: DNSDeny, Score: 3})
			if !ok || bare(denied) != c.want {
				t.Errorf("denied: %+v, want %+v", denied, c.want)
			}
			allowed, ok := out.After(Verdict{Effect: DNSAllow, Site: -1})
			if !ok || bare(allowed) != (Treatment{Counted: limit > 0}) {
				t.Errorf("allowed: %+v", allowed)
			}
			for _, tr := range []*Treatment{denied, allowed} {
				if !slices.Contains(tab.Treatments(), *tr) || tab.Outcomes(tr) != nil {
					t.Errorf("the table does not know of %+v, or it asks again", tr)
				}
			}
			for _, tr := range []*Treatment{denied, allowed} { // the teaser was sent, whatever comes then
				if tr.Teaser != "220-mx\r\n" {
					t.Errorf("the teaser is %q", tr.Teaser)
				}
			}
			for _, e := range []Effect{DNSNeutral, DNSUndecided} {
				if got, ok := out.After(Verdict{Effect: e, Site: -1}); ok {
					t.Errorf("%v: %+v", e, got)
				}
			}
			if other := table(t, config); !out.Equal(other.Outcomes(tab.Treatment(id))) || out.Equal(nil) {
				t.Error("the same configuration does not lead to the same")
			}
			for id := range tab.Treatments() {
				a := tab.Uncounted(TreatmentID(id))
				want := tab.Treatments()[id]
				want.Counted = false
				if *tab.Treatment(a) != want {
					t.Errorf("uncounted: %+v, want %+v", tab.Treatment(a), want)
				}
			}
		}
	}
}

// bare is a treatment without the frontend's texts.
func bare(t *Treatment) Treatment {
	tr := *t
	tr.Reject, tr.NoServer, tr.Teaser = "", "", ""
	return tr
}

// TestNewTableRefuses: what is wrong, said with the place.
func TestNewTableRefuses(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"frontend mx: delay of -1s":                          func(c *Config) { c.Frontends[0].Delay = -time.Second },
		"stress delay of 48h0m0s":                            func(c *Config) { c.Frontends[0].StressDelay = 48 * time.Hour },
		"prefix lengths of clients /33 (IPv4) and /0 (IPv6)": func(c *Config) { c.Prefixes = Prefixes{V4: 33} },
		"good for -1s":                                       func(c *Config) { c.PassTTL = -time.Second },
		"counted over 1ms":                                   func(c *Config) { c.Window = time.Millisecond },
		"after 9 offences: expected 1 to 8":                  func(c *Config) { c.Offences.After = 9 },
		"offences within 0s":                                 func(c *Config) { c.Offences.Within = 0 },
		"f:1: rule r: there is no list number 9": func(c *Config) {
			access(OutcomeReject, inList(9))(&c.Frontends[0])
		},
		"f:1: rule r: there is no list number -1": func(c *Config) {
			c.Frontends[0].Access = []Rule{{Name: "r", Where: "f:1", Do: Outcome{Kind: OutcomeByList, List: -1}}}
		},
		"no outcome number 8":         func(c *Config) { access(numOutcomes)(&c.Frontends[0]) },
		"no answer number 5 to early": func(c *Config) { c.Frontends[0].Talk = numTalks },
		"rule of admission does tarpit": func(c *Config) {
			c.Frontends[0].Admission = []Rule{{Do: Outcome{Kind: OutcomeTarpit}}}
		},
		"over a limit get accept": func(c *Config) {
			c.Frontends[0].Limits = Limits{Rate: 1, Over: Outcome{Kind: OutcomeAccept}}
		},
		"offenders get accept":  func(c *Config) { c.Frontends[0].Offender.Kind = OutcomeAccept },
		"a threshold of 0":      func(c *Config) { c.Frontends[0].DNS, c.DNS.Threshold = true, 0 },
		"allow threshold of 1":  func(c *Config) { c.Frontends[0].DNS, c.DNS.AllowThreshold = true, 1 },
		"DNS lists lead to acc": func(c *Config) { c.Frontends[0].DNS, c.DNS.Deny = true, Outcome{Kind: OutcomeAccept} },
		"has a weight of 0":     func(c *Config) { c.Frontends[0].DNS, c.DNS.Sites = true, []Site{{"a", 0}} },
		"129 DNS lists":         func(c *Config) { c.Frontends[0].DNS, c.DNS.Sites = true, make([]Site, 129) },
		"list x has no network": func(c *Config) { c.Lists = append(c.Lists, NamedList{Name: "x"}) },
		"different treatments": func(c *Config) {
			for i := range 1 << 15 {
				c.Frontends = append(c.Frontends, Frontend{Delay: time.Duration(i+1) * time.Second / 2, Stress: true})
			}
		},
		"ask for 1025 signatures": func(c *Config) {
			for i := range maxPinned + 1 {
				p := Pattern{want: Signature{window: uint16(i), known: true}}
				c.Frontends[0].Access = append(c.Frontends[0].Access, Rule{When: when(Term{Any: []Test{{Kind: TestSignature, Signature: p}}})})
			}
		},
	} {
		c := testConfig()
		change(c)
		if _, err := NewTable(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %q", err, want)
		}
	}
}
