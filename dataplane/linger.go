package dataplane

import "hushgate/internal/wire"

// linger reports the end of a splice and keeps its record for a while. The last ACK may be lost, and segments still on their
// way must not be answered with an RST of ours. After an RST nothing is retransmitted, so the time is short.
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

// afterTheEnd handles a client's segment after the end of a splice. If the splice ended before the banner, payload is still
// early talk: the server may not have received, or not have accepted, the RST that ended the splice here.
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

// fromServerAfterTheEnd handles a server's segment after the end of a splice.
func (s *Shard) fromServerAfterTheEnd(id uint32, f *flow, seg *wire.Segment) {
	if s.exts.At(f.ext).track.Client.Gone && !seg.Flags.Has(wire.RST) {
		s.afterReset(wire.Inside, seg)
		return
	}
	s.serverToClient(id, f, seg)
}

// afterReset answers a segment to an end that has reset the connection, as that end's TCP would (RFC 9293 section 3.10.7.1).
// The first RST may have been lost, and a firewall at the end that sent it may let nothing else through. The number of this
// RST is the segment's own ACK, so that it needs no translation.
func (s *Shard) afterReset(side wire.Side, seg *wire.Segment) {
	if !seg.ChecksumOK() {
		s.drop(DropChecksum)
		return
	}
	s.refuse(side, seg)
}
