package policy

import "time"

// builder makes a Table: it works out every treatment beforehand, so that none has to be made for a client.
type builder struct {
	config *Config
	table  *Table
	ids    map[Treatment]TreatmentID
}

// intern returns the number of a treatment, the same for the same.
func (b *builder) intern(tr *Treatment) TreatmentID {
	id, known := b.ids[*tr]
	if !known {
		id = TreatmentID(len(b.table.treatments)) // NewTable looks at their number afterwards
		b.ids[*tr] = id
		b.table.treatments = append(b.table.treatments, *tr)
	}
	return id
}

func (b *builder) frontend(f *Frontend) {
	out := frontend{
		connections: f.Limits.Connections, rate: f.Limits.Rate,
		passes: f.Pass == PassUse && b.table.passTTL > 0, veto: f.Veto, offends: f.Offender.Kind != OutcomeDunno,
		counts: f.Limits.Connections > 0 || f.Limits.Rate > 0 || countsAsked(f.Admission) || countsAsked(f.Access),
		base:   *b.base(f, f.Delay, f.Talk),
		over:   b.final(f, &f.Limits.Over),
	}
	out.remembers = out.counts || out.passes || out.offends
	out.admission, out.access = b.rules(f, f.Admission), b.rules(f, f.Access)
	b.table.frontends = append(b.table.frontends, out)
}

// buildUncounted finds the treatment of each number for a connection that is not counted.
func (b *builder) buildUncounted() {
	for i := 0; i < len(b.table.treatments); i++ {
		tr := b.table.treatments[i]
		tr.Counted = false
		b.table.uncounted = append(b.table.uncounted, b.intern(&tr))
	}
}

// countsAsked reports whether rules ask for the connections of clients.
func countsAsked(rules []Rule) bool {
	for i := range rules {
		for _, and := range rules[i].When {
			for _, term := range and {
				for _, test := range term.Any {
					if test.Kind == TestConnections || test.Kind == TestRate {
						return true
					}
				}
			}
		}
	}
	return false
}

func (b *builder) rules(f *Frontend, rules []Rule) []rule {
	out := make([]rule, len(rules))
	for i := range rules {
		r := &rules[i]
		out[i] = rule{id: RuleID(len(b.table.rules)), when: r.When, kind: r.Do.Kind, list: r.Do.List}
		b.table.rules = append(b.table.rules, RuleInfo{Name: r.Name, Where: r.Where, Frontend: f.Name})
		b.pin(r.When)
		switch r.Do.Kind {
		case OutcomeDelay:
			out[i].base = b.base(f, r.Do.Delay, f.Talk)
		case OutcomeTalk:
			out[i].base = b.base(f, f.Delay, r.Do.Talk)
		case OutcomeByList:
			out[i].answers = b.answers(f, b.config.Lists[r.Do.List].List.Answers())
		default:
			out[i].verdict = b.final(f, &r.Do)
		}
	}
	return out
}

// answers are what the answers of a list lead to. Who is merely in it is let in: a list of those to be kept out is a test,
// and has a rule that says so.
func (b *builder) answers(f *Frontend, list []Answer) (out []listRule) {
	for _, a := range list {
		o := Outcome{Kind: OutcomeAccept}
		switch a.Kind {
		case Reject:
			o = Outcome{Kind: OutcomeReject, Text: a.Reject}
		case Dunno:
			o = Outcome{Kind: OutcomeDunno}
		case Listed, Permit:
		}
		out = append(out, listRule{o.Kind, b.final(f, &o)})
	}
	return out
}

// pin notes the signatures that a condition asks for.
func (b *builder) pin(c Condition) {
	for _, and := range c {
		for _, term := range and {
			for _, test := range term.Any {
				if test.Kind == TestSignature && test.Signature.Exact() {
					b.table.pinned = append(b.table.pinned, test.Signature.want)
				}
			}
		}
	}
}

// plain is a treatment of a frontend before anything is known of the client.
func plain(f *Frontend, delay time.Duration, talk Talk) Treatment {
	return Treatment{Delay: delay, Talk: talk, Reject: f.Reject, NoServer: f.NoServer, Teaser: f.Teaser}
}

// base makes the treatments of those whom no step ends the decision for.
func (b *builder) base(f *Frontend, delay time.Duration, talk Talk) *base {
	out := &base{}
	out.normal = b.variants(f, func(p PassState) Treatment {
		tr := plain(f, delay, talk)
		if p == PassOld {
			tr.Delay = min(delay, f.PassDelay)
		}
		return tr
	})
	if talk == TalkObserve { // nobody is turned away
		out.offender = out.normal
		return out
	}
	out.offender = b.variants(f, func(PassState) Treatment {
		tr := plain(f, delay, talk)
		offend(&tr, &f.Offender)
		return tr
	})
	return out
}

// offend makes a treatment that of an offender.
func offend(tr *Treatment, o *Outcome) {
	switch o.Kind {
	case OutcomeDunno:
	case OutcomeDelay:
		tr.Delay = max(tr.Delay, o.Delay)
	default:
		refuse(tr, o)
	}
}

// final makes the treatments of an outcome that ends the decision. For one that does not, they are of no use.
func (b *builder) final(f *Frontend, o *Outcome) variants {
	return b.variants(f, func(PassState) Treatment {
		tr := plain(f, 0, f.Talk)
		switch o.Kind {
		case OutcomeDunno:
		case OutcomeAccept:
			tr.Accepted, tr.Talk = true, TalkObserve
		default:
			refuse(&tr, o)
		}
		return tr
	})
}

// refuse makes a treatment a refusal, of which nothing else remains.
func refuse(tr *Treatment, o *Outcome) {
	*tr = Treatment{Counted: tr.Counted}
	switch {
	case o.Kind == OutcomeSilentDrop:
		tr.Refusal = RefuseSilentDrop
	case o.Kind == OutcomeTarpit:
		tr.Refusal = RefuseTarpit
	case o.Text != "":
		tr.Refusal, tr.Refuse = RefuseReply, o.Text
	default:
		tr.Refusal = RefuseReset
	}
}

// variants makes the treatments of one outcome.
func (b *builder) variants(f *Frontend, of func(PassState) Treatment) (v variants) {
	for p := range numPasses {
		for counted := range 2 {
			for stress := range 2 {
				tr := of(p)
				b.finish(f, &tr, p, counted == 1, stress == 1)
				v[p][counted][stress] = b.intern(&tr)
			}
		}
	}
	return v
}

func (b *builder) finish(f *Frontend, tr *Treatment, p PassState, counted, stress bool) {
	if tr.Refusal != RefuseNone {
		tr.Counted = counted && tr.Refusal == RefuseTarpit // who is turned away is not there any more
		return
	}
	tr.Counted = counted
	tr.Pass = p
	if stress && f.Stress {
		tr.Delay = min(tr.Delay, f.StressDelay)
	}
	if p == PassNew && tr.Delay == 0 {
		tr.Pass = PassUnused // a pass is for having waited
	}
	if tr.Delay == 0 || p == PassOld {
		tr.Teaser = "" // nothing is tested that it could help with
	}
	tr.Ask = f.DNS && p != PassOld && tr.Delay > 0
}
