package replay

import (
	"net/netip"
	"time"
)

// seenThings are the moments that decide the outcome.
type seenThings struct{ ready, talk, banner, left moment }

// judge determines the outcome.
func (c *conn) judge() Result {
	r := Result{
		ID: c.id, Client: netip.AddrPortFrom(c.key.client.Netip(), c.clientPort), Begin: c.begin, End: c.now.at,
		Server: netip.AddrPortFrom(c.key.server.Netip(), c.serverPort), Banner: -1, FirstByte: -1,
		Line: firstLine(c.line), Segments: c.client.segments + c.server.segments, Notes: c.notes, Untimed: c.untimed,
		Signature: c.signature,
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
	for _, m := range []moment{c.server.left, c.now} { // the client waited until the server left, or to the end of the capture
		if !until.seen() {
			until = m
		}
	}
	r.Silent = since(until)
	return r
}

// things finds the decisive moments of a connection, as far as its ends were captured. Blind says that the client talked
// before it had seen any of the banner.
//
// Missing packets are recognised by the numbers of the others: if an end acknowledges something that was not captured, or
// continues after it, then it was sent before. So a client's first octet is never placed before that of a banner that the
// client has seen.
func (c *conn) things(r *Result) (s seenThings, blind bool) {
	s = seenThings{c.ready, c.client.talk, c.server.talk, c.client.left}
	lacks := c.client.guessed || c.server.guessed
	switch {
	case c.client.segments == 0: // the server's acknowledgements show what the client did
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

// payloadAcked reports whether the server acknowledged more from the client than a missing FIN could be.
func (c *conn) payloadAcked() bool {
	return c.client.acked.After(c.client.isn + 2)
}

// decide compares the moments, and returns the one that decides the outcome.
func (c *conn) decide(r *Result, s *seenThings, blind bool) moment {
	switch {
	case blind && !s.left.before(s.talk):
		r.Outcome = Talked
		if s.banner.before(s.talk) {
			r.Notes |= NoteCrossed
		}
		return s.talk
	case s.left.before(s.banner) && !c.server.left.before(s.left): // if the server left first, the client only followed
		r.Outcome = HungUp
		s.talk = moment{} // what the server acknowledges after the client's end is not payload
		return s.left
	}
	r.Outcome = Waited
	return s.banner
}

// firstLine returns the first line of the text.
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
