package replay

import (
	"net/netip"
	"time"
)

// seenThings are the moments that the outcome depends on.
type seenThings struct{ ready, talk, banner, left moment }

// judge derives the outcome.
func (c *conn) judge() Result {
	r := Result{
		ID: c.id, Client: netip.AddrPortFrom(c.key.client.Netip(), c.clientPort), Begin: c.begin,
		Server: netip.AddrPortFrom(c.key.server.Netip(), c.serverPort), Banner: -1, FirstByte: -1,
		Line: firstLine(c.line), Segments: c.client.segments + c.server.segments, Notes: c.notes, Untimed: c.untimed,
	}
	if !c.reset && !(c.client.fin && c.server.fin) {
		r.Notes |= NoteUnfinished
	}
	s, blind := c.things(&r)
	switch {
	case !c.client.known:
		r.Outcome = Unjudged
		return r
	case !s.ready.seen():
		r.Outcome = NoHandshake
		return r
	}
	until := c.decide(&r, &s, blind)
	since := func(m moment) time.Duration {
		if !m.seen() {
			return -1
		}
		return max(0, m.at.Sub(s.ready.at))
	}
	r.Banner, r.FirstByte = since(s.banner), since(s.talk)
	if !s.banner.seen() {
		r.Notes |= NoteNoBanner
	}
	for _, m := range []moment{c.server.left, c.now} { // a client waited until the server left, or to the capture's end
		if !until.seen() {
			until = m
		}
	}
	r.Silent = since(until)
	return r
}

// things finds the moments of a connection, as far as its ends were captured, and whether the client talked without having seen any of
// the banner.
//
// What the capture lacks is known by the numbers of what it has: if an end acknowledged what was not captured, or goes on behind it,
// then that was sent before. So the first octet of the client never comes before that of a banner which it has seen.
func (c *conn) things(r *Result) (s seenThings, blind bool) {
	s = seenThings{c.ready, c.client.talk, c.server.talk, c.client.left}
	lacks := c.client.guessed || c.server.guessed
	switch {
	case c.client.segments == 0: // what the client did is known by what the server acknowledged
		r.Notes |= NoteServerOnly
		s.ready, s.talk = c.synack, c.taken
		blind = s.talk.seen() && !s.banner.before(s.talk)
	case c.server.segments == 0:
		r.Notes |= NoteClientOnly
		s.banner = c.saw
		blind = s.talk.before(c.saw)
	default:
		if c.saw.before(s.banner) {
			s.banner, lacks = c.saw, true
		}
		blind = s.talk.before(c.saw)
		if c.payloadAcked() && c.taken.before(s.talk) {
			s.talk, lacks = c.taken, true
			blind = !s.banner.before(s.talk)
		}
	}
	if lacks {
		r.Notes |= NoteIncomplete
	}
	return s, blind
}

// payloadAcked reports whether the server acknowledged more of the client's than a FIN that the capture lacks may be.
func (c *conn) payloadAcked() bool {
	return c.client.acked.After(c.client.isn + 2)
}

// decide compares the moments, and returns the one that the outcome is about.
func (c *conn) decide(r *Result, s *seenThings, blind bool) moment {
	switch {
	case blind && !s.left.before(s.talk):
		r.Outcome = Talked
		if s.banner.before(s.talk) {
			r.Notes |= NoteCrossed
		}
		return s.talk
	case s.left.before(s.banner):
		r.Outcome = HungUp
		s.talk = moment{} // what the server acknowledges behind the client's end is not the client's
		return s.left
	}
	r.Outcome = Waited
	return s.banner
}

// firstLine cuts the text behind its first line.
func firstLine(text []byte) []byte {
	for i, b := range text {
		if b == '\n' {
			if i > 0 && text[i-1] == '\r' {
				i--
			}
			return text[:i]
		}
	}
	return text
}
