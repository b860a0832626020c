package tcpstate

import "hushgate/internal/wire"

// Track follows a spliced connection from the middle: how far each end has sent and acknowledged, and whether it has
// finished. All numbers are those that the client sees.
type Track struct {
	Client, Server Half
}

// Half is what one end has sent.
type Half struct {
	Next   wire.Seq // the number after the highest octet, SYN or FIN that it sent
	Acked  wire.Seq // the highest acknowledgement of it by the other end
	Edge   wire.Seq // the furthest right edge of the window that the other end offered
	Octets uint64   // of payload, each counted once
	FIN    bool     // it sent its FIN, which is then the last thing before Next
	RST    bool     // it sent an RST that the other end may have believed
}

// probe is how far beyond the window's edge a segment may reach: a window probe's octet, and a FIN.
const probe = 2

// Saw takes a segment from one of the halves on its way to the other: from and to are that half and the other one, wnd is
// the window that it offers, in octets. What lies outside the window counts for nothing: its receiver does not take it
// either.
func Saw(from, to *Half, seg *wire.Segment, wnd uint32) {
	if seg.Flags.Has(wire.RST) {
		if !seg.Seq.Before(from.Acked) && !seg.Seq.After(from.Next) {
			from.RST = true
		}
		return
	}
	from.RST = false // whoever has reset a connection sends nothing but RSTs
	end := seg.End()
	if end.After(from.Next) && end.AtOrBefore(from.Edge+probe) && !from.FIN {
		from.Octets += uint64(uint32(end - from.Next))
		if seg.Flags.Has(wire.FIN) {
			from.Octets--
			from.FIN = true
		}
		from.Next = end
	}
	if seg.Flags.Has(wire.ACK) && seg.Ack.AtOrAfter(to.Acked) && seg.Ack.AtOrBefore(to.Next) {
		to.Acked = seg.Ack
		if edge := seg.Ack + wire.Seq(wnd); edge.After(to.Edge) {
			to.Edge = edge
		}
	}
}

// Believable reports whether a client's segment fits what is known of both ends, so that what it says of the client may
// be kept.
func (t *Track) Believable(seg *wire.Segment) bool {
	return seg.Seq.AtOrAfter(t.Client.Acked) && seg.Seq.AtOrBefore(t.Client.Edge) &&
		seg.Ack.AtOrAfter(t.Server.Acked) && seg.Ack.AtOrBefore(t.Server.Next)
}

// Over reports whether the connection has ended: both ends have finished and acknowledged that, or one has reset it.
func (t *Track) Over() bool {
	return t.Client.RST || t.Server.RST || t.Client.finished() && t.Server.finished()
}

func (h *Half) finished() bool { return h.FIN && h.Acked == h.Next }
