package dataplane

import "hushgate/internal/wire"

// earlyTalk ends a connection whose client sent payload before the banner's first octet went out to it.
func (s *Shard) earlyTalk(id uint32, f *flow, seg *wire.Segment) {
	t := s.treatment(f)
	if t.talk == ActionObserve {
		s.observe(id, f, seg)
		return
	}
	reply := t.talk == ActionReply && !s.serverFinished(f)
	s.abandonServer(id, f)
	e := s.event(f, EventClosed, CauseClientTalked)
	s.quote(e, f, seg)
	if reply {
		e.Banner, e.BytesToClient = s.now, uint64(len(t.texts[wordsReject]))
	}
	s.tell(f, e)
	if reply {
		s.say(id, f, wordsReject)
		return
	}
	s.sendClient(f, f.conn.RST(s.now), nil)
	s.forget(id, f)
}

// quote tells in an event what a client said too early.
func (s *Shard) quote(e *Event, f *flow, seg *wire.Segment) {
	e.Verdict = VerdictEarlyTalker
	e.FirstByte = s.now
	text := f.conn.NewText(seg)
	e.TalkLen = uint32(len(text))
	copy(e.TalkHead[:], text)
}

// observe tells of early talk and lets the connection go on. The payload is neither kept nor acknowledged: the client
// sends it again, to the server, which is looked for at once, for there is nothing left to wait for.
func (s *Shard) observe(id uint32, f *flow, seg *wire.Segment) {
	first, phase := f.words&observed == 0, f.phase
	if first {
		f.words |= observed
		e := s.event(f, EventObserved, CauseClientTalked)
		s.quote(e, f, seg)
		e.Closed = s.now
	}
	sought := phase != PhaseHeld || s.seek(f)
	if first && sought { // before the end, which may be near if there is no server
		s.keepTalk(f, seg)
	}
	switch {
	case !sought:
		s.sayNoServer(id, f, CauseNoServer)
	case phase == PhaseHeld:
		s.findServer(id, f)
	}
}

// keepTalk keeps what is told of early talk until the connection ends: what comes later is the client's sending it again.
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

// forgetTalk gives the record of early talk back.
func (s *Shard) forgetTalk(f *flow) {
	if x := s.exts.At(f.ext); x.talk != 0 {
		s.talks.Free(x.talk)
		x.talk = 0
	}
}

// serverFinished reports whether a server has closed already, without a banner: its FIN has gone to the client, and
// there is no number left for words of ours.
func (s *Shard) serverFinished(f *flow) bool {
	return f.phase == PhaseBannerPending && s.exts.At(f.ext).track.Server.FIN
}

// clientReset ends a connection whose client reset it before a server had it, or while we were closing it: then its end
// has been told already.
func (s *Shard) clientReset(id uint32, f *flow) {
	if f.phase != PhaseHalfOpen && f.words&told == 0 {
		s.abandonServer(id, f)
		s.hangUp(f, CauseClientRST)
	}
	s.forget(id, f)
}

// clientFinished ends a connection whose client closed it, or its sending half, before the banner: a client that
// cannot send cannot mail.
func (s *Shard) clientFinished(id uint32, f *flow) {
	s.abandonServer(id, f)
	s.hangUp(f, CauseClientFIN)
	s.say(id, f, wordsNone)
}

func (s *Shard) hangUp(f *flow, c Cause) {
	e := s.event(f, EventClosed, c)
	e.Verdict = VerdictHangup
	s.tell(f, e)
}

// sayNoServer tells a client that waited that there is nobody to talk to.
func (s *Shard) sayNoServer(id uint32, f *flow, c Cause) {
	e := s.event(f, EventClosed, c)
	e.Verdict = VerdictNoServer
	e.Banner, e.BytesToClient = s.now, uint64(len(s.treatment(f).texts[wordsNoServer]))
	s.tell(f, e)
	s.say(id, f, wordsNoServer)
}
