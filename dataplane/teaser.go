package dataplane

import (
	"time"

	"hushgate/internal/flowtab"
	"hushgate/internal/wire"
)

// A teaser is the first line of a greeting of several lines ("220-..."), sent when the hold begins; the server's own greeting
// follows (postscreen: postscreen_greet_banner). The delay begins when the client has acknowledged all of it, so that the client
// has seen it for the whole delay. No server is contacted before that: nothing of the teaser is left to be sent again when the
// server's octets follow it.

// tease sends the teaser, as far as the client's window allows.
func (s *Shard) tease(id uint32, f *flow) {
	s.sayMore(f)
	s.push(id, s.teaserAgain(f)[0])
}

// teaserAgain returns the waits before the teaser is sent again.
func (s *Shard) teaserAgain(f *flow) []flowtab.QueueID {
	if f.conn.Repeated() {
		return s.waits.slowTeaser
	}
	return s.waits.teaser
}

// teasing reports whether the client has not acknowledged all of a flow's teaser.
func (s *Shard) teasing(f *flow) bool {
	t := s.treatment(f)
	return t.Teaser != "" && f.conn.Unacked(t.Teaser.Len(f.client)) > 0
}

// teased returns how many octets of a teaser were sent to a flow's client.
func (s *Shard) teased(f *flow) uint64 {
	t := &s.treatments.slots[f.treated]
	if t.Teaser == "" {
		return 0
	}
	return uint64(min(t.Teaser.Len(f.client), int(f.conn.SndNxt-f.conn.ISS-1)))
}

// teaserHeard goes on after a client's ACK, which may be for a part of the teaser; una is SND.UNA before it.
func (s *Shard) teaserHeard(id uint32, f *flow, una wire.Seq) {
	n := s.treatment(f).Teaser.Len(f.client)
	if n == 0 || int(una-f.conn.ISS-1) >= n {
		return
	}
	s.sayMore(f)
	switch {
	case f.conn.Unacked(n) == 0:
		s.teaserDone(id, f)
	case f.conn.SndUna != una: // RFC 6298 section 5.3
		f.tries = 0
		s.push(id, s.teaserAgain(f)[0])
	}
}

// teaserDone begins the delay or, if that is over, the search for a server.
func (s *Shard) teaserDone(id uint32, f *flow) {
	if f.phase == PhaseHeld {
		f.tries = 0
		s.push(id, s.delayOf(f))
		return
	}
	s.exts.At(f.ext).delayOver = s.now
	s.findServer(id, f)
}

// delayOf returns the queue for the delay of a flow. Each treatment that a flow can have has one, see teaserDelays.
func (s *Shard) delayOf(f *flow) flowtab.QueueID {
	if q, known := s.waits.delay[s.treatment(f).Delay]; known {
		return q
	}
	return s.waits.delay[s.frontend(f).Delay]
}

// teaserDelays returns the delays that connections begin when they have acknowledged their teaser. They were decided when the
// teaser was sent, and must have a queue in a later configuration too.
func (t *treatments) teaserDelays() (list []time.Duration) {
	for i := 1; i < len(t.slots); i++ {
		if v := &t.slots[i]; v.flows > 0 && v.Teaser != "" {
			list = append(list, v.Delay)
		}
	}
	return list
}

// addTeaserDelays adds the queues that connections with a teaser may still need after a reload: of those that the shard has, and
// of those that may come before it; false if there is no room.
func (s *Shard) addTeaserDelays(wanted *flowtab.Queues) bool {
	list := s.treatments.teaserDelays()
	for i := range s.cfg.Frontends {
		if f := &s.cfg.Frontends[i]; f.Teaser != "" {
			list = append(list, f.Delay)
		}
	}
	if s.cfg.Policy != nil {
		for i := range s.cfg.Policy.Treatments() {
			if t := &s.cfg.Policy.Treatments()[i]; t.Teaser != "" {
				list = append(list, t.Delay)
			}
		}
	}
	if len(list) == 0 {
		return true
	}
	needed := flowtab.NewQueues(nil)
	(&waits{}).setTeaser(needed)
	if !wanted.Fits(needed) {
		return false
	}
	(&waits{}).setTeaser(wanted)
	for _, d := range list {
		if !wanted.Room(living, d) {
			return false
		}
		wanted.Queue(d)
	}
	return true
}

// teaserTimeout sends the teaser again, or an octet of it to probe a closed window. A client that acknowledges nothing for too
// long is given up: it could not hear a server's banner either.
func (s *Shard) teaserTimeout(id uint32, f *flow) {
	f.tries++
	waits := s.teaserAgain(f)
	if int(f.tries) >= len(waits) {
		s.hangUp(f, CauseClientTimeout)
		s.sendClient(f, f.conn.RST(s.now), nil)
		s.forget(id, f)
		return
	}
	if h, part, ok := f.conn.Retransmit(s.now, s.text(f)); ok {
		s.stats.TeasersAgain++
		s.sendClient(f, h, part)
		s.again()
	}
	s.push(id, waits[f.tries])
}

// reachOut contacts a server for a flow whose delay is over, as soon as the client has acknowledged the teaser.
func (s *Shard) reachOut(id uint32, f *flow) {
	if !s.teasing(f) {
		s.findServer(id, f)
		return
	}
	s.tease(id, f)
}

// hideTeaser removes what is about the teaser from a client's segment, because the server did not send it: a late
// acknowledgement of a part of it, and D-SACK blocks (RFC 2883) about what we sent twice.
func (s *Shard) hideTeaser(f *flow, x *splice, seg *wire.Segment) {
	first := x.nat.ClientSeq(x.serverISS + 1)
	if first == f.conn.ISS+1 {
		return
	}
	if seg.Flags.Has(wire.ACK) && seg.Ack.Before(first) {
		seg.SetAck(first)
	}
	for i := 0; i < 2*seg.Options.SACKBlocks; i += 2 {
		if seg.SACKEdge(i).Before(first) {
			seg.StripSACK()
		}
	}
}
