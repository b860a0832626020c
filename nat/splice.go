package nat

import (
	"math"

	"hushgate/internal/wire"
)

// Splice translates the segments of one connection between the numbers that the client knows, chosen by us, and those
// that the server chose. All arithmetic is modulo 2^32.
//
// The client chose the IRS c. We chose the ISS g, and have sent T octets of our own after it. Our SYN to the server has the
// number c-P, where P is the number of octets that we send ahead of the client's; the server chose b. So the client's sequence
// numbers, and the server's acknowledgements, are the same on both sides. In the other direction they differ by g+T-b.
type Splice struct {
	shift   wire.Seq // g + T - b
	tsShift uint32   // how far the server's timestamp clock is behind the one that the client has seen
	flags   spliceFlags
	windows uint8 // shifts of the client's and the server's windows, 4 bits each; see scale
	seen    uint8 // the shifts that the receivers of those windows apply, 4 bits each
}

type spliceFlags uint8

const (
	spliceTimestamps spliceFlags = 1 << iota
	spliceStripSACK
)

// Terms are the options agreed with one end, and the numbers at which the splice begins.
type Terms struct {
	First      wire.Seq // the next number of the stream towards the client: ours (g+1+T), or the server's (b+1)
	TSval      uint32   // the timestamp at that point: ours, or that of the server's SYN-ACK
	OwnScale   int8     // shift of the windows that this end sends; or wire.NoScale
	PeerScale  int8     // shift that this end applies to the windows it receives; or wire.NoScale
	SACK       bool     // this end sends and accepts SACK blocks
	Timestamps bool
}

// NewSplice joins what was agreed with the client and with the server. The server must not have more options than the client,
// and both must agree on timestamps: the caller does not use a server that refuses them.
func NewSplice(client, server Terms) Splice {
	s := Splice{shift: client.First - server.First}
	if client.Timestamps && server.Timestamps {
		s.flags |= spliceTimestamps
		s.tsShift = client.TSval - server.TSval
	}
	if client.SACK && !server.SACK {
		s.flags |= spliceStripSACK
	}
	s.windows = nibble(client.OwnScale) | nibble(server.OwnScale)<<4
	s.seen = nibble(server.PeerScale) | nibble(client.PeerScale)<<4
	return s
}

func nibble(scale int8) uint8 { return uint8(min(max(scale, 0), wire.MaxScale)) }

// ToServer translates a segment from the client, except its addresses. A SYN is never translated.
func (s *Splice) ToServer(seg *wire.Segment) {
	if seg.Flags.Has(wire.ACK) {
		seg.SetAck(seg.Ack - s.shift)
	}
	if seg.Options.SACKBlocks > 0 {
		if s.flags&spliceStripSACK != 0 {
			seg.StripSACK()
		} else {
			seg.ShiftSACK(-s.shift)
		}
	}
	if seg.Options.Timestamps && s.flags&spliceTimestamps != 0 && seg.Flags.Has(wire.ACK) {
		seg.SetTSecr(seg.Options.TSecr - s.tsShift)
	}
	if wnd := s.ServerWindow(seg.Wnd); wnd != seg.Wnd {
		seg.SetWnd(wnd)
	}
}

// ToClient translates a segment from the server, except its addresses.
func (s *Splice) ToClient(seg *wire.Segment) {
	seg.SetSeq(seg.Seq + s.shift)
	if seg.Options.Timestamps && s.flags&spliceTimestamps != 0 {
		seg.SetTSval(seg.Options.TSval + s.tsShift)
	}
	if wnd := scale(seg.Wnd, s.windows>>4, s.seen>>4); wnd != seg.Wnd {
		seg.SetWnd(wnd)
	}
}

// Rebase maps the server's timestamps anew: from now on the server's timestamp `server` becomes `client`. It is for a server
// that has sent segments since NewSplice that the client did not get.
func (s *Splice) Rebase(client, server uint32) {
	if s.flags&spliceTimestamps != 0 {
		s.tsShift = client - server
	}
}

// ServerSeq translates a sequence number of the stream towards the client into the server's numbering.
func (s *Splice) ServerSeq(seq wire.Seq) wire.Seq { return seq - s.shift }

// ClientSeq translates a number of the server's stream into the client's numbering.
func (s *Splice) ClientSeq(seq wire.Seq) wire.Seq { return seq + s.shift }

// ServerTSval translates a timestamp that was sent to the client into the server's.
func (s *Splice) ServerTSval(ts uint32) uint32 { return ts - s.tsShift }

// ErrorToServer translates the quote in an ICMP error about a segment to the client back to what the server sent (RFC 5508
// section 4.2). The caller translates the addresses. Two things stay: a window that was rounded, and what a timestamp that
// is not quoted contributes to the checksum.
func (s *Splice) ErrorToServer(e *wire.ICMPError) {
	e.SetQuoteSeq(e.QuoteSeq - s.shift)
	if s.flags&spliceTimestamps != 0 {
		e.ShiftQuoteTimestamps(-s.tsShift, 0)
	}
}

// ErrorToClient does the same for the quote of a segment to the server.
func (s *Splice) ErrorToClient(e *wire.ICMPError) {
	e.ShiftQuoteAck(s.shift)
	e.ShiftQuoteSACK(s.shift)
	if s.flags&spliceTimestamps != 0 {
		e.ShiftQuoteTimestamps(0, s.tsShift)
	}
}

// ServerWindow translates a window field from the client.
func (s *Splice) ServerWindow(wnd uint16) uint16 { return scale(wnd, s.windows&0x0f, s.seen&0x0f) }

// scale converts a window field, sent with one shift, for a receiver that applies another shift. It rounds down, so that it
// does not promise more than there is. But an open window is never shown as closed: if the whole buffer is smaller than the
// receiver's unit, the sender would otherwise stall for good. The end with the buffer drops what does not fit, and gets it
// again.
func scale(wnd uint16, sent, read uint8) uint16 {
	if wnd == 0 {
		return 0
	}
	return uint16(min(max(uint32(wnd)<<sent>>read, 1), math.MaxUint16))
}
