package dataplane

import (
	"math"

	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// watchForBanner takes a client's segment while the banner has not been sent: payload is early talk still.
func (s *Shard) watchForBanner(id uint32, f *flow, seg *wire.Segment) {
	if !seg.ChecksumOK() {
		s.drop(DropChecksum)
		return
	}
	if (len(seg.Payload) == 0 || f.words&observed != 0) && !seg.Flags.Has(wire.SYN) {
		s.clientToServer(id, f, seg)
		return
	}
	// Payload does not go on, whatever it is worth: our end of the connection judges it, and stays as it is, for it is the
	// server that answers.
	x, judge := s.exts.At(f.ext), f.conn
	judge.RcvNxt = x.track.Client.Acked // behind its FIN, if the server has it
	switch out := judge.Arrive(seg); {
	case out.Events.Has(tcpstate.Talked) && s.treatment(f).talk == ActionObserve:
		s.observe(id, f, seg)
		s.clientToServer(id, f, seg)
	case out.Events.Has(tcpstate.Talked):
		s.earlyTalk(id, f, seg)
	case out.Events.Has(tcpstate.Reset): // with a text, which RFC 9293 section 3.5.3 allows
		s.clientReset(id, f)
	case out.Events.Has(tcpstate.Finished): // behind an octet that is known: no stack sends that
		s.drop(DropFlags)
	case out.Reply != tcpstate.Silence:
		s.challengeInSplice(f, x)
	}
}

// clientToServer translates a segment and passes it on.
func (s *Shard) clientToServer(id uint32, f *flow, seg *wire.Segment) {
	x := s.exts.At(f.ext)
	// A number beyond what we know of may be a corrupt one, which must not count.
	if (seg.Flags.Has(wire.SYN|wire.RST|wire.FIN) || seg.Seq.After(x.track.Client.Next)) && !seg.ChecksumOK() {
		s.drop(DropChecksum)
		return
	}
	if seg.Flags.Has(wire.SYN) {
		s.synInSplice(id, f, x, seg)
		return
	}
	if seg.TTL <= 1 { // before it counts for anything
		s.drop(DropTTL)
		return
	}
	if x.firstByte == 0 && len(seg.Payload) > 0 {
		x.firstByte = s.now
	}
	if seg.Size() > int(x.mss) && s.tooBig(f, x, seg) {
		return
	}
	if x.track.Believable(seg) {
		f.conn.Follow(seg) // for our ACK, should the server's SYN-ACK come again
	}
	again := x.track.Client.Repeats(seg)
	tcpstate.Saw(&x.track.Client, &x.track.Server, seg, uint32(seg.Wnd)<<max(0, f.conn.ClientScale()))
	x.nat.ToServer(seg)
	if seg.Options.Timestamps && f.conn.Timestamps() && seg.Ack == x.serverISS+1 && int32(seg.Options.TSecr-x.serverTS) < 0 {
		seg.SetTSecr(x.serverTS) // it echoes our SYN-ACK; the server never sent anything as old as that
	}
	srv := &s.cfg.Servers[x.server]
	if srv.Source.used() {
		seg.SetSource(srv.Source.Addr, x.port)
	}
	seg.SetDestination(srv.Addr, srv.Port)
	s.forward(wire.Inside, seg, again)
	s.seen(id, f, x, CauseClientRST)
}

// sane bounds how far ahead of the first a banner's octets may lie: the largest window that TCP has.
const sane = 1 << 30

// serverToClient translates a segment and passes it on.
func (s *Shard) serverToClient(id uint32, f *flow, seg *wire.Segment) {
	x := s.exts.At(f.ext)
	// As the client's in clientToServer; and a banner is looked at, for the watch ends with it.
	if (seg.Flags.Has(wire.SYN|wire.RST|wire.FIN) || f.phase == PhaseBannerPending ||
		seg.Seq.After(x.nat.ServerSeq(x.track.Server.Next))) && !seg.ChecksumOK() {
		s.drop(DropChecksum)
		return
	}
	switch {
	case seg.Flags.Has(wire.SYN): // its SYN-ACK again: our ACK was lost, and the client will send none
		if seg.Flags.Has(wire.ACK) && seg.Seq == x.serverISS {
			s.sendServerACK(f, x)
		} else {
			s.drop(DropFlags)
		}
		return
	case seg.TTL <= 1:
		s.drop(DropTTL)
		return
	case f.phase == PhaseBannerPending && seg.Flags.Has(wire.RST) && !x.track.Client.FIN && !x.track.Server.FIN &&
		x.track.Client.Acked == f.conn.IRS+1: // else it has taken what the client will not send again
		switch first := x.serverISS + 1; {
		case seg.Seq == first: // it took the connection and thought better of it
			s.leaveInside(id, f)
			s.serverFailed(id, f, CauseServerRST)
		case seg.Seq.Within(first, f.conn.SendWindow()) && s.allowACK(f): // a challenge ACK: the banner may be lost
			s.stats.ChallengeACKs++
			s.sendServerACK(f, x)
		default:
			s.drop(DropUnknown)
		}
		return
	}
	// A keep-alive probe, with its one garbage octet, or what is left of an older connection is no banner.
	last := seg.Seq + wire.Seq(len(seg.Payload)) - 1
	banner := len(seg.Payload) > 0 && last.Within(x.serverISS+1, sane)
	if f.phase == PhaseBannerPending && x.synISS != f.conn.IRS {
		hideHeader(seg, f.conn.IRS+1)
	}
	x.nat.ToClient(seg)
	again := x.track.Server.Repeats(seg)
	tcpstate.Saw(&x.track.Server, &x.track.Client, seg, uint32(seg.Wnd)<<max(0, f.conn.OwnScale()))
	if seg.Options.Timestamps && !seg.Flags.Has(wire.RST) {
		x.clientTS = seg.Options.TSval
	}
	if f.phase == PhaseBannerPending {
		// What we may yet say begins behind its FIN, if there was one, and no earlier than its clock, if that is faster.
		f.conn.SndNxt = x.track.Server.Next
		f.conn.NotBefore(s.now, x.clientTS)
		if banner {
			x.banner = s.now
			s.enter(f, PhaseSpliced)
			if s.frontend(f).Live && f.words&observed == 0 {
				s.event(f, EventPassed, CauseNone)
			}
		}
	}
	svc := &s.cfg.Services[f.service]
	seg.SetSource(svc.Addr, svc.Port)
	if s.cfg.Servers[x.server].Source.used() {
		seg.SetDestination(f.client, f.clientPort)
	}
	s.forward(wire.Outside, seg, again)
	s.seen(id, f, x, CauseServerRST)
}

// forward passes a rewritten frame on, one hop poorer; again as in Out.
func (s *Shard) forward(side wire.Side, seg *wire.Segment, again bool) {
	if !seg.Forward() {
		s.drop(DropTTL)
		return
	}
	seg.Seal()
	s.stats.Forwarded++
	s.out = append(s.out, Out{Side: side, Again: again, Dst: seg.Dst, Frame: seg.Frame()})
}

// seen notes that a flow is alive, or that the segment just passed has ended it; then reset says who reset it.
func (s *Shard) seen(id uint32, f *flow, x *splice, reset Cause) {
	x.lastSeen = s.now
	over := x.track.Over()
	switch {
	case over && f.phase != PhaseLingering:
		s.linger(id, f, x, reset)
	case !over && f.phase == PhaseLingering && x.banner != 0: // the RST was not believed: its sender goes on
		s.enter(f, PhaseSpliced)
		s.push(id, s.waits.tick(&x.track))
	case f.phase != PhaseLingering && f.queue != s.waits.tick(&x.track): // its first FIN
		s.push(id, s.waits.tick(&x.track))
	}
}

// synInSplice answers a SYN for a connection that stands with a challenge ACK (RFC 5961 section 4.2): a client that has
// lost it sends an RST in return, which goes its way to the server. One that has ended gives way to a new one (RFC
// 6191).
func (s *Shard) synInSplice(id uint32, f *flow, x *splice, seg *wire.Segment) {
	if f.phase == PhaseLingering && seg.Flags&(wire.SYN|wire.ACK|wire.RST|wire.FIN) == wire.SYN && later(f, x, seg) {
		s.restart(id, f, seg)
		return
	}
	s.challengeInSplice(f, x)
}

// challengeInSplice sends an ACK that the server could have sent last: with its window, and with its clock, for that may
// be slower than ours, and what the server says next would then be older to the client than this (RFC 7323 section 5.3).
func (s *Shard) challengeInSplice(f *flow, x *splice) {
	if !s.allowACK(f) {
		s.drop(DropRateLimited)
		return
	}
	s.stats.ChallengeACKs++
	h := f.conn.ACK(s.now)
	h.Seq, h.Ack, h.TSval = x.track.Server.Next, x.track.Client.Acked, x.clientTS
	h.Wnd = uint16(min(uint32(x.track.Client.Edge-h.Ack)>>max(0, f.conn.OwnScale()), math.MaxUint16))
	s.sendClient(f, h, nil)
}

func later(f *flow, x *splice, seg *wire.Segment) bool {
	return x.track.Client.RST || x.track.Server.RST || f.conn.Reopens(seg, x.track.Client.Next)
}

// idleCheck looks from time to time whether a spliced flow is silent for too long. The time of the last segment is
// kept, not a deadline: a packet then costs no queue operation.
func (s *Shard) idleCheck(id uint32, f *flow) {
	x := s.exts.At(f.ext)
	times := &s.waits.times[s.cfg.Services[f.service].Frontend]
	if s.now.Sub(x.lastSeen) < times.patience(&x.track.Client, &x.track.Server) {
		s.push(id, s.waits.tick(&x.track))
		return
	}
	s.resetBoth(f, x)
	s.close(f, CauseIdle)
	s.forget(id, f)
}

// resetBoth ends a splice from the middle, each RST at exactly the number that its receiver expects.
func (s *Shard) resetBoth(f *flow, x *splice) {
	h := f.conn.RST(s.now)
	h.Seq, h.Ack, h.TSval = x.track.Server.Acked, x.track.Client.Next, x.clientTS
	if x.track.Server.Next.After(h.Seq) {
		h.Seq = x.track.Server.Next
	}
	s.sendClient(f, h, nil)
	h = s.serverHeader(f, x, x.track.Client.Next, wire.RST|wire.ACK)
	h.Ack = x.nat.ServerSeq(x.track.Server.Next)
	h.Timestamps, h.TSval, h.TSecr = f.conn.Timestamps(), f.conn.TSRecent, x.nat.ServerTSval(x.clientTS)
	s.send(wire.Inside, &h, nil)
}
