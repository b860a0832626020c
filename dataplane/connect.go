package dataplane

import (
	"hushgate/internal/wire"
	"hushgate/nat"
	"hushgate/tcpstate"
)

// serverHeader returns the header of a segment to the flow's server, from the address that this server sees.
func (s *Shard) serverHeader(f *flow, x *splice, seq wire.Seq, flags wire.Flags) wire.Header {
	srv := &s.cfg.Servers[x.server]
	from, port := s.origin(f, x)
	return wire.Header{Src: from, SrcPort: port, Dst: srv.Addr, DstPort: srv.Port, Seq: seq, Flags: flags}
}

// serverNext is our next sequence number to a server when the client has not seen anything of it.
func serverNext(f *flow, x *splice) wire.Seq {
	switch f.phase {
	case PhaseConnecting:
		return x.synISS + 1
	case PhaseIntroducing:
		return x.track.Client.Next
	case PhaseHalfOpen, PhaseHeld, PhaseWaiting, PhaseBannerPending, PhaseSpliced, PhaseLingering, PhaseSaying, PhaseDropped, PhaseTarpit, phases:
	}
	return f.conn.IRS + 1
}

// sendSYN connects to the server as the client: with its address, port and sequence number, and with no option that the client
// did not offer. The window scale is the client's too, so that windows need no translation.
func (s *Shard) sendSYN(f *flow, x *splice) {
	h := s.serverHeader(f, x, x.synISS, wire.SYN)
	h.Wnd = uint16(min(f.conn.SendWindow(), 0xffff))
	h.MSS = min(f.conn.MSS, s.linkMSS(f))
	h.SACKPermitted = f.conn.SACK()
	h.Scale, h.WindowScale = f.conn.ClientScale() != wire.NoScale, f.conn.ClientScale()
	h.Timestamps, h.TSval = f.conn.Timestamps(), f.conn.TSRecent
	s.send(wire.Inside, &h, nil)
}

// connectTimeout sends our SYN again, or gives up the server.
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

func (s *Shard) serverAnswers(id uint32, f *flow, seg *wire.Segment) {
	if !seg.ChecksumOK() {
		s.drop(DropChecksum)
		return
	}
	switch tcpstate.JudgeAnswer(seg, s.exts.At(f.ext).synISS) {
	case tcpstate.NoAnswer:
		s.drop(DropUnknown)
	case tcpstate.Refused:
		// The server has no connection, so it needs no RST.
		s.leaveInside(id, f)
		s.serverFailed(id, f, CauseServerRST)
	case tcpstate.Stale:
		s.reply(wire.Inside, seg, tcpstate.RefuseACK(seg))
		if x := s.exts.At(f.ext); !x.stale { // the server drops the old connection for our RST, so that the SYN after it is accepted
			x.stale = true
			s.sendSYN(f, x)
		}
	case tcpstate.Granted:
		s.granted(id, f, seg)
	}
}

// granted joins client and server. The client does not notice until the banner.
func (s *Shard) granted(id uint32, f *flow, seg *wire.Segment) {
	x, c := s.exts.At(f.ext), &f.conn
	o := &seg.Options
	s.learn(f, x, seg)
	if c.Timestamps() && !o.Timestamps {
		// The client sends timestamps and expects them on the server's segments: 12 octets that cannot be inserted into
		// segments of full size. Another server may grant timestamps.
		e := s.event(f, EventOfferBroken, CauseTimestampsLost)
		e.ServerOptions = optionsOf(seg)
		s.stats.OffersBroken++
		s.enter(f, PhaseIntroducing) // the server is established, so our RST needs ACK numbers
		x.serverISS, x.serverTS, x.track.Client.Next = seg.Seq, 0, x.synISS+1
		s.serverFailed(id, f, CauseTimestampsLost)
		return
	}
	serverScale, sees := o.WindowScale, c.ClientScale()
	if serverScale == wire.NoScale || sees == wire.NoScale {
		serverScale, sees = wire.NoScale, wire.NoScale
	}
	x.mss, x.tooBigs = s.grantedMSS(f, seg), 0
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

// join begins the splice, once the server has acknowledged all that we send ourselves.
func (s *Shard) join(id uint32, f *flow, x *splice) {
	c := &f.conn
	x.track.Client = tcpstate.Half{Next: c.RcvNxt, Acked: c.RcvNxt, Edge: c.RcvNxt + wire.Seq(c.RcvWnd())}
	x.track.Server = tcpstate.Half{Next: c.SndNxt, Acked: c.SndUna, Edge: c.SndUna + wire.Seq(c.SendWindow())}
	s.mask(f, x)
	s.enter(f, PhaseBannerPending)
	s.stats.Spliced++
	s.push(id, s.waits.idleTick)
}

// sendServerACK completes the handshake with the server. It carries the client's latest window, scaled as the server expects.
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
