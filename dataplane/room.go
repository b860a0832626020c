package dataplane

import (
	"hushgate/internal/flowtab"
	"hushgate/internal/wire"
)

// When all records are in use, the least important ones are freed for new connections. A live connection is never given up:
// a client that is held or has a server keeps its record, no matter how many others come.

// The classes of flows decide which records are freed first when none is left. Each flow waits in a queue of its class.

// The classes of flows, by what becomes of them when records run out: each flow waits in a queue of its class.
const (
	living      flowtab.Class = iota // never given up
	handshaking                      // half-open: given up for a client that has answered its cookie
	sayingWords                      // EventClosed was emitted; our last reply is not fully acknowledged
	finished                         // EventClosed was emitted, and nothing is left to send: the record only waits for late segments
)

// halfOpenShare: at most one in so many records may be half-open.
const halfOpenShare = 4

// classOf returns a flow's class.
func classOf(f *flow) flowtab.Class {
	switch f.phase {
	case PhaseHalfOpen:
		return handshaking
	case PhaseLingering, PhaseDropped, PhaseTarpit:
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

// HalfOpenRecords is how many half-open records a shard keeps: Limits.HalfOpen, but at most one in halfOpenShare of all
// records. The rest is left for clients that complete their handshake during a flood.
func (l Limits) HalfOpenRecords() int {
	l = l.withDefaults()
	return max(1, min(l.HalfOpen, l.Flows/halfOpenShare))
}

// record returns the id of a free record for a client's SYN; false if all records belong to live or half-open connections.
func (s *Shard) record() (id uint32, ok bool) {
	if id, ok = s.flows.Alloc(); ok || !s.giveUp(finished) && !s.giveUp(sayingWords) {
		return id, ok
	}
	return s.flows.Alloc()
}

// recordForProven is like record, but for a client that has answered a cookie and so proved its address. Half-open
// connections have not proved theirs, and are given up for it.
func (s *Shard) recordForProven() (id uint32, ok bool) {
	if id, ok = s.record(); ok || !s.giveUp(handshaking) {
		return id, ok
	}
	return s.flows.Alloc()
}

// giveUp frees the oldest record of a class. Later segments of that connection are handled as those of an unknown one (RFC
// 9293 section 3.10.7.1).
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

// turnAway resets a client that has answered its cookie when there is no record for it. The client considers itself
// connected, and without the RST it would wait for a banner that never comes.
func (s *Shard) turnAway(seg *wire.Segment) {
	s.drop(DropTableFull)
	s.refuse(wire.Outside, seg)
}
