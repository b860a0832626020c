package dataplane

import (
	"time"

	"hushgate/internal/mono"
)

// Shutdown ends the shard's life. No service takes new connections from then on: a SYN gets an RST, as from a port on
// which nobody listens, so that the client tries the next MX at once. Who has not been handed to a server is told 421
// (RFC 5321 section 3.8) and comes back, and what is spliced goes on to its own end.
//
// With Now, nothing does: both ends of a splice are reset, and every connection is told of by an event.
//
// Connections are gone through over some time, so that neither frames nor events come all at once: Remaining is 0 when
// all is over.
type Shutdown struct{ Now bool }

func (c Shutdown) apply(s *Shard) {
	s.sweep = sweep{begun: true, now: c.Now, next: 1, at: s.now}
}

// sweep goes through all flows, a few at a time.
type sweep struct {
	begun, now, done bool
	next             uint32 // the flow to look at next
	at               mono.Time
}

// Pace: how many flows are ended at a time, how many are looked at for it, and the pause after.
const (
	sweepEnds  = 128
	sweepLooks = 1 << 16
	sweepPause = time.Millisecond
)

func (w *sweep) due() mono.Time {
	if !w.begun || w.done {
		return mono.Never
	}
	return w.at
}

func (s *Shard) sweepOn() {
	w := &s.sweep
	if w.due() > s.now {
		return
	}
	ended := 0
	for looks := 0; looks < sweepLooks && ended < sweepEnds; looks++ {
		if w.next >= s.flows.Bound() {
			w.done = true
			return
		}
		id := w.next
		w.next++
		if f := s.flows.At(id); f.phase != phases && s.shut(id, f, w.now) {
			ended++
		}
	}
	w.at = s.now.Add(sweepPause)
}

// shut ends a flow as Shutdown says; false if it may go on.
func (s *Shard) shut(id uint32, f *flow, now bool) bool {
	switch f.phase {
	case PhaseHalfOpen:
		s.sendClient(f, f.conn.RST(s.now), nil)
	case PhaseHeld, PhaseWaiting, PhaseConnecting, PhaseIntroducing:
		s.abandonServer(id, f)
		e := s.event(f, EventClosed, CauseShutdown)
		if !now {
			e.Banner, e.BytesToClient = s.now, uint64(len(s.treatment(f).texts[wordsNoServer]))
			s.tell(f, e)
			s.say(id, f, wordsNoServer)
			return true
		}
		s.tell(f, e)
		s.sendClient(f, f.conn.RST(s.now), nil)
	case PhaseBannerPending, PhaseSpliced:
		if !now {
			return false
		}
		s.resetBoth(f, s.exts.At(f.ext))
		s.close(f, CauseShutdown)
	case PhaseSaying:
		if !now {
			return false
		}
		if f.tries != settled {
			s.sendClient(f, f.conn.RST(s.now), nil)
		}
	case PhaseLingering:
		if !now {
			return false
		}
	case phases:
		return false
	}
	s.forget(id, f)
	return true
}

// Remaining is how many connections there are that have not ended: all but those whose record merely lingers. It is not
// 0 while a Shutdown has not gone through them all.
func (s *Shard) Remaining() int {
	n := s.flows.Len() - int(s.stats.Phase[PhaseLingering]) - s.settled
	if n == 0 && s.sweep.begun && !s.sweep.done {
		return 1
	}
	return n
}
