package dataplane

import (
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// DNSAnswer is what DNS lists say of a client, in answer to an EventAsk. The connection may have ended meanwhile, and another
// one may have its ports: the answer is for the connection that the event was about, and for no other one.
type DNSAnswer struct {
	Client     wire.Addr // this and the next five as in the event
	ClientPort uint16
	Service    ServiceID
	SYN        mono.Time
	Opened     mono.Time // Event.Established
	Lists      uint32

	Verdict policy.Verdict
	Sites   policy.SiteSet // that list the client
	Now     mono.Time
}

// AnswerOutcome is what came of a DNSAnswer.
type AnswerOutcome uint8

// The outcomes.
const (
	AnswerNeutral AnswerOutcome = iota // nothing changes
	AnswerAllowed                      // the delay ended
	AnswerListed                       // the client is treated as one that is listed
	AnswerLate                         // the delay was over, or a server had the connection: it was too late to do what follows
	AnswerGone                         // the connection had ended
	answerOutcomes
)

// String is the outcome's word in logs and metrics.
func (o AnswerOutcome) String() string {
	switch o {
	case AnswerNeutral:
		return "neutral"
	case AnswerAllowed:
		return "allowed"
	case AnswerListed:
		return "listed"
	case AnswerLate:
		return "late"
	case AnswerGone:
		return "gone"
	case answerOutcomes:
	}
	return "unknown"
}

// ask asks for what DNS lists say of a client that begins to wait.
func (s *Shard) ask(f *flow) {
	s.stats.DNSAsked++
	s.event(f, EventAsk, CauseNone).Lists = s.treatments.slots[f.treated].lists
}

// AskAgain asks once more about the clients that wait, at most Most of them, because the process that asked first has handed its
// connections over. It begins with the record From. Answer hears with which record the next message goes on, 0 at the end.
type AskAgain struct {
	From   uint32
	Most   int
	Answer func(next uint32)
}

func (c AskAgain) apply(s *Shard) {
	end := uint32(min(uint64(c.From)+sweepLooks, uint64(s.flows.Bound())))
	for id := max(1, c.From); id < end; id++ {
		if c.Most == 0 {
			c.Answer(id)
			return
		}
		if f := s.flows.At(id); f.phase == PhaseHeld && s.treatment(f).Ask {
			s.ask(f)
			c.Most--
		}
	}
	if end == s.flows.Bound() {
		end = 0
	}
	c.Answer(end)
}

func (c DNSAnswer) apply(s *Shard) {
	s.now = max(s.now, c.Now)
	s.stats.DNSAnswers[s.answered(&c)]++
}

// answered has an answer take effect.
func (s *Shard) answered(c *DNSAnswer) AnswerOutcome {
	id := s.lookupOut(c.Client, c.ClientPort, c.Service)
	if id == 0 {
		return AnswerGone
	}
	f := s.flows.At(id)
	if f.syn != c.SYN || f.established() != c.Opened || f.words&told != 0 {
		return AnswerGone
	}
	asked := &s.treatments.slots[f.treated]
	if asked.lists != c.Lists || !asked.Ask { // another process, or another configuration, asks anew
		return AnswerGone
	}
	to, changes := asked.after.After(c.Verdict)
	listing := policy.Listing{Sites: c.Sites, Rank: int32(c.Verdict.Score)}
	if asked.lists != s.cfg.Lists { // of an earlier configuration, whose lists had other numbers
		listing.Sites = c.Sites.Renumber(asked.after.Sites(), sitesOf(s.cfg.Policy))
	}
	switch {
	case f.phase.translated(), changes && to.Refusal == policy.RefuseNone && f.phase != PhaseHeld:
		s.note(f, listing)
		return AnswerLate
	case !changes:
		s.note(f, listing)
		return AnswerNeutral
	}
	return s.turn(id, f, to, listing, c.Verdict.Effect)
}

// note records which lists have a client that is treated as before.
func (s *Shard) note(f *flow, listing policy.Listing) {
	v := s.treatments.slots[f.treated]
	v.listing, v.current = listing, false
	if to := s.treatments.add(v); to != 0 {
		s.assign(f, to)
	}
}

// turn treats the client of a connection that no server has as its verdict says.
func (s *Shard) turn(id uint32, f *flow, to *policy.Treatment, listing policy.Listing, effect policy.Effect) AnswerOutcome {
	longer := to.Delay - s.treatment(f).Delay
	if longer > 0 && !s.roomFor(f, to.Delay) {
		return AnswerNeutral // as many delays of earlier configurations are in use as there can be
	}
	next := s.treatments.add(treated{Treatment: *to, rule: policy.RuleDNS, listing: listing})
	if next == 0 {
		return AnswerNeutral
	}
	s.assign(f, next)
	s.memory.Decide(policy.RuleDNS) // there is a memory where there is a policy
	if effect == policy.DNSAllow {
		if !s.teasing(f) { // otherwise there is no delay after the teaser
			s.queues.Remove(id)
			s.delayOver(id, f)
		}
		return AnswerAllowed
	}
	if s.frontend(f).Live {
		s.event(f, EventListed, CauseNone)
	}
	switch {
	case to.Refusal != policy.RefuseNone:
		s.abandonServer(id, f)
		s.refuseClient(id, f, CauseListed)
	case longer > 0 && !s.teasing(f): // otherwise the delay has not begun
		_, due, _ := s.queues.Deadline(id) // every flow has one
		s.queues.Remove(id)
		s.queues.Place(id, classOf(f), to.Delay, due.Add(longer))
	}
	return AnswerListed
}

// roomFor reports whether there is a deadline queue for a longer delay.
func (s *Shard) roomFor(f *flow, delay time.Duration) bool {
	if s.teasing(f) {
		return s.waits.addTeaser(s.queues, delay)
	}
	return s.queues.Room(classOf(f), delay)
}
