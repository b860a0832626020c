package dataplane

import "hushgate/internal/wire"

// linger tells the end of a splice and keeps its record for a while: the last ACK may be lost, and segments that are
// still on their way must not meet an RST of ours. After an RST nobody repeats anything, and the time is short.
func (s *Shard) linger(id uint32, f *flow, x *splice, reset Cause) {
	cause := CauseFinished
	wait := s.waits.timeWait[s.cfg.Services[f.service].Frontend]
	if x.track.Client.RST || x.track.Server.RST {
		cause, wait = reset, s.waits.lingerReset
	}
	s.close(f, cause)
	s.enter(f, PhaseLingering)
	s.push(id, wait)
}

// afterTheEnd takes a client's segment behind the end. One that ended before the banner still may not talk: what reset it
// here may never have reached the server, or not have been believed there.
func (s *Shard) afterTheEnd(id uint32, f *flow, seg *wire.Segment) {
	x := s.exts.At(f.ext)
	if x.banner != 0 || f.words&observed != 0 || len(seg.Payload) == 0 || seg.Flags.Has(wire.SYN) {
		if x.track.Server.Gone && !seg.Flags.Has(wire.SYN|wire.RST) {
			s.afterReset(wire.Outside, seg)
			return
		}
		s.clientToServer(id, f, seg)
		return
	}
	if !seg.ChecksumOK() {
		s.drop(DropChecksum)
		return
	}
	s.resetBoth(f, x)
	s.forget(id, f)
}

// fromServerAfterTheEnd takes a server's segment behind the end.
func (s *Shard) fromServerAfterTheEnd(id uint32, f *flow, seg *wire.Segment) {
	if s.exts.At(f.ext).track.Client.Gone && !seg.Flags.Has(wire.RST) {
		s.afterReset(wire.Inside, seg)
		return
	}
	s.serverToClient(id, f, seg)
}

// afterReset answers a segment to an end that has reset the connection as that end's TCP does (RFC 9293 section 3.10.7.1):
// the RST may have been lost, and its sender may be a firewall that lets nothing more through. Its number is the segment's
// own ACK, so that it needs no translation.
func (s *Shard) afterReset(side wire.Side, seg *wire.Segment) {
	if !seg.ChecksumOK() {
		s.drop(DropChecksum)
		return
	}
	s.refuse(side, seg)
}
