package tcpstate

import (
	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// mssClasses are the client MSS values that a cookie can hold, ascending; the largest that does not exceed the client's is
// used. They are the values that most IPv4 and IPv6 clients send.
var mssClasses = [1 << (24 - classShift)]uint16{minMSS, 536, 1220, 1300, 1440, 1460, 4036, 8960}

// classShift keeps the classes far apart in the 24 bits, so that a number close to a cookie is not a valid one.
const classShift = 21

func mssClass(mss uint16) uint32 {
	c := len(mssClasses) - 1
	for c > 0 && mssClasses[c] > mss {
		c--
	}
	return uint32(c)
}

// Cookie returns an ISS from which Verify can recognise the connection when its ACK comes, although nothing was stored for the
// SYN. The layout is that of Linux's SYN cookies: the counter in the upper 8 bits, and in the lower 24 the class of the
// client's MSS, hidden by a hash. The hash covers the IRS, so that a keep-alive, which is one number lower, does not look like
// a connection shifted by one octet. An ISS of a connection with a record is never a Cookie, so that a rejected connection
// cannot be opened again by its late segments.
func (k Secret) Cookie(t *Tuple, irs wire.Seq, mss uint16, now mono.Time) wire.Seq {
	count := tick(now)
	return k.base(t, irs) + wire.Seq(count<<24+(k.hash(t, irs, count, cookieLow)+mssClass(mss)<<classShift)&0xffffff)
}

// Verify reports whether iss is a Cookie that was given out for that tuple and IRS in this tick or the one before, and returns
// the MSS of its class.
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

// The low bits of the timestamp in a stateless SYN-ACK, which the client will echo: the client's window shift (15: not
// offered), and whether SACK was agreed on. Linux does the same.
const (
	cookieScaleMask = 0x0f
	cookieNoScale   = 0x0f
	cookieSACK      = 0x10
	cookieTSMask    = 0x3f
)

// SetISS replaces the ISS of c after Accept: a Cookie needs the client's MSS, which Accept determines.
func (c *Conn) SetISS(iss wire.Seq) { c.ISS, c.SndUna, c.SndNxt = iss, iss, iss+1 }

// Stateless prepares c for a SYN-ACK with a Cookie: c must be recoverable from the ACK alone. Without timestamps, SACK and
// window scale cannot be recovered and are not agreed on. With timestamps, SYNACK encodes them in its timestamp.
func (c *Conn) Stateless() {
	if !c.Timestamps() {
		c.terms &^= termSACK | termScale
		c.scales = 0
		return
	}
	c.terms |= termStateless
}

// cookieTSval encodes the options in the low bits of a timestamp. The result is never later than ts.
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

// Recall restores c from the ACK of a stateless SYN-ACK, whose number Verify has accepted: it is in SYN-RECEIVED, as when the
// SYN-ACK was sent. The segment must then be given to Arrive.
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
