package dataplane

import (
	"hushgate/internal/policy"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

func (s *Shard) accept(svc ServiceID, seg *wire.Segment, used *wire.Seq) {
	if s.stats.Phase[PhaseHalfOpen] >= s.halfOpen {
		s.acceptStateless(svc, seg)
		return
	}
	id, ok := s.record()
	if !ok {
		if s.stats.Phase[PhaseHalfOpen] == 0 { // not even a client that answers its cookie would find a record to take
			s.drop(DropTableFull)
			return
		}
		s.acceptStateless(svc, seg)
		return
	}
	f := s.flows.At(id)
	*f = flow{client: seg.Src, clientPort: seg.SrcPort, service: svc, syn: s.now, phase: PhaseHalfOpen}
	offer := s.pool(f).offer
	tuple := tupleOf(seg)
	iss := s.secret.ISS(&tuple, seg.Seq, s.now)
	// RFC 1122 section 4.2.2.13: otherwise late segments of the old connection could be acceptable in the new one.
	if used != nil && iss.AtOrBefore(*used) {
		iss = *used + 1 + iss%apart
	}
	f.conn.Accept(seg, iss, s.clock.TimestampOffset(&tuple), offerOf(&offer))
	s.sign(f, seg)
	s.enlist(id, f)
	s.stats.SYNs++
	s.received(svc, seg)
	s.sendSYNACK(f)
	s.push(id, s.waits.halfOpen[s.cfg.Services[f.service].Frontend][0])
}

// apart bounds the distance between the last number of a connection and the ISS of the next one; the distance is secret.
const apart = 1 << 20

func (s *Shard) sendSYNACK(f *flow) {
	s.sendClient(f, f.conn.SYNACK(s.now, s.offeredMSS(f)), nil)
}

// handshakeTimeout sends the SYN-ACK again, or gives up. If the handshake's last ACK was lost, only this helps: the server
// speaks first, and a client that considers itself connected sends nothing.
func (s *Shard) handshakeTimeout(id uint32, f *flow) {
	f.tries++
	waits := s.waits.halfOpen[s.cfg.Services[f.service].Frontend]
	if int(f.tries) >= len(waits) {
		s.stats.HandshakesExpired++
		s.forget(id, f)
		return
	}
	s.stats.SYNACKsAgain++
	f.conn.Repeat()
	s.sendSYNACK(f)
	s.again()
	s.push(id, waits[f.tries])
}

// ownEnd handles a client's segment while our own TCP is its peer.
func (s *Shard) ownEnd(id uint32, f *flow, seg *wire.Segment) {
	if !seg.ChecksumOK() {
		s.drop(DropChecksum)
		return
	}
	una := f.conn.SndUna
	out := f.conn.Arrive(seg)
	switch e := out.Events; {
	case out.Reply == tcpstate.SendRST && s.answersCookie(id, f, seg):
		return
	case e.Has(tcpstate.Restart):
		s.restart(id, f, seg)
		return
	case e.Has(tcpstate.Reset):
		s.clientReset(id, f)
		return
	case e.Has(tcpstate.Done):
		s.forget(id, f)
		return
	}
	s.answer(f, seg, out.Reply)
	if out.Events.Has(tcpstate.Opened) {
		s.opened(id, f)
	}
	switch e := out.Events; {
	case e.Has(tcpstate.Opened) && s.treatment(f).Refusal != policy.RefuseNone:
		s.refuseClient(id, f, CauseRefused)
	case e.Has(tcpstate.Talked) && f.words&observed == 0:
		s.earlyTalk(id, f, seg)
	case f.phase == PhaseSaying:
		s.heard(id, f, seg, out, una)
	case e.Has(tcpstate.Finished):
		s.clientFinished(id, f)
	case e.Has(tcpstate.Opened) && s.treatment(f).Delay == 0:
		s.delayOver(id, f)
	case e.Has(tcpstate.Opened) && (s.treatment(f).Teaser != "" || s.treatment(f).Ask):
		s.wait(id, f)
	case e.Has(tcpstate.Acked):
		s.teaserHeard(id, f, una)
	}
}

// answersCookie handles an ACK that is wrong for a half-open record. The client's first SYN may have been answered with a
// cookie, and only its retransmission got a record, with another ISS. The client then acknowledges the cookie.
func (s *Shard) answersCookie(id uint32, f *flow, seg *wire.Segment) bool {
	if _, ok := s.cookie(seg); !ok {
		return false
	}
	svc := f.service
	s.forget(id, f)
	return s.recall(svc, seg)
}

// restart forgets a flow whose client opens the same 4-tuple again, and accepts the new connection.
func (s *Shard) restart(id uint32, f *flow, seg *wire.Segment) {
	if f.phase == PhaseLingering || f.phase == PhaseSaying {
		s.close(f, CauseReused)
	}
	svc, used := f.service, f.conn.SndNxt
	if f.phase == PhaseLingering {
		used = s.exts.At(f.ext).track.Server.Next
	}
	s.forget(id, f)
	s.stranger(svc, seg, &used)
}

func (s *Shard) answer(f *flow, seg *wire.Segment, r tcpstate.Reply) {
	switch r {
	case tcpstate.Silence:
	case tcpstate.SendSYN:
		s.sendSYNACK(f)
	case tcpstate.SendACK:
		s.sendClient(f, f.conn.ACK(s.now), nil)
	case tcpstate.Challenge:
		if !s.allowACK(f) {
			s.drop(DropRateLimited)
			return
		}
		s.stats.ChallengeACKs++
		s.sendClient(f, f.conn.ACK(s.now), nil)
	case tcpstate.SendRST:
		s.refuse(wire.Outside, seg)
	}
}

// opened begins the hold. The delay starts with the handshake's last ACK or, with a teaser, when the teaser is acknowledged.
func (s *Shard) opened(id uint32, f *flow) {
	f.establish(s.now)
	s.stats.Opened++
	s.active++
	s.actives[f.service]++
	s.fronts[s.cfg.Services[f.service].Frontend]++
	s.enter(f, PhaseHeld)
	s.press()
	s.decide(f)
	if s.frontend(f).Live {
		s.event(f, EventOpened, CauseNone)
	}
	s.push(id, s.delayOf(f))
}

// wait begins what happens during the hold: DNS lists are asked, and the teaser is sent.
func (s *Shard) wait(id uint32, f *flow) {
	t := s.treatment(f)
	if t.Ask {
		s.ask(f)
	}
	if t.Teaser != "" {
		s.tease(id, f)
	}
}

func (s *Shard) delayOver(id uint32, f *flow) {
	if !s.seek(f) {
		s.sayNoServer(id, f, CauseNoServer)
		return
	}
	s.reachOut(id, f)
}
