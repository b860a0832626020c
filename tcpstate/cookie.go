package tcpstate

import (
	"encoding/binary"
	"time"

	"github.com/dchest/siphash"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// Secret keys the numbers that strangers must not guess: 128 bits, drawn at each start.
type Secret [2]uint64

// Tuple names a connection.
type Tuple struct {
	Client      wire.Addr
	ClientPort  uint16
	Service     wire.Addr
	ServicePort uint16
}

// cookieTick is the period of the slow counter in an ISS. A cookie is good for this one and the next.
const cookieTick = time.Minute

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

// ISS returns the initial send sequence number for a client's SYN: a keyed function of the 4-tuple, the client's own
// number and a slow counter. For one tuple it grows with the client's number and with time, as RFC 6528 asks.
func (k Secret) ISS(t *Tuple, irs wire.Seq, now mono.Time) wire.Seq {
	count := tick(now)
	return k.base(t, irs) + wire.Seq(count<<24+k.hash(t, 0, count, issLow)&0xffffff)
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

func tick(now mono.Time) uint32 { return uint32(int64(now) / int64(cookieTick)) }

func (k Secret) base(t *Tuple, irs wire.Seq) wire.Seq { return wire.Seq(k.hash(t, 0, 0, base)) + irs }

// TimestampOffset returns what our timestamps towards a client are ahead of the clock, so that they tell nobody how
// long the machine has been up and grow for one pair of addresses.
func (k Secret) TimestampOffset(t *Tuple) uint32 {
	pair := Tuple{Client: t.Client, Service: t.Service}
	return k.hash(&pair, 0, 0, timestampBase)
}

// What a hash is for, so that one of them says nothing about another.
const (
	base = iota
	issLow
	cookieLow
	timestampBase
)

func (k Secret) hash(t *Tuple, irs wire.Seq, count uint32, use byte) uint32 {
	var b [45]byte
	copy(b[:], t.Client[:])
	copy(b[16:], t.Service[:])
	binary.BigEndian.PutUint16(b[32:], t.ClientPort)
	binary.BigEndian.PutUint16(b[34:], t.ServicePort)
	binary.BigEndian.PutUint32(b[36:], count)
	b[40] = use
	binary.BigEndian.PutUint32(b[41:], uint32(irs))
	return uint32(siphash.Hash(k[0], k[1], b[:]))
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
