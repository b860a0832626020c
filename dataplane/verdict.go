package dataplane

import (
	"hushgate/internal/flowtab"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// earlyTalk ends a connection whose client sent payload before the banner's first octet went out to it.
func (s *Shard) earlyTalk(id uint32, f *flow, seg *wire.Segment) {
	if s.frontend(f).Action == ActionObserve {
		s.observe(id, f, seg)
		return
	}
	reply := s.frontend(f).Action == ActionReply && !s.serverFinished(f)
	s.abandonServer(id, f)
	e := s.event(f, EventClosed, CauseClientTalked)
	s.quote(e, f, seg)
	if reply {
		e.Banner, e.BytesToClient = s.now, uint64(len(s.frontend(f).RejectText))
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
	e.Banner, e.BytesToClient = s.now, uint64(len(s.frontend(f).NoServerText))
	s.tell(f, e)
	s.say(id, f, wordsNoServer)
}

// say sends our last words, and our FIN after them, and closes.
func (s *Shard) say(id uint32, f *flow, w words) {
	s.enter(f, PhaseSaying)
	f.words = f.words&marks | s.texted<<generation | w
	f.conn.Close()
	s.sayMore(f)
	s.push(id, s.wordsAgain(f)[0])
}

// wordsAgain are the waits before our last words are repeated.
func (s *Shard) wordsAgain(f *flow) []flowtab.QueueID {
	if f.conn.Repeated() {
		return s.waits.slowWords
	}
	return s.waits.words
}

// text is what we are saying. It is the same at each call: Output and Retransmit cut their segments out of it.
func (s *Shard) text(f *flow) []byte {
	return s.texts[f.words&^marks>>generation][f.service][f.words&wordMask]
}

// settled in flow.tries marks one that has said everything and waits for the client's FIN, or in TIME-WAIT.
const settled = 0xff

// sayMore sends what the client's window has room for; false if that is nothing.
func (s *Shard) sayMore(f *flow) (sent bool) {
	for {
		h, part, ok := f.conn.Output(s.now, s.text(f))
		if !ok {
			return sent
		}
		s.sendClient(f, h, part)
		sent = true
	}
}

// heard goes on after a client's segment while we are saying our last words; una is SND.UNA before it. Once all is said
// and acknowledged the record only lingers, in FIN-WAIT-2 and then, each time that the client's FIN comes, in TIME-WAIT.
func (s *Shard) heard(id uint32, f *flow, seg *wire.Segment, out tcpstate.Outcome, una wire.Seq) {
	if sent := s.sayMore(f); !sent && out.Events.Has(tcpstate.Finished) { // its window is closed: nothing of ours tells it
		s.sendClient(f, f.conn.ACK(s.now), nil)
	}
	switch finished := f.conn.State == tcpstate.TimeWait && seg.Flags.Has(wire.FIN); {
	case f.conn.Settled() && (f.tries != settled || finished):
		if f.tries != settled {
			f.tries = settled
			s.settled++
		}
		s.push(id, s.waits.timeWait[s.cfg.Services[f.service].Frontend])
	case f.tries != settled && f.conn.SndUna != una: // RFC 6298 section 5.3: it goes on, if slowly
		f.tries = 0
		s.push(id, s.wordsAgain(f)[0])
	}
}

// sayTimeout repeats what the client has not acknowledged, a bounded number of times.
func (s *Shard) sayTimeout(id uint32, f *flow) {
	if f.tries == settled {
		s.forget(id, f)
		return
	}
	h, part, ok := f.conn.Retransmit(s.now, s.text(f))
	f.tries++
	switch waits := s.wordsAgain(f); {
	case int(f.tries) >= len(waits):
		s.sendClient(f, f.conn.RST(s.now), nil)
		s.forget(id, f)
	default:
		if ok {
			s.sendClient(f, h, part)
			s.again()
		}
		s.push(id, waits[f.tries])
	}
}

// event returns an event of a flow with what is known of it.
func (s *Shard) event(f *flow, k EventKind, c Cause) *Event {
	s.events = append(s.events, Event{})
	e := &s.events[len(s.events)-1]
	*e = Event{
		Kind: k, Cause: c, Phase: f.phase,
		Client: f.client, ClientPort: f.clientPort, Service: f.service, Server: NoServer,
		SYN: f.syn, Established: f.established, Observed: f.words&observed != 0,
	}
	if f.ext != 0 {
		x := s.exts.At(f.ext)
		e.Server, e.Retries = x.server, x.retries
		if e.Server != NoServer && s.cfg.Servers[e.Server].Source.used() {
			e.Source, e.SourcePort = s.origin(f, x)
		}
		e.Connect, e.Connected, e.Banner, e.FirstByte = x.connect, x.connected, x.banner, x.firstByte
		if x.talk != 0 {
			t := s.talks.At(x.talk)
			e.TalkLen, e.TalkHead = t.octets, t.head
		}
	}
	return e
}

// tell completes the one EventClosed of a flow.
func (s *Shard) tell(f *flow, e *Event) {
	s.release(f)
	frontend := s.cfg.Services[f.service].Frontend
	e.Active, e.FrontendActive = uint32(s.active), uint32(s.fronts[frontend])
	for _, id := range s.pool(f).backend.Servers {
		e.BackendActive += uint32(s.servers[id])
	}
	if e.Server != NoServer {
		e.ServerActive = uint32(s.servers[e.Server])
	}
	s.active--
	s.actives[f.service]--
	s.fronts[frontend]--
	e.Closed = s.now
	if f.ext != 0 {
		s.forgetTalk(f)
	}
	f.words |= told
	s.stats.Verdict[e.Verdict]++
}

// release takes a flow off its server's count.
func (s *Shard) release(f *flow) {
	if f.ext == 0 {
		return
	}
	if x := s.exts.At(f.ext); x.counted {
		x.counted = false
		s.servers[x.server]--
	}
}
