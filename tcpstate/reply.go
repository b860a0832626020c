package tcpstate

import (
	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// header returns the fields that all our segments share; the owner fills in addresses and ports.
func (c *Conn) header(now mono.Time, flags wire.Flags, seq wire.Seq) wire.Header {
	h := wire.Header{Seq: seq, Ack: c.RcvNxt, Flags: flags, Wnd: uint16(min(c.RcvWnd()>>max(0, c.OwnScale()), 0xffff))}
	if c.Timestamps() {
		h.Timestamps, h.TSval, h.TSecr = true, c.TSval(now), c.TSRecent
	}
	return h
}

// SYNACK returns our SYN-ACK with the given MSS. Its window is never scaled (RFC 7323 section 2.2).
func (c *Conn) SYNACK(now mono.Time, mss uint16) wire.Header {
	h := c.header(now, wire.SYN|wire.ACK, c.ISS)
	h.Wnd = Window
	h.MSS = mss
	h.SACKPermitted = c.SACK()
	h.Scale, h.WindowScale = c.terms&termScale != 0, c.OwnScale()
	if c.terms&termStateless != 0 {
		h.TSval = c.cookieTSval(h.TSval)
	}
	return h
}

// ACK returns <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>.
func (c *Conn) ACK(now mono.Time) wire.Header { return c.header(now, wire.ACK, c.SndNxt) }

// RST returns the segment that aborts the connection: <SEQ=SND.NXT><ACK=RCV.NXT><CTL=RST,ACK>. Its number is exactly the one
// that the client expects, so that a client that follows RFC 5961 accepts it. It acknowledges nothing new. It carries the
// agreed timestamp (RFC 7323 section 3.2), because receivers may require it.
func (c *Conn) RST(now mono.Time) wire.Header {
	h := c.header(now, wire.RST|wire.ACK, c.SndNxt)
	h.Wnd = 0
	return h
}

// RefuseACK returns <SEQ=SEG.ACK><CTL=RST>, which answers a wrong ACK in SYN-RECEIVED, and an ACK for a connection that does
// not exist (RFC 9293 sections 3.10.7.4 and 3.10.7.1).
func RefuseACK(seg *wire.Segment) wire.Header {
	return wire.Header{Seq: seg.Ack, Flags: wire.RST}
}

// Refuse returns the RST for a segment of a connection that does not exist; false for an RST, which is never answered (RFC
// 9293 section 3.10.7.1).
func Refuse(seg *wire.Segment) (wire.Header, bool) {
	switch {
	case seg.Flags.Has(wire.RST):
		return wire.Header{}, false
	case seg.Flags.Has(wire.ACK):
		return RefuseACK(seg), true
	}
	return wire.Header{Ack: seg.End(), Flags: wire.RST | wire.ACK}, true
}

// Close begins to close our side after the owner's last reply. From now on the client's payload is acknowledged and discarded.
// Output sends the reply and the FIN.
func (c *Conn) Close() { c.terms |= termClosing }

// Output returns the next segment of text, the octets that we send from our first one on, and after Close the FIN behind it, as
// far as the client's window and MSS allow; false if nothing can be sent now. Text must be the same at each call; Close may
// append to it. Output advances SND.NXT.
func (c *Conn) Output(now mono.Time, text []byte) (wire.Header, []byte, bool) {
	if c.finSent() {
		return wire.Header{}, nil, false
	}
	room := max(0, int64(c.SendWindow())-int64(c.SndNxt-c.SndUna))
	h, part, ok := c.segmentAt(now, text, c.SndNxt, uint32(room))
	if !ok {
		return h, nil, false
	}
	c.SndNxt += wire.Seq(len(part))
	if h.Flags.Has(wire.FIN) {
		c.SndNxt++
		if c.State == Established {
			c.State = FinWait1
			if c.terms&termPeerFIN != 0 {
				c.State = LastAck
			}
		}
	}
	return h, part, true
}

// Retransmit returns the first unacknowledged segment. If nothing is unacknowledged because the client's window is closed, it
// returns a window probe of one octet (RFC 9293 section 3.8.6.1). False if there is nothing left to send.
func (c *Conn) Retransmit(now mono.Time, text []byte) (wire.Header, []byte, bool) {
	if c.SndUna != c.SndNxt {
		return c.segmentAt(now, text, c.SndUna, uint32(c.SndNxt-c.SndUna))
	}
	probed := c.SndWnd
	c.SndWnd = max(1, probed)
	h, part, ok := c.Output(now, text)
	c.SndWnd = probed
	return h, part, ok
}

// Unacked returns how many of the first n octets that we send from our first one on the client has not acknowledged. Some of
// them may not have been sent.
func (c *Conn) Unacked(n int) int { return max(0, n-int(c.SndUna-c.ISS-1)) }

// segmentAt returns the segment that begins at seq, out of text and, after Close, FIN, with at most room octets. A FIN may be
// sent without room in the window.
func (c *Conn) segmentAt(now mono.Time, text []byte, seq wire.Seq, room uint32) (wire.Header, []byte, bool) {
	rest := text[min(int(seq-c.ISS-1), len(text)):]
	mss := uint32(c.MSS)
	if c.Timestamps() {
		mss -= timestampSpace
	}
	room = min(room, mss)
	closing := c.terms&termClosing != 0
	if len(rest) == 0 && !closing || len(rest) > 0 && room == 0 {
		return wire.Header{}, nil, false
	}
	part := rest[:min(len(rest), int(room))]
	h := c.header(now, wire.ACK, seq)
	if len(part) > 0 {
		h.Flags |= wire.PSH
	}
	if len(part) == len(rest) && closing {
		h.Flags |= wire.FIN
	}
	return h, part, true
}

// timestampSpace is the space that the timestamp option takes from each segment's payload (RFC 7323 appendix A).
const timestampSpace = 12

func (c *Conn) finSent() bool { return c.State != SynReceived && c.State != Established }
