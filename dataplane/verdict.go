package dataplane

import (
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// earlyTalk ends a connection whose client sent payload before the banner's first octet was sent to it.
func (s *Shard) earlyTalk(id uint32, f *flow, seg *wire.Segment) {
	t := s.treatment(f)
	if t.Talk == policy.TalkObserve {
		s.observe(id, f, seg)
		return
	}
	reply := t.Talk == policy.TalkReply && !s.serverFinished(f)
	s.abandonServer(id, f)
	e := s.event(f, EventClosed, CauseClientTalked)
	s.quote(e, f, seg)
	if reply {
		s.replies(e, f, t.Reject)
	}
	s.tell(f, e)
	s.offended(f)
	switch {
	case reply:
		s.say(id, f, wordsReject)
	case t.Talk == policy.TalkSilentDrop:
		s.dropSilently(id, f)
	case t.Talk == policy.TalkTarpit && !s.serverFinished(f):
		s.trap(id, f)
	default:
		s.sendClient(f, f.conn.RST(s.now), nil)
		s.forget(id, f)
	}
}

// quote stores the early talk in an event.
func (s *Shard) quote(e *Event, f *flow, seg *wire.Segment) {
	e.Verdict = VerdictEarlyTalker
	e.FirstByte = s.now
	text := f.conn.NewText(seg)
	e.TalkLen = uint32(len(text))
	copy(e.TalkHead[:], text)
}

// observe reports early talk and lets the connection go on. The payload is neither kept nor acknowledged, so that the client
// sends it again, to the server. The search for a server begins at once, because there is nothing left to wait for. A client that a
// rule has accepted may talk early, and nothing is reported.
func (s *Shard) observe(id uint32, f *flow, seg *wire.Segment) {
	first, phase := f.words&observed == 0 && !s.treatment(f).Accepted, f.phase
	f.words |= observed
	if first {
		s.losePass(f)
		e := s.event(f, EventObserved, CauseClientTalked)
		s.quote(e, f, seg)
		e.Closed = s.now
	}
	sought := phase != PhaseHeld || s.seek(f)
	if first && sought { // now, because the search for a server may end the connection
		s.keepTalk(f, seg)
	}
	switch {
	case !sought:
		s.sayNoServer(id, f, CauseNoServer)
	case phase == PhaseHeld:
		s.reachOut(id, f)
	}
}

// keepTalk stores the early talk until the connection ends. What comes later are retransmissions of it.
func (s *Shard) keepTalk(f *flow, seg *wire.Segment) {
	x := s.exts.At(f.ext)
	x.firstByte = s.now
	id, ok := s.talks.Alloc()
	if !ok {
		return
	}
	text := f.conn.NewText(seg)
	t := s.talks.At(id)
	*t = talk{octets: uint32(len(text))}
	copy(t.head[:], text)
	x.talk = id
}

// forgetTalk frees a flow's talk record.
func (s *Shard) forgetTalk(f *flow) {
	if x := s.exts.At(f.ext); x.talk != 0 {
		s.talks.Free(x.talk)
		x.talk = 0
	}
}

// serverFinished reports whether the server has closed without a banner. Its FIN was forwarded to the client, so that there is
// no sequence number left for a reply of ours.
func (s *Shard) serverFinished(f *flow) bool {
	return f.phase == PhaseBannerPending && s.exts.At(f.ext).track.Server.FIN
}

// clientReset ends a connection that the client has reset, either before the splice or while we were closing it. In the
// latter case EventClosed was emitted before.
func (s *Shard) clientReset(id uint32, f *flow) {
	if f.phase != PhaseHalfOpen && f.words&told == 0 {
		s.abandonServer(id, f)
		s.hangUp(f, CauseClientRST)
	}
	s.forget(id, f)
}

// clientFinished ends a connection whose client closed it before the banner. Closing only the sending half has the same
// effect: a client that cannot send cannot deliver mail.
func (s *Shard) clientFinished(id uint32, f *flow) {
	s.abandonServer(id, f)
	s.hangUp(f, CauseClientFIN)
	s.say(id, f, wordsNone)
}

func (s *Shard) hangUp(f *flow, c Cause) {
	e := s.event(f, EventClosed, c)
	e.Verdict = VerdictHangup
	if c == CauseClientFIN { // our FIN follows the whole teaser
		e.BytesToClient = uint64(s.treatment(f).Teaser.Len(f.client))
	}
	s.tell(f, e)
}

// replies records in an event that the client gets a reply of ours, after all of the teaser.
func (s *Shard) replies(e *Event, f *flow, reply policy.Text) {
	e.Banner, e.BytesToClient = s.now, uint64(s.treatment(f).Teaser.Len(f.client)+reply.Len(f.client))
}

// sayNoServer tells a client that has waited that no server is available.
func (s *Shard) sayNoServer(id uint32, f *flow, c Cause) {
	e := s.event(f, EventClosed, c)
	e.Verdict = VerdictNoServer
	s.replies(e, f, s.treatment(f).NoServer)
	s.tell(f, e)
	s.say(id, f, wordsNoServer)
}
