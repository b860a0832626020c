package dataplane

import (
	"hushgate/internal/ehlo"
	"hushgate/internal/wire"
)

// mask makes a splice's server offer no extension that lets clients talk before the banner (Frontend.HidePipeconnect). The
// record is there until the client has acknowledged all that was looked at.
func (s *Shard) mask(f *flow, x *splice) {
	if x.masker == 0 && s.frontend(f).HidePipeconnect {
		x.masker, _ = s.masks.Alloc() // there are as many as flows
	}
	if x.masker != 0 {
		*s.masks.At(x.masker) = ehlo.Masker{}
	}
}

func (s *Shard) unmask(x *splice) {
	if x.masker != 0 {
		s.masks.Free(x.masker)
		x.masker = 0
	}
}

// masked hides what the client must not see in a server's segment, whose checksum is right and whose first octet has the given
// offset in the server's stream. It returns false for a segment that must not be passed on now: one beyond a hole, which the
// server sends again.
func (s *Shard) masked(x *splice, seg *wire.Segment, offset wire.Seq) bool {
	m, text, skip := s.masks.At(x.masker), seg.Payload, 0
	if int32(offset) < 0 { // a keep-alive's octet, or one of an older connection
		skip = min(len(text), -int(int32(offset)))
		offset += wire.Seq(skip)
	}
	if len(text) > skip && !m.Mask(uint32(offset), text[skip:], func(i int, c byte) { seg.SetOctet(skip+i, c) }) {
		return false
	}
	if m.Ended() && x.track.Server.Acked.AtOrAfter(x.nat.ClientSeq(x.serverISS+1)+wire.Seq(m.Next())) {
		s.unmask(x)
	}
	return true
}
