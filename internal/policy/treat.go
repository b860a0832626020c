package policy

import (
	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// Client is who is decided about: a connection whose handshake is complete, so that its address is its own.
type Client struct {
	Addr      wire.Addr
	Frontend  uint16      // index of Config.Frontends
	Signature SignatureID // held in the Memory that is asked; 0: not known
}

// Load is the state of the shard.
type Load struct{ Stress bool }

// Decision is how a client is to be treated, and why.
type Decision struct {
	Treatment TreatmentID
	Rule      RuleID // who decided last
	Pass      PassState
	Ask       bool // as the treatment has it
	// Connections and Rate are the client's, the present connection included; 0 where the frontend counts none.
	Connections, Rate uint32
}

// visit is one decision on its way.
type visit struct {
	table    *Table
	frontend *frontend
	client   *Client
	memory   *Memory
	load     Load
	now      stamp
	key      wire.Addr
	hash     uint64
	learn    bool

	counted           bool
	connections, rate uint32
	rule              RuleID
}

// Treat decides how a client is treated. It is asked once for each connection, when the handshake is complete, and counts the
// connection. The memory is of this table.
func (t *Table) Treat(c *Client, m *Memory, l Load, now mono.Time) Decision {
	return t.decide(c, m, l, now, true)
}

// Explain decides as Treat would, and leaves everything as it is.
func (t *Table) Explain(c *Client, m *Memory, l Load, now mono.Time) Decision {
	return t.decide(c, m, l, now, false)
}

func (t *Table) decide(c *Client, m *Memory, l Load, now mono.Time, learn bool) Decision {
	v := visit{
		table: t, frontend: &t.frontends[c.Frontend], client: c, memory: m, load: l, now: m.stamp(now), learn: learn,
	}
	if v.frontend.remembers {
		v.key = t.prefixes.cut(c.Addr)
		v.hash = m.hash(&v.key)
	}
	if v.frontend.counts {
		v.count(now)
	}
	id := v.access()
	tr := &t.treatments[id]
	if learn {
		if v.rule < firstRule {
			m.decided[v.rule]++
		}
		if v.counted && !tr.Counted {
			m.clients.close(v.hash, &v.key)
		}
	}
	return Decision{
		Treatment: id, Rule: v.rule, Pass: tr.Pass, Ask: tr.Ask, Connections: v.connections, Rate: v.rate,
	}
}

// count adds the connection to those of the client. If there is no room for another client, it is not counted, and no limit is
// looked at.
func (v *visit) count(now mono.Time) {
	w := v.memory.windowAt(now)
	if v.learn {
		v.connections, v.rate, v.counted = v.memory.clients.open(v.hash, &v.key, w)
		return
	}
	v.connections, v.rate = v.memory.clients.look(v.hash, &v.key, w)
	v.connections, v.rate, v.counted = v.connections+1, v.rate+1, true
}

// access looks at the rules, the first of which that matches decides, or says how to go on.
func (v *visit) access() TreatmentID {
	f := v.frontend
	for i := range f.admission {
		if r := &f.admission[i]; v.holds(r.when) {
			v.note(r)
			if r.kind == OutcomeAccept {
				break
			}
			return v.end(r.id, &r.verdict)
		}
	}
	for i := range f.access {
		if r := &f.access[i]; v.holds(r.when) {
			if id, matched := v.apply(r); matched {
				return id
			}
		}
	}
	return v.limits(&f.base)
}

// apply does what a rule says whose condition holds; false if the list that is to say it does not know the address.
func (v *visit) apply(r *rule) (TreatmentID, bool) {
	kind, verdict := r.kind, &r.verdict
	if kind == OutcomeByList {
		answer, in := v.lookup(r.list)
		if !in {
			return 0, false
		}
		kind, verdict = r.answers[answer].kind, &r.answers[answer].verdict
	}
	v.note(r)
	switch kind {
	case OutcomeDunno:
		return v.limits(&v.frontend.base), true
	case OutcomeDelay, OutcomeTalk:
		v.rule = r.id
		return v.limits(r.base), true
	default:
		return v.end(r.id, verdict), true
	}
}

// note counts a configured rule that holds for the client, whether or not a later step decides.
func (v *visit) note(r *rule) {
	if v.learn {
		v.memory.decided[r.id]++
	}
}

// end ends the decision.
func (v *visit) end(by RuleID, what *variants) TreatmentID {
	v.rule = by
	return what.pick(PassUnused, v.counted, v.load.Stress)
}

// limits turns away clients that have too many connections.
func (v *visit) limits(b *base) TreatmentID {
	f := v.frontend
	switch {
	case !v.counted:
	case f.connections > 0 && v.connections > f.connections:
		return v.end(RuleConnections, &f.over)
	case f.rate > 0 && v.rate > f.rate:
		return v.end(RuleRate, &f.over)
	}
	return v.pass(b)
}

// pass looks for a pass. Who has one has no offence to answer for: talking early would have cost it the pass.
func (v *visit) pass(b *base) TreatmentID {
	state := PassUnused
	switch f := v.frontend; {
	case !f.passes:
	case v.memory.passes.has(v.hash, &v.key, v.now, v.table.passTTL):
		v.rule = RulePass
		return b.normal.pick(PassOld, v.counted, v.load.Stress)
	case f.veto:
		state, v.rule = PassVetoed, RuleVeto
	default:
		state = PassNew
	}
	return v.offender(b, state)
}

// offender looks for offences. Of DNS lists and stress the treatments know themselves.
func (v *visit) offender(b *base, state PassState) TreatmentID {
	if v.frontend.offends && v.memory.offenders.listed(v.hash, &v.key, v.now) {
		v.rule = RuleOffender
		return b.offender.pick(state, v.counted, v.load.Stress)
	}
	return b.normal.pick(state, v.counted, v.load.Stress)
}
