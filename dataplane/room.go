package dataplane

import (
	"hushgate/internal/flowtab"
	"hushgate/internal/wire"
)

// When all records are in use, those that matter least give way to new connections. What is living never does: a client
// that is held, or has a server, keeps its record whoever else comes.

// The classes of flows, by what becomes of them when records run out: each flow waits in a queue of its class.
const (
	living      flowtab.Class = iota // never gives way
	handshaking                      // half-open: gives way to a client that has answered its cookie
	sayingWords                      // its end was told; our last words are on their way to the client
	finished                         // its end was told, and nothing is left to be said: only late segments are waited for
)

// halfOpenShare: one in so many of all records may be half-open.
const halfOpenShare = 4

// classOf returns a flow's class.
func classOf(f *flow) flowtab.Class {
	switch f.phase {
	case PhaseHalfOpen:
		return handshaking
	case PhaseLingering:
		return finished
	case PhaseSaying:
		if f.tries == settled {
			return finished
		}
		return sayingWords
	case PhaseHeld, PhaseWaiting, PhaseConnecting, PhaseIntroducing, PhaseBannerPending, PhaseSpliced, phases:
	}
	return living
}

// HalfOpenRecords is how many half-open records a shard keeps: as many as it was told, and no more than a share of all
// records, so that in a flood there is room for the clients that complete their handshake.
func (l Limits) HalfOpenRecords() int {
	l = l.withDefaults()
	return max(1, min(l.HalfOpen, l.Flows/halfOpenShare))
}

// record returns the id of a free record for a client's SYN; false if everything that there is goes on.
func (s *Shard) record() (id uint32, ok bool) {
	if id, ok = s.flows.Alloc(); ok || !s.giveUp(finished) && !s.giveUp(sayingWords) {
		return id, ok
	}
	return s.flows.Alloc()
}

// recordForProven is record for a client that has answered a cookie, and so is where it says it is: of those that are
// half-open nobody knows that.
func (s *Shard) recordForProven() (id uint32, ok bool) {
	if id, ok = s.record(); ok || !s.giveUp(handshaking) {
		return id, ok
	}
	return s.flows.Alloc()
}

// giveUp frees the record of a class that has waited longest. Later segments of that connection are those of an unknown one
// (RFC 9293 section 3.10.7.1).
func (s *Shard) giveUp(class flowtab.Class) bool {
	id, ok := s.queues.Oldest(class)
	if !ok {
		return false
	}
	f := s.flows.At(id)
	switch class {
	case finished:
		s.stats.FinishedGivenUp++
	case sayingWords:
		s.stats.WordsCutShort++
		s.sendClient(f, f.conn.RST(s.now), nil)
	case handshaking:
		s.stats.HandshakesGivenUp++
	}
	s.forget(id, f)
	return true
}

// turnAway resets a client that has answered its cookie while everything goes on: it believes itself connected, and would
// wait in silence for a banner that never comes.
func (s *Shard) turnAway(seg *wire.Segment) {
	s.drop(DropTableFull)
	s.refuse(wire.Outside, seg)
}
