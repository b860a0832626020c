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
	Gone   bool     // and that end does believe it, if it arrives: the sender has no connection any more
}

// beyond is how far a segment may reach over the window's edge as we know it: for a probe's octet and a FIN, for a sender
// that moves SND.UNA by a segment whose window it may not take (RFC 9293 section 3.10.7.4: SND.WL1), and for a window that
// was offered in an ACK which was lost before it came to us.
const beyond = 1 << 20

// Saw takes a segment from one of the halves on its way to the other: from and to are that half and the other one, wnd is
// the window that it offers, in octets. What lies far outside the window counts for nothing: its receiver does not take it
// either.
func Saw(from, to *Half, seg *wire.Segment, wnd uint32) {
	if seg.Flags.Has(wire.RST) {
		from.Gone = from.Gone || from.exact(seg.Seq)
		from.RST = from.RST || from.Gone || from.ofFIN(seg.Seq)
		return
	}
	from.RST, from.Gone = false, false // whoever has reset a connection sends nothing but RSTs
	end := seg.End()
	switch {
	case from.FIN || end.After(from.Edge+beyond):
	case seg.Flags.Has(wire.FIN) && end.After(from.Acked): // its checksum is right: what seemed to lie behind it never did
		from.Octets += uint64(int64(int32(end - 1 - from.Next)))
		from.Next, from.FIN = end, true
	case len(seg.Payload) > 0 && end.After(from.Next): // an ACK alone may go ahead of a FIN that was lost on its way to us
		from.Octets += uint64(uint32(end - from.Next))
		from.Next = end
	}
	if seg.Flags.Has(wire.ACK) && seg.Ack.AtOrAfter(to.Acked) && seg.Ack.AtOrBefore(to.Next) {
		to.Acked = seg.Ack
		if edge := seg.Ack + wire.Seq(wnd); edge.After(to.Edge) {
			to.Edge = edge
		}
	}
}

// Repeats reports whether a segment of this half says again what was said before and is not acknowledged yet: it seems not to
// have arrived. One octet may be a keep-alive's.
func (h *Half) Repeats(seg *wire.Segment) bool {
	end := seg.End()
	return len(seg.Payload) > 1 && end.AtOrBefore(h.Next) && end.After(h.Acked)
}

// ofFIN reports whether an RST has the number of the FIN before it. macOS sends such an RST, and Linux takes it for that
// reason (tcp_reset_check).
func (h *Half) ofFIN(seq wire.Seq) bool { return h.finished() && seq == h.Next-1 }

// exact reports whether an RST has the number that the other end expects next, as far as can be seen from the middle: all
// that was sent may have arrived, or no more than was acknowledged. About any other the other end asks by a challenge ACK (RFC
// 5961 section 3.2), which the alleged sender answers.
func (h *Half) exact(seq wire.Seq) bool { return seq == h.Next || seq == h.Acked }

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
