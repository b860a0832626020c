package dataplane

import (
	"hushgate/internal/wire"
	"hushgate/nat"
	"hushgate/tcpstate"
)

// findServer chooses a server for a flow that has waited, and opens to it as the client. Without one the flow waits for
// `timeout queue`, and is then told.
func (s *Shard) findServer(id uint32, f *flow) {
	x, p := s.exts.At(f.ext), s.pool(f)
	s.renew(x, p)
	out := x.tried.Union(p.foreign[family(f.client.Is4())])
	later := false // a port of our own may be free by then
	busy := out    // the 4-tuple may be taken at a server by a flow to another service address
	for {
		slot, ok := p.pick(f, busy)
		if !ok {
			break
		}
		server := p.backend.Servers[slot]
		switch s.claim(id, f, server) {
		case claimed:
			x.slot, x.connect = uint16(slot), s.now
			x.counted, x.stale = true, false
			s.servers[server]++
			s.enter(f, PhaseConnecting)
			s.sendSYN(f, x)
			s.push(id, p.connect[0])
			return
		case tupleTaken:
			s.stats.TuplesInUse++
		case noPort:
			s.stats.SourcePortsUsedUp++
			later = true
		}
		busy = busy.With(slot)
	}
	switch {
	case busy != out && !later: // a server is up, but not for this client's port: it comes back from another one
		s.sayNoServer(id, f, CauseTupleInUse)
	case s.now.Sub(x.delayOver) >= p.backend.Queue:
		why := CauseNoServer
		if later {
			why = CausePortsInUse
		}
		s.sayNoServer(id, f, why)
	default:
		x.tried = nat.Set{} // whoever refused may accept by then
		if f.phase != PhaseWaiting {
			s.enter(f, PhaseWaiting)
		}
		s.push(id, s.waits.queue)
	}
}

// claim is what came of an attempt to use a server.
type claim uint8

const (
	claimed    claim = iota
	tupleTaken       // another flow has the client's address and port there
	noPort           // no port of our own is free there
)

// claim enters the flow in the inside index as one of a server's, if no other flow has that 4-tuple. One that has ended and
// merely lingers gives way, where the client's own port leaves no choice.
func (s *Shard) claim(id uint32, f *flow, server ServerID) claim {
	endpoint, x := s.endpointOf(server), s.exts.At(f.ext)
	if s.cfg.Servers[server].Source.used() {
		port, ok := s.freePort(server, endpoint)
		if !ok {
			return noPort
		}
		x.port = port
	} else if other := s.lookupIn(f.client, f.clientPort, endpoint); other != 0 {
		o := s.flows.At(other)
		if o.phase != PhaseLingering {
			return tupleTaken
		}
		s.forget(other, o)
	}
	x.server, x.endpoint, x.indexed = server, endpoint, true
	x.synISS = f.conn.IRS - wire.Seq(len(s.headerOf(f, x)))
	s.atSrv[server]++
	s.byIn.Insert(s.inHash(f), id)
	return claimed
}

func (s *Shard) leaveInside(id uint32, f *flow) {
	if x := s.exts.At(f.ext); x.indexed {
		s.byIn.Delete(s.inHash(f), id)
		s.atSrv[x.server]--
		if src := &s.cfg.Servers[x.server].Source; src.used() {
			s.ports[x.server].Release(s.portOf(src, x))
		}
		x.indexed = false
	}
}

// serverHeader returns a segment from the client to its server.
func (s *Shard) serverHeader(f *flow, x *splice, seq wire.Seq, flags wire.Flags) wire.Header {
	srv := &s.cfg.Servers[x.server]
	from, port := s.origin(f, x)
	return wire.Header{Src: from, SrcPort: port, Dst: srv.Addr, DstPort: srv.Port, Seq: seq, Flags: flags}
}

// serverNext is the number of what comes next to a server that has not been heard by the client.
func serverNext(f *flow, x *splice) wire.Seq {
	switch f.phase {
	case PhaseConnecting:
		return x.synISS + 1
	case PhaseIntroducing:
		return x.track.Client.Next
	case PhaseHalfOpen, PhaseHeld, PhaseWaiting, PhaseBannerPending, PhaseSpliced, PhaseLingering, PhaseSaying, phases:
	}
	return f.conn.IRS + 1
}

// sendSYN opens to the server as the client: its address, its port, its number, and no option that the client did not
// offer. Its windows keep their shift, so that they need no translation.
func (s *Shard) sendSYN(f *flow, x *splice) {
	h := s.serverHeader(f, x, x.synISS, wire.SYN)
	h.Wnd = uint16(min(f.conn.SendWindow(), 0xffff))
	h.MSS = min(f.conn.MSS, s.linkMSS(f))
	h.SACKPermitted = f.conn.SACK()
	h.Scale, h.WindowScale = f.conn.ClientScale() != wire.NoScale, f.conn.ClientScale()
	h.Timestamps, h.TSval = f.conn.Timestamps(), f.conn.TSRecent
	s.send(wire.Inside, &h, nil)
}

// connectTimeout sends our SYN again, or gives the server up.
func (s *Shard) connectTimeout(id uint32, f *flow) {
	f.tries++
	if wait := s.pool(f).connect; int(f.tries) < len(wait) {
		s.stats.SYNsAgain++
		x := s.exts.At(f.ext)
		x.stale = false
		s.sendSYN(f, x)
		s.again()
		s.push(id, wait[f.tries])
		return
	}
	s.serverFailed(id, f, CauseServerTimeout)
}

// serverFailed goes on to another server, as often as `retries` allows; the client notices nothing.
func (s *Shard) serverFailed(id uint32, f *flow, c Cause) {
	x, p := s.exts.At(f.ext), s.pool(f)
	s.renew(x, p)
	s.event(f, EventServerFailed, c)
	s.stats.ServersFailed++
	s.release(f)
	s.abandonServer(id, f)
	if int(x.retries) >= p.backend.Retries {
		s.sayNoServer(id, f, c)
		return
	}
	x.retries++
	failed := x.tried
	if x.slot != noSlot {
		failed = failed.With(int(x.slot))
	}
	if p.backend.Redispatch && p.Another(failed.Union(p.foreign[family(f.client.Is4())])) {
		x.tried = failed
		s.findServer(id, f)
		return
	}
	// There is no other. The same server gets another try after a pause, as HAProxy has it: it may be restarting.
	x.tried = nat.Set{}
	if !p.backend.Redispatch && x.slot != noSlot {
		x.tried = nat.AllBut(int(x.slot))
	}
	s.enter(f, PhaseWaiting)
	s.push(id, s.waits.retry)
}

// abandonServer takes back what was opened to a server, if anything was.
func (s *Shard) abandonServer(id uint32, f *flow) {
	if f.ext == 0 {
		return
	}
	x := s.exts.At(f.ext)
	if !x.indexed {
		return
	}
	h := s.serverHeader(f, x, serverNext(f, x), wire.RST)
	if f.phase != PhaseConnecting {
		h.Flags |= wire.ACK
		h.Ack = x.serverISS + 1
		h.Timestamps, h.TSval, h.TSecr = f.conn.Timestamps() && x.serverTS != 0, f.conn.TSRecent, x.serverTS
	}
	s.send(wire.Inside, &h, nil)
	s.leaveInside(id, f)
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

func (s *Shard) serverAnswers(id uint32, f *flow, seg *wire.Segment) {
	if !seg.ChecksumOK() {
		s.drop(DropChecksum)
		return
	}
	switch tcpstate.JudgeAnswer(seg, s.exts.At(f.ext).synISS) {
	case tcpstate.NoAnswer:
		s.drop(DropUnknown)
	case tcpstate.Refused:
		// Our SYN is gone already: no RST for it.
		s.leaveInside(id, f)
		s.serverFailed(id, f, CauseServerRST)
	case tcpstate.Stale:
		s.reply(wire.Inside, seg, tcpstate.RefuseACK(seg))
		if x := s.exts.At(f.ext); !x.stale { // the old connection is gone when this arrives behind the RST
			x.stale = true
			s.sendSYN(f, x)
		}
	case tcpstate.Granted:
		s.granted(id, f, seg)
	}
}

// granted joins client and server. The client hears of it by the banner alone.
func (s *Shard) granted(id uint32, f *flow, seg *wire.Segment) {
	x, c := s.exts.At(f.ext), &f.conn
	o := &seg.Options
	s.learn(f, x, seg)
	if c.Timestamps() && !o.Timestamps {
		// The client's segments will carry timestamps and it expects them on ours: 12 octets that nobody can put
		// into segments cut to fit. Another server may do better.
		e := s.event(f, EventOfferBroken, CauseTimestampsLost)
		e.ServerOptions = optionsOf(seg)
		s.stats.OffersBroken++
		s.enter(f, PhaseIntroducing) // the server is established: its RST needs an ACK's numbers
		x.serverISS, x.serverTS, x.track.Client.Next = seg.Seq, 0, x.synISS+1
		s.serverFailed(id, f, CauseTimestampsLost)
		return
	}
	serverScale, sees := o.WindowScale, c.ClientScale()
	if serverScale == wire.NoScale || sees == wire.NoScale {
		serverScale, sees = wire.NoScale, wire.NoScale
	}
	x.mss, x.tellings = s.grantedMSS(f, seg), 0
	x.connected, x.lastSeen, x.serverISS, x.serverTS, x.clientTS = s.now, s.now, seg.Seq, o.TSval, c.TSval(s.now)
	x.nat = nat.NewSplice(
		nat.Terms{
			First: c.SndNxt, TSval: c.TSval(s.now), OwnScale: c.ClientScale(), PeerScale: c.OwnScale(),
			SACK: c.SACK(), Timestamps: c.Timestamps(),
		},
		nat.Terms{
			First: seg.Seq + 1, TSval: o.TSval, OwnScale: serverScale, PeerScale: sees,
			SACK: o.SACKPermitted, Timestamps: o.Timestamps,
		})
	if x.synISS != c.IRS {
		s.introduce(id, f, x, seg)
		return
	}
	s.join(id, f, x)
	s.sendServerACK(f, x)
}

// join begins the splice, as soon as the server has all that is ours to say.
func (s *Shard) join(id uint32, f *flow, x *splice) {
	c := &f.conn
	x.track.Client = tcpstate.Half{Next: c.RcvNxt, Acked: c.RcvNxt, Edge: c.RcvNxt + wire.Seq(c.RcvWnd())}
	x.track.Server = tcpstate.Half{Next: c.SndNxt, Acked: c.SndUna, Edge: c.SndUna + wire.Seq(c.SendWindow())}
	s.enter(f, PhaseBannerPending)
	s.stats.Spliced++
	s.push(id, s.waits.idleTick)
}

// sendServerACK completes the handshake with the server. The window is the client's latest, in the shift that the
// server knows.
func (s *Shard) sendServerACK(f *flow, x *splice) {
	h := s.ackToServer(f, x, serverNext(f, x))
	s.send(wire.Inside, &h, nil)
}

func (s *Shard) ackToServer(f *flow, x *splice, seq wire.Seq) wire.Header {
	h := s.serverHeader(f, x, seq, wire.ACK)
	h.Ack = x.serverISS + 1
	h.Wnd = x.nat.ServerWindow(f.conn.SndWnd)
	h.Timestamps, h.TSval, h.TSecr = f.conn.Timestamps(), f.conn.TSRecent, x.serverTS
	return h
}

func optionsOf(seg *wire.Segment) ServerOptions {
	o := &seg.Options
	return ServerOptions{
		MSS: tcpstate.PeerMSS(seg), WindowScale: o.WindowScale, SACK: o.SACKPermitted, Timestamps: o.Timestamps, Known: true,
	}
}

// learn notes what a server grants, as far as we asked for it: an option that the client did not offer was not asked. Of
// a server that is unknown yet nothing is learnt from half an answer; its first check will tell.
func (s *Shard) learn(f *flow, x *splice, seg *wire.Segment) {
	p, c := s.pool(f), &f.conn
	if s.renew(x, p); x.slot == noSlot {
		return
	}
	known := p.Options(int(x.slot))
	if !known.Known && !(c.Timestamps() && c.SACK() && c.ClientScale() != wire.NoScale) {
		return
	}
	got := optionsOf(seg)
	if !c.Timestamps() {
		got.Timestamps = known.Timestamps
	}
	if !c.SACK() {
		got.SACK = known.SACK
	}
	if c.ClientScale() == wire.NoScale {
		got.WindowScale = known.WindowScale
	}
	if got == known {
		return
	}
	p.SetOptions(int(x.slot), got)
	p.refreshOffer()
	s.event(f, EventServerOptions, CauseNone).ServerOptions = got
}
