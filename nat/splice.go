package nat

import (
	"math"

	"hushgate/internal/wire"
)

// Splice translates the segments of one connection between the numbers that the client knows, chosen by us, and those
// that the server chose. All arithmetic is modulo 2^32.
//
// The client chose IRS c, we chose ISS g and sent T octets of our own after it. We opened to the server as the client,
// with the number c-P if P octets of our own went ahead of the client's; the server chose b. Then what the client sends
// and what the server acknowledges have the same numbers on both sides, and in the other direction they differ by
// g+T-b.
type Splice struct {
	shift   wire.Seq // g + T - b
	tsShift uint32   // what the server's timestamp clock is behind the one that the client has seen
	flags   spliceFlags
	windows uint8 // shifts of the windows, see scale: 4 bits each, client's and server's
	seen    uint8 // the shifts that the readers of those windows apply
}

type spliceFlags uint8

const (
	spliceTimestamps spliceFlags = 1 << iota
	spliceStripSACK
)

// Terms are what was agreed with one end, and the numbers to go with it.
type Terms struct {
	First      wire.Seq // the number of the next octet towards the client: ours (g+1+T), or the server's (b+1)
	TSval      uint32   // the timestamp that goes with it: ours, or that of the server's SYN-ACK
	OwnScale   int8     // shift of the windows that this end sends; wire.NoScale
	PeerScale  int8     // shift that this end applies to the windows it receives; wire.NoScale
	SACK       bool     // this end may be sent SACK blocks, and sends them
	Timestamps bool
}

// NewSplice joins what was agreed with the client and with the server. The server's terms are no wider than the
// client's, but for timestamps both are the same: the caller has turned away a server for which that is not so.
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

// ToServer translates a segment from the client, all but its addresses. A SYN is never translated.
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

// ToClient translates a segment from the server, all but its addresses.
func (s *Splice) ToClient(seg *wire.Segment) {
	seg.SetSeq(seg.Seq + s.shift)
	if seg.Options.Timestamps && s.flags&spliceTimestamps != 0 {
		seg.SetTSval(seg.Options.TSval + s.tsShift)
	}
	if wnd := scale(seg.Wnd, s.windows>>4, s.seen>>4); wnd != seg.Wnd {
		seg.SetWnd(wnd)
	}
}

// Rebase joins the two timestamp clocks anew: from now on a segment of the server with the timestamp of server gets that
// of client. It is for a server that has told the time since the splice was made, unheard by the client.
func (s *Splice) Rebase(client, server uint32) {
	if s.flags&spliceTimestamps != 0 {
		s.tsShift = client - server
	}
}

// ServerSeq translates a number of the stream towards the client into the server's numbering.
func (s *Splice) ServerSeq(seq wire.Seq) wire.Seq { return seq - s.shift }

// ServerTSval translates a timestamp that went to the client into the server's.
func (s *Splice) ServerTSval(ts uint32) uint32 { return ts - s.tsShift }

// ErrorToServer gives the quote of an ICMP error about a segment that went to the client the numbers that the server sent
// (RFC 5508 section 4.2). Addresses are the caller's. A window that was rounded stays so, and so does the checksum's share of
// a timestamp that is not quoted.
func (s *Splice) ErrorToServer(e *wire.ICMPError) {
	e.SetQuoteSeq(e.QuoteSeq - s.shift)
	if s.flags&spliceTimestamps != 0 {
		e.ShiftQuoteTimestamps(-s.tsShift, 0)
	}
}

// ErrorToClient does the same for a segment that went to the server.
func (s *Splice) ErrorToClient(e *wire.ICMPError) {
	e.ShiftQuoteAck(s.shift)
	e.ShiftQuoteSACK(s.shift)
	if s.flags&spliceTimestamps != 0 {
		e.ShiftQuoteTimestamps(0, s.tsShift)
	}
}

// ServerWindow translates a window field of the client.
func (s *Splice) ServerWindow(wnd uint16) uint16 { return scale(wnd, s.windows&0x0f, s.seen&0x0f) }

// scale expresses a window, sent with one shift, for a reader who applies another: rounded down, for it should not promise
// more than there is; but an open window is never shown as closed, or a receiver whose whole buffer is smaller than the
// reader's unit would stall its sender for good. What does not fit then, it drops, and gets again.
func scale(wnd uint16, sent, read uint8) uint16 {
	if wnd == 0 {
		return 0
	}
	return uint16(min(max(uint32(wnd)<<sent>>read, 1), math.MaxUint16))
}
