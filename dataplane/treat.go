package dataplane

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// treatedID names a treatment that is in use: an index of treatments.slots. 0 is that of a flow that nothing was decided about,
// because its handshake is not complete.
type treatedID uint16

// decision is a treatment and the rule that led to it. Rules are those of the present table.
type decision struct {
	treatment policy.TreatmentID
	rule      policy.RuleID
}

// treated is a treatment that flows have, or may get.
type treated struct {
	policy.Treatment
	rule    policy.RuleID
	flows   uint32
	current bool // the present configuration may decide so

	after   *policy.Outcomes // of the verdict of DNS lists, if they are asked (Ask)
	lists   uint32           // Config.Lists of the configuration that decided so
	listing policy.Listing   // what DNS lists said
}

// ofLists reports whether DNS lists have said something of the client: its treatment is for no other one.
func (t *treated) ofLists() bool { return t.rule == policy.RuleDNS || t.listing != policy.Listing{} }

// same reports whether clients are treated equally, for the same reason.
func (t *treated) same(v *treated) bool {
	return t.rule == v.rule && t.lists == v.lists && t.listing == v.listing && t.Treatment == v.Treatment && t.after.Equal(v.after)
}

// used reports whether the place is taken.
func (t *treated) used() bool { return t.current || t.flows > 0 }

// treatments are all treatments that flows have. What was decided about a flow when its handshake was complete stays,
// whatever configuration comes later: its record names the treatment. A treatment that no configuration leads to any more is
// forgotten with its last flow.
type treatments struct {
	slots  []treated
	free   []treatedID
	known  map[decision]treatedID // of the present policy
	fronts []treatedID            // by FrontendID, of frontends without a policy
}

func newTreatments() treatments {
	return treatments{slots: make([]treated, 1), known: map[decision]treatedID{}}
}

// maxTreated is how many treatments a treatedID can name.
const maxTreated = math.MaxUint16

var errManyTreatments = fmt.Errorf("connections are treated in more than %d ways", maxTreated)

// room reports whether there is room for one treatment more.
func (t *treatments) room() bool { return len(t.slots) <= maxTreated || len(t.free) > 0 }

// intern returns the id of a treatment by a rule of the present configuration, 0 if there is no room for it.
func (t *treatments) intern(tr *policy.Treatment, rule policy.RuleID) treatedID {
	return t.add(treated{Treatment: *tr, rule: rule, current: true})
}

// variant is like intern, but the treatment is forgotten with its last flow if no configuration leads to it. The caller must
// give it to a flow at once.
func (t *treatments) variant(tr *policy.Treatment, rule policy.RuleID) treatedID {
	return t.add(treated{Treatment: *tr, rule: rule})
}

// maxListings is how many treatments there may be before they do not tell apart any more which DNS lists have a client.
const maxListings = 4096

// add returns the id of a treatment, 0 if there is no room for it. One that is not current is forgotten with its last flow.
func (t *treatments) add(v treated) treatedID {
	if len(t.slots)-len(t.free) > maxListings {
		v.listing = policy.Listing{}
	}
	v.flows = 0
	for i := 1; i < len(t.slots); i++ {
		if known := &t.slots[i]; known.used() && known.same(&v) {
			known.current = known.current || v.current
			return treatedID(i)
		}
	}
	if n := len(t.free); n > 0 {
		id := t.free[n-1]
		t.free, t.slots[id] = t.free[:n-1], v
		return id
	}
	if !t.room() {
		return 0
	}
	t.slots = append(t.slots, v)
	return treatedID(len(t.slots) - 1)
}

// of returns the id of a decision of the present policy. If thousands of configurations have left so many treatments that there
// is no room, the client gets one that is there, with its delay and answer.
func (t *treatments) of(cfg *Config, d decision) treatedID {
	id, known := t.known[d]
	if known {
		return id
	}
	tr := cfg.Policy.Treatment(d.treatment)
	if id = t.add(asking(cfg, treated{Treatment: *tr, rule: d.rule, current: true})); id == 0 {
		id = cmp.Or(t.nearest(tr, true), t.nearest(tr, false))
	}
	t.known[d] = id
	return id
}

// asking completes a treatment by what follows from the DNS lists of a configuration, if it asks for them.
func asking(cfg *Config, v treated) treated {
	if v.Ask && cfg.Policy != nil {
		v.after = cfg.Policy.Outcomes(&v.Treatment)
	}
	if v.Ask = v.after != nil; v.Ask {
		v.lists = cfg.Lists
	}
	return v
}

// nearest returns a present treatment that admits or refuses clients as tr does, the one with the nearest delay; 0 if there is
// none. Teased says that it must have the same teaser.
func (t *treatments) nearest(tr *policy.Treatment, teased bool) (best treatedID) {
	for i := 1; i < len(t.slots); i++ {
		v := &t.slots[i]
		if teased && v.Teaser != tr.Teaser || v.Refusal != tr.Refusal || v.Counted != tr.Counted || v.Talk != tr.Talk || v.Accepted != tr.Accepted {
			continue
		}
		if best == 0 || (v.Delay-tr.Delay).Abs() < (t.slots[best].Delay-tr.Delay).Abs() {
			best = treatedID(i)
		}
	}
	return best
}

func (t *treatments) hold(id treatedID) { t.slots[id].flows++ }

func (t *treatments) release(id treatedID) {
	if id == 0 {
		return
	}
	v := &t.slots[id]
	if v.flows--; v.flows == 0 && !v.current {
		t.drop(id)
	}
}

func (t *treatments) drop(id treatedID) {
	t.slots[id] = treated{}
	t.free = append(t.free, id)
}

// renew makes room for the treatments of a new policy. Those of flows stay, with the new number of their rule.
func (t *treatments) renew(was, now *policy.Table) {
	clear(t.known)
	t.fronts = nil
	for i := 1; i < len(t.slots); i++ {
		v := &t.slots[i]
		if !v.used() {
			continue
		}
		v.current = false
		v.listing.Sites = v.listing.Sites.Renumber(sitesOf(was), sitesOf(now))
		if v.rule = sameRule(was, now, v.rule); v.flows == 0 {
			t.drop(treatedID(i))
		}
	}
}

// sameRule returns a rule's number in another table; RuleNone if it is not there.
func sameRule(was, now *policy.Table, id policy.RuleID) policy.RuleID {
	if was == nil || now == nil || int(id) >= len(was.Rules()) {
		return policy.RuleNone
	}
	return policy.RuleID(max(0, slices.Index(now.Rules(), was.Rules()[id])))
}

// sitesOf returns the DNS lists of a policy, if there is one.
func sitesOf(p *policy.Table) []policy.Site {
	if p == nil {
		return nil
	}
	return p.Sites()
}

// setPolicy installs the policy and the treatments of a new configuration.
func (s *Shard) setPolicy(cfg *Config, was *policy.Table) {
	s.treatments.renew(was, cfg.Policy)
	for i := range cfg.Frontends {
		tr := plain(&cfg.Frontends[i])
		s.treatments.fronts = append(s.treatments.fronts, s.treatments.intern(&tr, policy.RuleNone))
	}
	switch {
	case cfg.Policy == nil: // what is known of clients is kept: there may be a policy again
	case s.memory == nil:
		s.memory = policy.NewMemory(cfg.Policy, cfg.HashKey, boundsOf(cfg), s.now)
		s.recount()
	case s.memory.Adopt(cfg.Policy, s.now):
		s.recount()
	}
}

func boundsOf(cfg *Config) policy.Bounds {
	b := cfg.Bounds
	b.Clients = cfg.Limits.withDefaults().Flows // so that every client that has a connection can be counted
	return b
}

// plain is the treatment of a frontend's clients if no policy says another.
func plain(f *Frontend) policy.Treatment {
	tr := policy.Treatment{
		Delay: f.Delay, Talk: f.Action.talk(), Reject: policy.Text(f.RejectText), NoServer: policy.Text(f.NoServerText),
	}
	if f.Delay > 0 {
		tr.Teaser = policy.Text(f.Teaser)
	}
	return tr
}

// decide decides how a flow is treated, whose handshake is complete.
func (s *Shard) decide(f *flow) {
	frontend := s.cfg.Services[f.service].Frontend
	id := s.treatments.fronts[frontend]
	if number := s.cfg.Frontends[frontend].Policy; number != 0 {
		c := policy.Client{Addr: f.client, Frontend: number - 1, Signature: f.signature}
		d := s.cfg.Policy.Treat(&c, s.memory, s.Load(), s.now)
		id = s.treatments.of(s.cfg, decision{d.Treatment, d.Rule})
	}
	s.assign(f, id)
}

// assign gives a flow a treatment in the place of the one that it has.
func (s *Shard) assign(f *flow, id treatedID) {
	s.treatments.hold(id)
	s.treatments.release(f.treated)
	f.treated = id
}

// treatment returns what was decided for a flow, whose handshake must be complete.
func (s *Shard) treatment(f *flow) *policy.Treatment { return &s.treatments.slots[f.treated].Treatment }

// counted reports whether a flow is among its client's connections.
func (s *Shard) counted(f *flow) bool { return f.words&told == 0 && s.treatment(f).Counted }

// uncount takes a flow that ends out of its client's connections.
func (s *Shard) uncount(f *flow) {
	if s.counted(f) {
		s.memory.Closed(f.client)
	}
}

// recount counts the connections of all clients again.
func (s *Shard) recount() {
	for id := uint32(1); id < s.flows.Bound(); id++ {
		if f := s.flows.At(id); f.phase != phases && s.counted(f) {
			s.memory.Recount(f.client, s.now) // there is room for all, see boundsOf
		}
	}
}

// disown forgets what policy holds for a flow that is forgotten.
func (s *Shard) disown(f *flow) {
	s.uncount(f)
	if s.memory != nil {
		s.memory.Signatures().Release(f.signature)
	}
	s.treatments.release(f.treated)
	f.treated, f.signature = 0, 0
}

// passed grants a pass to a client that has waited and is greeted by a server.
func (s *Shard) passed(f *flow) {
	t := &s.treatments.slots[f.treated]
	switch {
	case t.Pass != policy.PassNew || f.words&observed != 0:
	case t.rule != policy.RuleOffender && s.memory.Listed(f.client, s.now): // it became an offender while it waited
	case s.memory.Passed(f.client, s.now):
		s.stats.PassesGranted++
	}
}

// offended takes the pass of a client that talked early, and counts the offence.
func (s *Shard) offended(f *flow) {
	if s.memory == nil || s.frontend(f).Policy == 0 {
		return
	}
	o := s.memory.Talked(f.client, s.now)
	if o.PassLost {
		s.stats.PassesLost++
	}
	if o.Listed {
		s.stats.OffendersListed++
		e := s.event(f, EventOffender, CauseClientTalked)
		e.Closed, e.Until, e.Again = s.now, s.now.Add(o.For), o.Again
		e.Offender = s.cfg.Policy.Client(f.client)
	}
}

// losePass takes the pass of a client whose early talk has no other consequence.
func (s *Shard) losePass(f *flow) {
	if s.memory != nil && s.frontend(f).Policy != 0 && s.memory.Forget(f.client, s.now) {
		s.stats.PassesLost++
	}
}

// press looks how full the tables are: policy shortens delays under stress.
func (s *Shard) press() {
	if s.memory == nil {
		return
	}
	lim := s.cfg.Limits.withDefaults()
	if s.stress.Update(
		policy.Use{Used: s.flows.Len() - int(s.over()), Limit: lim.Flows},
		policy.Use{Used: int(s.stats.Phase[PhaseHalfOpen]), Limit: lim.HalfOpenRecords()},
	) {
		if s.stress.On() {
			s.stats.StressBegun++
		}
		s.events = append(s.events, Event{
			Kind: EventStress, Server: NoServer, Stress: s.stress.On(), Active: uint32(s.active), Closed: s.now,
		})
	}
}

// over is how many records only wait for late segments: they make room when it is needed.
func (s *Shard) over() int64 {
	return s.stats.Phase[PhaseLingering] + s.stats.Phase[PhaseDropped] + s.stats.Phase[PhaseTarpit] + int64(s.settled)
}

// refuseClient ends a connection that policy refuses.
func (s *Shard) refuseClient(id uint32, f *flow, c Cause) {
	t := s.treatment(f)
	e := s.event(f, EventClosed, c)
	e.Verdict = VerdictRefused
	if t.Refusal == policy.RefuseReply {
		s.replies(e, f, t.Refuse)
	}
	s.tell(f, e)
	switch t.Refusal {
	case policy.RefuseReply:
		s.say(id, f, wordsRefuse)
	case policy.RefuseSilentDrop:
		s.dropSilently(id, f)
	case policy.RefuseTarpit:
		s.trap(id, f)
	case policy.RefuseReset, policy.RefuseNone:
		s.sendClient(f, f.conn.RST(s.now), nil)
		s.forget(id, f)
	}
}

// dropSilently has a connection answer nothing any more (HAProxy: silent-drop). Its record stays for a while: without it the
// client's next segment would be answered with an RST.
func (s *Shard) dropSilently(id uint32, f *flow) {
	s.enter(f, PhaseDropped)
	s.push(id, s.waits.timeWait[s.cfg.Services[f.service].Frontend])
}

// sign records the signature of a SYN, if the frontend wants it.
func (s *Shard) sign(f *flow, seg *wire.Segment) {
	if s.frontend(f).Signatures && s.memory != nil {
		sig := policy.SignatureOf(seg)
		f.signature = s.memory.Signatures().Hold(&sig)
	}
}
