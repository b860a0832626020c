package tcpstate

import (
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// Window is what we offer a client while we are silent, in octets. It is small, because no payload is read. It is not zero,
// because early talk can only be noticed if the client may send.
const Window = 4096

// Conn is our end of a client's connection. The names are RFC 9293's (section 3.3.1).
type Conn struct {
	ISS, IRS       wire.Seq
	SndUna, SndNxt wire.Seq
	RcvNxt         wire.Seq
	TSRecent       uint32 // TS.Recent of RFC 7323: the client's latest timestamp of a segment in sequence
	TSOffset       uint32 // our timestamps minus the clock
	SndWnd         uint16 // the client's last window field, as on the wire
	MSS            uint16 // the client's, never 0
	State          State
	terms          terms
	scales         uint8 // the client's shift in the low four bits, ours in the high ones; see terms
}

// terms are the options that both ends agreed on, and the progress of closing.
type terms uint8

const (
	termTimestamps terms = 1 << iota
	termSACK
	termScale
	termClosing   // Close was called: the client's payload is acknowledged and discarded
	termPeerFIN   // the client's FIN has arrived
	termRepeated  // our SYN-ACK was sent again after a timeout
	termStateless // no record is kept: SYNACK's timestamp carries the options
)

// Offer is what we agree to if the client offers it.
type Offer struct {
	WindowScale int8 // our shift, or wire.NoScale
	SACK        bool
	Timestamps  bool
}

// defaultMSS is the MSS of a SYN without the option (RFC 9293 section 3.7.1).
func defaultMSS(seg *wire.Segment) uint16 {
	if seg.Is4() {
		return 536
	}
	return 1220
}

// PeerMSS is the largest segment that the sender of a SYN or SYN-ACK accepts.
func PeerMSS(seg *wire.Segment) uint16 {
	mss := seg.Options.MSS
	if mss == 0 {
		mss = defaultMSS(seg)
	}
	return max(mss, minMSS)
}

// minMSS keeps a peer from making us send a reply in one-octet segments; Linux has the same bound (TCP_MIN_SND_MSS).
const minMSS = 48

// Accept initialises c for a SYN to a service, in SYN-RECEIVED (RFC 9293 section 3.10.7.2). Payload in the SYN is ignored:
// Fast Open was not offered, and the client sends the payload again. ECN is not agreed to.
func (c *Conn) Accept(seg *wire.Segment, iss wire.Seq, tsOffset uint32, offer Offer) {
	o := &seg.Options
	*c = Conn{
		ISS: iss, SndUna: iss, SndNxt: iss + 1,
		IRS: seg.Seq, RcvNxt: seg.Seq + 1,
		TSOffset: tsOffset, SndWnd: seg.Wnd, MSS: PeerMSS(seg), State: SynReceived,
	}
	if o.Timestamps && offer.Timestamps {
		c.terms |= termTimestamps
		c.TSRecent = o.TSval
	}
	if o.SACKPermitted && offer.SACK {
		c.terms |= termSACK
	}
	if o.WindowScale != wire.NoScale && offer.WindowScale != wire.NoScale {
		c.terms |= termScale
		c.scales = uint8(o.WindowScale) | uint8(offer.WindowScale)<<4
	}
}

// Timestamps reports whether both ends send timestamps.
func (c *Conn) Timestamps() bool { return c.terms&termTimestamps != 0 }

// Repeat records that the SYN-ACK was sent again because no answer came in time.
func (c *Conn) Repeat() { c.terms |= termRepeated }

// Repeated reports whether Repeat was called: the path is slow or loses segments, and needs a longer timeout (RFC 6298 section
// 5.7).
func (c *Conn) Repeated() bool { return c.terms&termRepeated != 0 }

// SACK reports whether the client may send SACK blocks.
func (c *Conn) SACK() bool { return c.terms&termSACK != 0 }

// ClientScale is the shift of the client's window fields, or wire.NoScale.
func (c *Conn) ClientScale() int8 {
	if c.terms&termScale == 0 {
		return wire.NoScale
	}
	return int8(c.scales & 0x0f)
}

// OwnScale is the shift that we told the client to apply to our window fields, or wire.NoScale.
func (c *Conn) OwnScale() int8 {
	if c.terms&termScale == 0 {
		return wire.NoScale
	}
	return int8(c.scales >> 4)
}

// SendWindow is the client's window in octets.
func (c *Conn) SendWindow() uint32 { return uint32(c.SndWnd) << max(0, c.ClientScale()) }

// RcvWnd is our window in octets: Window, or the smallest window above it that our shift can express.
func (c *Conn) RcvWnd() uint32 { return max(Window, uint32(1)<<max(0, c.OwnScale())) }

// TSval is our timestamp for a segment sent now, in milliseconds as in Linux.
func (c *Conn) TSval(now mono.Time) uint32 {
	return uint32(int64(now)/int64(time.Millisecond)) + c.TSOffset
}

// NotBefore advances our timestamps if they are behind one that the client has received from the server.
func (c *Conn) NotBefore(now mono.Time, ts uint32) {
	if late := ts - c.TSval(now); c.Timestamps() && int32(late) > 0 {
		c.TSOffset += late
	}
}

// Settled reports whether our FIN was acknowledged, so that nothing remains to be sent or retransmitted. Only the client's
// FIN, or its retransmission, may still come.
func (c *Conn) Settled() bool { return c.State == FinWait2 || c.State == TimeWait }

// Follow records the client's window, and its timestamp if it is later, from a segment that the server will answer.
func (c *Conn) Follow(seg *wire.Segment) {
	if seg.Flags.Has(wire.RST) || !seg.Flags.Has(wire.ACK) {
		return
	}
	c.SndWnd = seg.Wnd
	if c.Timestamps() && seg.Options.Timestamps && int32(seg.Options.TSval-c.TSRecent) > 0 {
		c.TSRecent = seg.Options.TSval
	}
}
