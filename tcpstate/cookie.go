package tcpstate

import (
	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// mssClasses are the client MSS values that an ISS can carry, ascending: the largest that is not above the client's own
// is taken. They are those that most clients of either family really send.
var mssClasses = [1 << (24 - classShift)]uint16{minMSS, 536, 1220, 1300, 1440, 1460, 4036, 8960}

// classShift keeps the classes far apart in the 24 bits, so that a number next to a cookie is none.
const classShift = 21

func mssClass(mss uint16) uint32 {
	c := len(mssClasses) - 1
	for c > 0 && mssClasses[c] > mss {
		c--
	}
	return uint32(c)
}

// Cookie returns an ISS from which Verify can tell the connection again when its ACK comes back, although nothing was
// kept of the SYN: the layout is that of Linux's SYN cookies, the counter in the upper 8 bits, the class of the client's
// MSS hidden by a hash in the lower 24; the hash covers the IRS, so that a keep-alive, one number lower, is not told again
// as a connection one octet off. It is not an ISS of the other kind: a connection of which a record was kept is
// never told again, so that what was rejected stays rejected.
func (k Secret) Cookie(t *Tuple, irs wire.Seq, mss uint16, now mono.Time) wire.Seq {
	count := tick(now)
	return k.base(t, irs) + wire.Seq(count<<24+(k.hash(t, irs, count, cookieLow)+mssClass(mss)<<classShift)&0xffffff)
}

// Verify tells whether iss is a Cookie that was given out for that tuple and IRS in this tick or the one before, and
// which MSS class is in it.
func (k Secret) Verify(t *Tuple, irs, iss wire.Seq, now mono.Time) (mss uint16, ok bool) {
	v := uint32(iss - k.base(t, irs))
	count := tick(now)
	age := (count - v>>24) & 0xff
	if age > 1 {
		return 0, false
	}
	low := (v - k.hash(t, irs, count-age, cookieLow)) & 0xffffff
	class := low >> classShift
	if low != class<<classShift {
		return 0, false
	}
	return mssClasses[class], true
}

// What a stateless SYN-ACK's timestamp carries in its low bits, where the client will echo it: the client's window shift
// (15: none was offered) and whether SACK was agreed on. (Linux has the same.)
const (
	cookieScaleMask = 0x0f
	cookieNoScale   = 0x0f
	cookieSACK      = 0x10
	cookieTSMask    = 0x3f
)

// SetISS gives c, just accepted, another ISS: a Cookie can only be made when the client's MSS is known.
func (c *Conn) SetISS(iss wire.Seq) { c.ISS, c.SndUna, c.SndNxt = iss, iss, iss+1 }

// Stateless turns c, just accepted with a Cookie for its ISS, into what can be told again from the ACK alone: without
// timestamps the options that need a memory are not agreed on. SYNACK then hides the rest in the timestamp.
func (c *Conn) Stateless() {
	if !c.Timestamps() {
		c.terms &^= termSACK | termScale
		c.scales = 0
		return
	}
	c.terms |= termStateless
}

// cookieTSval puts the options into the low bits of a timestamp, which never runs ahead of the clock.
func (c *Conn) cookieTSval(ts uint32) uint32 {
	bits := uint32(cookieNoScale)
	if s := c.ClientScale(); s != wire.NoScale {
		bits = uint32(s)
	}
	if c.SACK() {
		bits |= cookieSACK
	}
	v := ts&^cookieTSMask | bits
	if int32(v-ts) > 0 {
		v -= cookieTSMask + 1
	}
	return v
}

// Recall fills c in for the ACK of a stateless SYN-ACK, whose number Verify has found good: SYN-RECEIVED as it was when
// the SYN-ACK went out. The segment is then to Arrive.
func (c *Conn) Recall(seg *wire.Segment, mss uint16, tsOffset uint32, ownScale int8) {
	*c = Conn{
		ISS: seg.Ack - 1, SndUna: seg.Ack - 1, SndNxt: seg.Ack, IRS: seg.Seq - 1, RcvNxt: seg.Seq,
		TSOffset: tsOffset, SndWnd: seg.Wnd, MSS: mss, State: SynReceived,
	}
	if !seg.Options.Timestamps {
		return
	}
	c.terms = termTimestamps
	c.TSRecent = seg.Options.TSval
	echo := seg.Options.TSecr
	if echo&cookieSACK != 0 {
		c.terms |= termSACK
	}
	if s := echo & cookieScaleMask; s != cookieNoScale && ownScale != wire.NoScale {
		c.terms |= termScale
		c.scales = uint8(s) | uint8(ownScale)<<4
	}
}
