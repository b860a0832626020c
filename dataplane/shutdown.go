package dataplane

import (
	"time"

	"hushgate/internal/mono"
)

// Shutdown ends the shard's work. From then on no service accepts connections: a SYN gets an RST, as from a closed port, so
// that the client tries the next MX at once. A client without a server gets a 421 (RFC 5321 section 3.8) and will come back.
// Splices go on to their own end.
//
// With Now, every connection ends: splices are reset on both sides. The end of each connection is still reported by an event.
//
// The connections are ended in portions, so that frames and events do not come all at once. Remaining is 0 when all have
// ended.
type Shutdown struct{ Now bool }

func (c Shutdown) apply(s *Shard) {
	s.sweep = sweep{begun: true, now: c.Now, next: 1, at: s.now}
}

// sweep visits all flows, in portions.
type sweep struct {
	begun, now, done bool
	next             uint32 // the flow to look at next
	at               mono.Time
}

// The pace: how many flows are ended or visited in one portion, and the pause between portions.
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
		if f := s.flows.At(id); f.phase != phases && s.shut(id, f, w.now, CauseShutdown) {
			ended++
		}
	}
	w.at = s.now.Add(sweepPause)
}

// shut ends a flow as Shutdown describes; false if the flow goes on.
func (s *Shard) shut(id uint32, f *flow, now bool, why Cause) bool {
	switch f.phase {
	case PhaseHalfOpen:
		s.sendClient(f, f.conn.RST(s.now), nil)
	case PhaseHeld, PhaseWaiting, PhaseConnecting, PhaseIntroducing:
		s.abandonServer(id, f)
		e := s.event(f, EventClosed, why)
		if !now {
			s.replies(e, f, s.treatment(f).NoServer)
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
		s.close(f, why)
	case PhaseSaying:
		if !now {
			return false
		}
		if f.tries != settled {
			s.sendClient(f, f.conn.RST(s.now), nil)
		}
	case PhaseTarpit:
		s.sendClient(f, f.conn.RST(s.now), nil)
	case PhaseLingering, PhaseDropped:
		if !now {
			return false
		}
	case phases:
		return false
	}
	s.forget(id, f)
	return true
}

// Remaining returns how many connections have not ended. Records that merely linger do not count. It is never 0 before a
// Shutdown has visited all flows.
func (s *Shard) Remaining() int {
	n := s.flows.Len() - int(s.over())
	if n == 0 && s.sweep.begun && !s.sweep.done {
		return 1
	}
	return n
}
