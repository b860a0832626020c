package dataplane

import (
	"fmt"
	"time"

	"hushgate/internal/mono"
)

// Adopt has a shard take one connection that was saved elsewhere, at any time, beside those that it has: one that was written
// for another machine (AnotherMachine) by names and durations, any other by ids and instants, which must then be those of this
// machine. It is taken as a whole, or the shard stays as it was. It must not come between Resume and Settle.
type Adopt struct {
	Flow *FlowState
	Now  mono.Time
	// Ago is how long before Now the connection was saved, 0 if that is not known: its deadlines are so much nearer.
	Ago time.Duration
	// Answer, which may be nil, is called with what came of it.
	Answer func(Adoption)
}

// Adoption is what came of an Adopt. Err says more, unless the connection was taken.
type Adoption struct {
	Outcome AdoptOutcome
	Err     error
}

// AdoptOutcome is whether a connection was taken, or why not.
type AdoptOutcome uint8

// The outcomes.
const (
	Adopted AdoptOutcome = iota
	AdoptAlreadyThere
	AdoptTableFull
	AdoptUnknownService
	AdoptUnknownServer
	AdoptUnknownText
	AdoptTupleInUse
	AdoptMalformed
	AdoptEnding
	adoptOutcomes
)

// String is the outcome's word in logs and metrics.
func (o AdoptOutcome) String() string {
	switch o {
	case Adopted:
		return "adopted"
	case AdoptAlreadyThere:
		return "already-there"
	case AdoptTableFull:
		return "table-full"
	case AdoptUnknownService:
		return "unknown-service"
	case AdoptUnknownServer:
		return "unknown-server"
	case AdoptUnknownText:
		return "unknown-text"
	case AdoptTupleInUse:
		return "tuple-in-use"
	case AdoptMalformed:
		return "malformed"
	case AdoptEnding:
		return "ending"
	case adoptOutcomes:
	}
	return "unknown"
}

func (c Adopt) apply(s *Shard) {
	s.now = max(s.now, c.Now)
	v := *c.Flow
	outcome, err := s.adopt(&v, c.Now, c.Ago)
	s.stats.Adoptions[outcome]++
	if err != nil {
		err = v.wrap(err)
	}
	if c.Answer != nil {
		c.Answer(Adoption{outcome, err})
	}
}

// adopt takes a connection of which everything is found out first.
func (s *Shard) adopt(v *FlowState, at mono.Time, ago time.Duration) (AdoptOutcome, error) {
	if s.sweep.begun {
		return AdoptEnding, fmt.Errorf("the shard is ending")
	}
	if v.Portable {
		if outcome, err := s.localise(v, at, ago); err != nil {
			return outcome, err
		}
	}
	r, outcome, err := s.check(v, true)
	if err != nil {
		return outcome, err
	}
	if v.Phase == PhaseHalfOpen && s.stats.Phase[PhaseHalfOpen] >= s.halfOpen {
		return AdoptTableFull, fmt.Errorf("there are %d half-open connections", s.halfOpen)
	}
	for _, id := range r.over {
		if id != 0 && s.flows.At(id).phase != phases { // not twice
			s.forget(id, s.flows.At(id))
		}
	}
	id, ok := s.recordFor(v)
	if !ok {
		return AdoptTableFull, s.errTableFull()
	}
	s.take(id, r)
	s.queues.Place(id, r.class, v.Wait, v.Due) // check has seen that there is room
	if f := s.flows.At(id); f.phase == PhaseHeld && s.treatment(f).Ask {
		s.ask(f)
	}
	return Adopted, nil
}

// recordFor returns the id of a free record for a connection that is adopted. For one that is over no other gives way.
func (s *Shard) recordFor(v *FlowState) (id uint32, ok bool) {
	if v.over() {
		return s.flows.Alloc()
	}
	return s.record()
}

// wrap says which connection an error is about.
func (v *FlowState) wrap(err error) error {
	return fmt.Errorf("the %v connection of %v: %w", v.Phase, place(v.Client, v.ClientPort), err)
}
