package replay

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/policy"
)

// deed is how a policy treated a connection.
type deed struct {
	dataplane.Event
	id        int
	begin     time.Time
	client    netip.AddrPort // as captured
	service   string
	frontend  string
	rule      string
	at        time.Time        // when the connection ended
	signature policy.Signature // of the SYN, if it was captured as a whole
	// untested is how long the client was seen to be silent, if that is less than it would have had to wait; -1 if not.
	untested time.Duration
}

// verdict is the event's verdict in the words of reports.
func (d *deed) verdict() Verdict { return Verdict(d.Verdict.String()) }

// deeds sums up how a policy treated the connections of a capture. Its memory is bounded.
type deeds struct {
	report   func(*deed)
	all      verdictCounts
	untested int
	rules    map[policy.RuleID]*ruleDeeds
	refused  map[refusal]*refusals
	more     bool // there were more than maxSenders of refused
	stress   []period
	stressed int // periods, also those beyond maxPeriods
	stacks   *stacks
	restored int // passes of a file
	granted  int
	lost     int
	offences int // early talks that made their client an offender, or kept it one
}

// ruleDeeds is what came of the connections that a rule decided about.
type ruleDeeds struct {
	verdictCounts
	limit  bool                  // it is about the number of a client's connections
	delays map[time.Duration]int // the delays that were decided; no more than the policy has treatments
}

// refusal is a client that a limit refused.
type refusal struct {
	client netip.Prefix
	rule   policy.RuleID
}

// refusals is how often, and when.
type refusals struct {
	n           int
	first, last time.Time
}

// period is a time of stress.
type period struct {
	begin, end  time.Time // end is zero if it lasted to the end of the capture
	connections int       // at the beginning
}

// maxPeriods bounds how many periods of stress are kept.
const maxPeriods = 1000

func newDeeds(report func(*deed)) *deeds {
	return &deeds{report: report, rules: map[policy.RuleID]*ruleDeeds{}, refused: map[refusal]*refusals{}, stacks: newStacks()}
}

// event handles what a trial's shard says.
func (d *deeds) event(e *dataplane.Event, a *actor, v *variant) {
	switch e.Kind {
	case dataplane.EventStress:
		d.pressure(e, v)
	case dataplane.EventClosed:
		d.closed(e, a, v)
	case dataplane.EventOffender:
		d.offences++
	case dataplane.EventServerFailed, dataplane.EventOfferBroken, dataplane.EventObserved, dataplane.EventServerOptions,
		dataplane.EventOwnAnswer, dataplane.EventOpened, dataplane.EventPassed, dataplane.EventAsk, dataplane.EventListed:
	}
}

func (d *deeds) pressure(e *dataplane.Event, v *variant) {
	at := v.wall(e.Closed)
	switch {
	case e.Stress:
		d.stressed++
		if len(d.stress) < maxPeriods {
			d.stress = append(d.stress, period{begin: at, connections: int(e.Active)})
		}
	case d.stressed == len(d.stress):
		d.stress[d.stressed-1].end = at
	}
}

func (d *deeds) closed(e *dataplane.Event, a *actor, v *variant) {
	names := &v.tables.Names
	c := a.conn
	one := deed{
		Event: *e, id: c.id, begin: c.begin, client: netip.AddrPortFrom(c.key.client.Netip(), c.clientPort), rule: names.Rule(e),
		service: names.Services[e.Service].Address, frontend: names.Services[e.Service].Frontend, at: v.wall(e.Closed),
		signature: c.signature, untested: -1,
	}
	verdict := one.verdict()
	if silent := a.silent(v.now); e.Verdict == dataplane.VerdictQuiet && silent < e.Connect.Sub(e.Established) {
		one.untested = silent
		d.untested++
	}
	d.all.add(verdict, 1)
	r := d.rules[e.Rule]
	if r == nil {
		r = &ruleDeeds{limit: isLimit(v, e.Rule), delays: map[time.Duration]int{}}
		d.rules[e.Rule] = r
	}
	r.add(verdict, 1)
	if a.decided && e.Verdict != dataplane.VerdictRefused {
		r.delays[a.delay]++
	}
	if e.Verdict == dataplane.VerdictRefused && r.limit {
		d.refuse(&one, v)
	}
	d.stacks.add(c.signature, verdict, true)
	d.report(&one)
}

// refuse counts a client that a limit refused.
func (d *deeds) refuse(one *deed, v *variant) {
	key := refusal{senderOf(one.client.Addr(), v.file.cfg.Global.PrefixLength), one.Rule}
	r := d.refused[key]
	if r == nil {
		if len(d.refused) == maxSenders {
			d.more = true
			return
		}
		r = &refusals{first: one.at}
		d.refused[key] = r
	}
	r.n++
	r.last = one.at
}

// senderOf returns the client that an address belongs to.
func senderOf(a netip.Addr, length config.PrefixLength) netip.Prefix {
	bits := length.IPv6
	if a.Is4() {
		bits = length.IPv4
	}
	p, _ := a.Prefix(bits) // the configuration's lengths are valid
	return p
}

// isLimit reports whether a rule is about the number of a client's connections.
func isLimit(v *variant, id policy.RuleID) bool {
	if id == policy.RuleConnections || id == policy.RuleRate {
		return true
	}
	info := v.tables.Shard.Policy.Rules()[id]
	for i := range v.file.cfg.Frontends {
		f := &v.file.cfg.Frontends[i]
		if f.Name != info.Frontend {
			continue
		}
		for _, rules := range [][]policy.Rule{f.Admission, f.Access} {
			for j := range rules {
				if rules[j].Name == info.Name && rules[j].Where == info.Where && counts(rules[j].When) {
					return true
				}
			}
		}
	}
	return false
}

// counts reports whether a condition asks for the number of a client's connections.
func counts(c policy.Condition) bool {
	for _, and := range c {
		for _, term := range and {
			if slices.ContainsFunc(term.Any, func(t policy.Test) bool {
				return t.Kind == policy.TestConnections || t.Kind == policy.TestRate
			}) {
				return true
			}
		}
	}
	return false
}

// refusedMost returns the clients that limits refused, those that were refused most often first.
func (d *deeds) refusedMost() []refusal {
	list := make([]refusal, 0, len(d.refused))
	for k := range d.refused {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b refusal) int {
		return cmp.Or(cmp.Compare(d.refused[b].n, d.refused[a].n), comparePrefixes(a.client, b.client), cmp.Compare(a.rule, b.rule))
	})
	return list
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// share is how many good senders would wait, with one duration of passes. A good sender is one that waited and was greeted.
type share struct {
	ttl         time.Duration
	configured  bool // the file has this duration
	length      config.PrefixLength
	connections int
	waited      int           // of them
	time        time.Duration // all waits
	senders     map[netip.Prefix]uint8
	more        bool // there were more than maxSenders
}

func newShare(ttl time.Duration, configured bool, length config.PrefixLength) *share {
	return &share{ttl: ttl, configured: configured, length: length, senders: map[netip.Prefix]uint8{}}
}

func (s *share) event(e *dataplane.Event) {
	if e.Kind != dataplane.EventClosed || e.Verdict != dataplane.VerdictQuiet || e.Banner == 0 {
		return
	}
	wait := e.Connect.Sub(e.Established)
	s.connections++
	key := senderOf(e.Client.Netip(), s.length)
	times, known := s.senders[key]
	switch {
	case !known && len(s.senders) == maxSenders:
		s.more = true
	case wait > 0:
		s.senders[key] = min(times+1, 2)
	default:
		s.senders[key] = times
	}
	if wait > 0 {
		s.waited++
		s.time += wait
	}
}

// sendersThat returns how many senders waited that often at least; 0 for all of them.
func (s *share) sendersThat(waited uint8) (n int) {
	for _, times := range s.senders {
		if times >= waited {
			n++
		}
	}
	return n
}

// mean is the mean wait of a connection.
func (s *share) mean() time.Duration { return s.time / time.Duration(max(1, s.connections)) }
