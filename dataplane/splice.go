package dataplane

import (
	"math"

	"hushgate/internal/policy"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// watchForBanner handles a client's segment before the banner, when payload is still early talk.
func (s *Shard) watchForBanner(id uint32, f *flow, seg *wire.Segment) {
	if !seg.ChecksumOK() {
		s.drop(DropChecksum)
		return
	}
	if (len(seg.Payload) == 0 || f.words&observed != 0) && !seg.Flags.Has(wire.SYN) {
		s.clientToServer(id, f, seg)
		return
	}
	// Such a segment is never passed on. A copy of our own end judges it, because the server answers the client now and our
	// end must not change.
	x, judge := s.exts.At(f.ext), f.conn
	judge.RcvNxt = x.track.Client.Acked // this includes the client's FIN, if the server has acknowledged it
	switch out := judge.Arrive(seg); {
	case out.Events.Has(tcpstate.Talked) && s.treatment(f).Talk == policy.TalkObserve:
		s.observe(id, f, seg)
		s.clientToServer(id, f, seg)
	case out.Events.Has(tcpstate.Talked):
		s.earlyTalk(id, f, seg)
	case out.Events.Has(tcpstate.Reset): // an RST with a text, which RFC 9293 section 3.5.3 allows
		s.clientReset(id, f)
	case out.Events.Has(tcpstate.Finished): // a FIN with an octet that is already acknowledged: no TCP sends that
		s.drop(DropFlags)
	case out.Reply != tcpstate.Silence:
		s.challengeInSplice(f, x)
	}
}

// clientToServer translates a segment and passes it on.
func (s *Shard) clientToServer(id uint32, f *flow, seg *wire.Segment) {
	x := s.exts.At(f.ext)
	// A number beyond all known ones may be corrupt, and must not count before its checksum is verified.
	if (seg.Flags.Has(wire.SYN|wire.RST|wire.FIN) || seg.Seq.After(x.track.Client.Next)) && !seg.ChecksumOK() {
		s.drop(DropChecksum)
		return
	}
	if seg.Flags.Has(wire.SYN) {
		s.synInSplice(id, f, x, seg)
		return
	}
	if seg.TTL <= 1 { // before the segment has any effect
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
		f.conn.Follow(seg) // for our ACK, if the server sends its SYN-ACK again
	}
	again := x.track.Client.Repeats(seg)
	tcpstate.Saw(&x.track.Client, &x.track.Server, seg, uint32(seg.Wnd)<<max(0, f.conn.ClientScale()))
	if seg.Options.SACKBlocks > 0 || seg.Ack.Before(x.track.Server.Acked) {
		s.hideTeaser(f, x, seg)
	}
	x.nat.ToServer(seg)
	if seg.Options.Timestamps && f.conn.Timestamps() && seg.Ack == x.serverISS+1 && int32(seg.Options.TSecr-x.serverTS) < 0 {
		seg.SetTSecr(x.serverTS) // it echoes the timestamp of our SYN-ACK, which is older than the server's first
	}
	srv := &s.cfg.Servers[x.server]
	if srv.Source.used() {
		seg.SetSource(srv.Source.Addr, x.port)
	}
	seg.SetDestination(srv.Addr, srv.Port)
	s.forward(wire.Inside, seg, again)
	s.seen(id, f, x, CauseClientRST)
}

// sane bounds how far the banner may lie from the server's first octet: the largest window of TCP.
const sane = 1 << 30

// serverToClient translates a segment and passes it on.
func (s *Shard) serverToClient(id uint32, f *flow, seg *wire.Segment) {
	x := s.exts.At(f.ext)
	// Verify checksums as in clientToServer, and always before the banner, which ends the early-talk watch.
	if (seg.Flags.Has(wire.SYN|wire.RST|wire.FIN) || f.phase == PhaseBannerPending || x.masker != 0 ||
		seg.Seq.After(x.nat.ServerSeq(x.track.Server.Next))) && !seg.ChecksumOK() {
		s.drop(DropChecksum)
		return
	}
	switch {
	case seg.Flags.Has(wire.SYN): // its SYN-ACK again: our ACK was lost, and the client cannot repeat it
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
		x.track.Client.Acked == f.conn.IRS+1: // else the server has acknowledged data that the client will not send again
		switch first := x.serverISS + 1; {
		case seg.Seq == first: // it accepted the connection and then reset it
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
	// A keep-alive probe with its one garbage octet, or a segment left from an older connection, is not the banner.
	last := seg.Seq + wire.Seq(len(seg.Payload)) - 1
	banner := len(seg.Payload) > 0 && last.Within(x.serverISS+1, sane)
	if f.phase == PhaseBannerPending && x.synISS != f.conn.IRS {
		hideHeader(seg, f.conn.IRS+1)
	}
	if x.masker != 0 && !s.masked(x, seg, seg.Seq-x.serverISS-1) {
		s.drop(DropBeyondHole)
		return
	}
	x.nat.ToClient(seg)
	again := x.track.Server.Repeats(seg)
	tcpstate.Saw(&x.track.Server, &x.track.Client, seg, uint32(seg.Wnd)<<max(0, f.conn.OwnScale()))
	if seg.Options.Timestamps && !seg.Flags.Has(wire.RST) {
		x.clientTS = seg.Options.TSval
	}
	if f.phase == PhaseBannerPending {
		// A later reply of ours begins after the server's FIN, if there was one, and its timestamp is not before the server's.
		f.conn.SndNxt = x.track.Server.Next
		f.conn.NotBefore(s.now, x.clientTS)
		if banner {
			x.banner = s.now
			s.enter(f, PhaseSpliced)
			s.passed(f)
			if s.frontend(f).Live && (f.words&observed == 0 || s.treatment(f).Accepted) {
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

// forward passes a rewritten frame on with its TTL reduced by one; again means what it means in Out.
func (s *Shard) forward(side wire.Side, seg *wire.Segment, again bool) {
	if !seg.Forward() {
		s.drop(DropTTL)
		return
	}
	seg.Seal()
	s.stats.Forwarded++
	s.out = append(s.out, Out{Side: side, Again: again, Dst: seg.Dst, Frame: seg.Frame()})
}

// seen records that a flow is alive, or that the segment just forwarded has ended it. Reset is the cause if it was an RST.
func (s *Shard) seen(id uint32, f *flow, x *splice, reset Cause) {
	x.lastSeen = s.now
	over := x.track.Over()
	switch {
	case over && f.phase != PhaseLingering:
		s.linger(id, f, x, reset)
	case !over && f.phase == PhaseLingering && x.banner != 0: // the RST was not accepted: the end that got it goes on
		s.enter(f, PhaseSpliced)
		s.push(id, s.waits.tick(&x.track))
	case f.phase != PhaseLingering && f.queue != s.waits.tick(&x.track): // the first FIN
		s.push(id, s.waits.tick(&x.track))
	}
}

// synInSplice answers a SYN within a splice with a challenge ACK (RFC 5961 section 4.2). A client that has lost its
// connection then sends an RST, which is forwarded to the server. If the splice has ended, a later SYN opens a new
// connection (RFC 6191).
func (s *Shard) synInSplice(id uint32, f *flow, x *splice, seg *wire.Segment) {
	if f.phase == PhaseLingering && seg.Flags&(wire.SYN|wire.ACK|wire.RST|wire.FIN) == wire.SYN && later(f, x, seg) {
		s.restart(id, f, seg)
		return
	}
	s.challengeInSplice(f, x)
}

// challengeInSplice sends an ACK such as the server could have sent last, with the server's window and timestamp. Our own
// clock may be ahead of the server's: the client would then discard the server's next segment as old (RFC 7323 section 5.3).
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

// idleCheck checks periodically whether a splice was silent for too long. Each segment only stores its time, and does not
// move a deadline: so a packet costs no queue operation.
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

// resetBoth resets both ends of a splice, each with exactly the number that it expects next.
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
