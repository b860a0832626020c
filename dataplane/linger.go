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
