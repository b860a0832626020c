package dataplane

import (
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// tarpitShare: at most one in so many records may be in the tarpit, if Limits.Tarpit says nothing else.
const tarpitShare = 4

// tarpitRecords is how many records the shard's tarpit has room for.
func (s *Shard) tarpitRecords() int64 {
	lim := s.cfg.Limits.withDefaults()
	if lim.Tarpit == 0 {
		return int64(max(1, lim.Flows/tarpitShare))
	}
	shards := max(1, s.cfg.Shards)
	return int64(max(1, (lim.Tarpit+shards-1)/shards))
}

// trap keeps an ended connection open with a closed window, which costs the client a connection and us a record: the client
// cannot send, and probes the window (RFC 9293 section 3.8.6.1). If the tarpit is full, the client is reset.
func (s *Shard) trap(id uint32, f *flow) {
	if s.stats.Phase[PhaseTarpit] >= s.tarpitRecords() {
		s.stats.TarpitFull++
		s.sendClient(f, f.conn.RST(s.now), nil)
		s.forget(id, f)
		return
	}
	s.enter(f, PhaseTarpit)
	s.push(id, s.waits.tarpit[s.cfg.Services[f.service].Frontend])
	s.sendClosed(f)
}

// sendClosed acknowledges nothing new and closes the window.
func (s *Shard) sendClosed(f *flow) {
	h := f.conn.ACK(s.now)
	h.Wnd = 0
	s.sendClient(f, h, nil)
}

// trapped answers a segment of a client in the tarpit: probes, keep-alives, data and FINs get an ACK with a closed window, one
// each. Nothing is taken, so that our end stays as it was.
func (s *Shard) trapped(id uint32, f *flow, seg *wire.Segment) {
	if !seg.ChecksumOK() {
		s.drop(DropChecksum)
		return
	}
	judge := f.conn
	switch out := judge.Arrive(seg); {
	case out.Events.Has(tcpstate.Reset):
		s.forget(id, f)
	case len(seg.Payload) == 0 && !seg.Flags.Has(wire.FIN) && out.Reply == tcpstate.Silence: // an ACK
	case !s.allowACK(f):
		s.drop(DropRateLimited)
	default:
		s.sendClosed(f)
	}
}

// tarpitOver ends a connection that was in the tarpit long enough.
func (s *Shard) tarpitOver(id uint32, f *flow) {
	s.sendClient(f, f.conn.RST(s.now), nil)
	s.forget(id, f)
}
