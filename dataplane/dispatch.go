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

// fromClient takes a segment that was sent to a service.
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
	case phases:
	}
}

// stranger takes a segment of no flow that we know: services are in LISTEN (RFC 9293 section 3.10.7.2). SYN and FIN
// together are nobody's way to open a connection; Linux drops them too. Used is how far our numbers went in an older
// connection of this 4-tuple, nil if none is known.
func (s *Shard) stranger(svc ServiceID, seg *wire.Segment, used *wire.Seq) {
	switch {
	case !seg.ChecksumOK():
		s.drop(DropChecksum)
	case s.recall(svc, seg):
	case s.isService(seg.Src, seg.SrcPort): // a service does not call itself or another (the LAND attack)
		s.drop(DropBadAddress)
	case seg.Flags&(wire.SYN|wire.ACK|wire.RST|wire.FIN) == wire.SYN && s.closed(svc):
		s.refuse(wire.Outside, seg)
	case seg.Flags&(wire.SYN|wire.ACK|wire.RST|wire.FIN) == wire.SYN:
		s.accept(svc, seg, used)
	case !seg.Flags.Has(wire.ACK | wire.RST): // RFC 9293 section 3.10.7.2, fourth: an RST would make a reflector of us
		s.drop(DropFlags)
	default:
		s.refuse(wire.Outside, seg)
	}
}

// refuse answers a segment of an unknown connection, or one that is no answer to our SYN-ACK, with an RST, at a limited
// rate.
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

// fromServer takes a segment that came from a server.
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
	case PhaseHalfOpen, PhaseHeld, PhaseWaiting, PhaseSaying, phases:
		s.drop(DropUnknown)
	}
}

// strayFromServer takes a server's segment of no flow that we know. After a restart of the gateway the RST frees the
// server's end of connections that nobody carries any more.
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

// ownAnswer tells of a SYN-ACK to this machine itself; false if the segment is none. The kernel answers it: health checks are
// its connections.
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
