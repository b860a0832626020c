package dataplane

import (
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

func (s *Shard) segment(side wire.Side, seg *wire.Segment) {
	if side.Has(wire.Outside) {
		if svc, ok := s.services[addrPort{seg.Dst, seg.DstPort}]; ok {
			s.fromClient(svc, seg)
			return
		}
	}
	if side.Has(wire.Inside) {
		if e, ok := s.endpoints[addrPort{seg.Src, seg.SrcPort}]; ok {
			s.fromServer(e, seg)
			return
		}
		if _, own := s.local[seg.Dst]; own && s.ownAnswer(seg) {
			return
		}
	}
	s.drop(DropNotOurs)
}

// fromClient handles a segment that was sent to a service.
func (s *Shard) fromClient(svc ServiceID, seg *wire.Segment) {
	id := s.lookupOut(seg.Src, seg.SrcPort, svc)
	if id == 0 {
		s.stranger(svc, seg, nil)
		return
	}
	f := s.flows.At(id)
	switch f.phase {
	case PhaseSpliced:
		s.clientToServer(id, f, seg)
	case PhaseLingering:
		s.afterTheEnd(id, f, seg)
	case PhaseBannerPending:
		s.received(svc, seg)
		s.watchForBanner(id, f, seg)
	case PhaseHalfOpen, PhaseHeld, PhaseWaiting, PhaseConnecting, PhaseIntroducing, PhaseSaying:
		s.received(svc, seg)
		s.ownEnd(id, f, seg)
	case PhaseDropped:
		s.drop(DropSilenced)
	case PhaseTarpit:
		s.trapped(id, f, seg)
	case phases:
	}
}

// stranger handles a segment that belongs to no known flow: services are in LISTEN (RFC 9293 section 3.10.7.2). A segment
// with both SYN and FIN is dropped, as Linux does, because no TCP opens a connection that way. Used is the highest sequence
// number that we sent in an older connection of this 4-tuple; it is nil if none is known.
func (s *Shard) stranger(svc ServiceID, seg *wire.Segment, used *wire.Seq) {
	switch {
	case !seg.ChecksumOK():
		s.drop(DropChecksum)
	case s.recall(svc, seg):
	case s.isService(seg.Src, seg.SrcPort): // a service does not connect to itself or to another service (LAND attack)
		s.drop(DropBadAddress)
	case seg.Flags&(wire.SYN|wire.ACK|wire.RST|wire.FIN) == wire.SYN && s.closed(svc):
		s.refuse(wire.Outside, seg)
	case seg.Flags&(wire.SYN|wire.ACK|wire.RST|wire.FIN) == wire.SYN:
		s.accept(svc, seg, used)
	case !seg.Flags.Has(wire.ACK | wire.RST): // RFC 9293 section 3.10.7.2, fourth: an RST would make us a reflector
		s.drop(DropFlags)
	default:
		s.refuse(wire.Outside, seg)
	}
}

// refuse sends a rate-limited RST in answer to a segment of an unknown connection, or to a wrong ACK of our SYN-ACK.
func (s *Shard) refuse(side wire.Side, seg *wire.Segment) {
	h, ok := tcpstate.Refuse(seg)
	switch {
	case !ok:
		s.drop(DropUnknown)
	case !s.allowRST(side):
		s.drop(DropRateLimited)
	default:
		s.stats.StrayRSTs++
		s.reply(side, seg, h)
	}
}

// fromServer handles a segment that came from a server.
func (s *Shard) fromServer(endpoint uint16, seg *wire.Segment) {
	id := s.lookupIn(seg.Dst, seg.DstPort, endpoint)
	if id == 0 {
		s.strayFromServer(seg)
		return
	}
	f := s.flows.At(id)
	switch f.phase {
	case PhaseConnecting:
		s.serverAnswers(id, f, seg)
	case PhaseIntroducing:
		s.headerAnswered(id, f, seg)
	case PhaseBannerPending, PhaseSpliced:
		s.serverToClient(id, f, seg)
	case PhaseLingering:
		s.fromServerAfterTheEnd(id, f, seg)
	case PhaseHalfOpen, PhaseHeld, PhaseWaiting, PhaseSaying, PhaseDropped, PhaseTarpit, phases:
		s.drop(DropUnknown)
	}
}

// strayFromServer handles a server's segment that belongs to no known flow. It is answered with an RST, so that a server
// drops connections that were lost in a restart of the gateway.
func (s *Shard) strayFromServer(seg *wire.Segment) {
	if _, ours := s.local[seg.Dst]; ours && !s.ofSource(seg) {
		if !s.ownAnswer(seg) {
			s.drop(DropNotOurs)
		}
		return
	}
	if !seg.ChecksumOK() {
		s.drop(DropChecksum)
		return
	}
	s.refuse(wire.Inside, seg)
}

// ownAnswer emits an event for a SYN-ACK that was sent to this machine itself; false if the segment is no SYN-ACK. The kernel
// answers it, because health checks are connections of the kernel.
func (s *Shard) ownAnswer(seg *wire.Segment) bool {
	if seg.Flags&(wire.SYN|wire.ACK|wire.RST|wire.FIN) != wire.SYN|wire.ACK {
		return false
	}
	switch {
	case !seg.ChecksumOK():
		s.drop(DropChecksum)
	case !s.ownAnswers.allow(s.now):
		s.drop(DropRateLimited)
	default:
		s.events = append(s.events, Event{
			Kind: EventOwnAnswer, Client: seg.Dst, ClientPort: seg.DstPort, Source: seg.Src, SourcePort: seg.SrcPort, Server: NoServer,
			ServerOptions: optionsOf(seg),
		})
	}
	return true
}

func (s *Shard) isService(a wire.Addr, port uint16) bool {
	_, is := s.services[addrPort{a, port}]
	return is
}
