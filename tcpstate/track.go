package tcpstate

import "hushgate/internal/wire"

// Track follows a spliced connection from the middle: how far each end has sent and acknowledged, and whether it has
// finished. All sequence numbers are as the client sees them.
type Track struct {
	Client, Server Half
}

// Half describes what one end has sent.
type Half struct {
	Next   wire.Seq // the number after the highest octet, SYN or FIN that this end sent
	Acked  wire.Seq // the highest acknowledgement for it from the other end
	Edge   wire.Seq // the highest right edge of the window that the other end offered
	Octets uint64   // payload, each octet counted once
	FIN    bool     // the FIN was sent; it is then the last number before Next
	RST    bool     // an RST was sent that the other end may accept
	Gone   bool     // an RST was sent that the other end accepts if it arrives: this end no longer has the connection
}

// beyond is how far a segment may reach over the known edge of the window. This leaves room for a window probe's octet and a
// FIN; for a sender that advances SND.UNA by a segment whose window it may not use (RFC 9293 section 3.10.7.4: SND.WL1); and
// for a window offered in an ACK that was lost before it reached us.
const beyond = 1 << 20

// Saw records a segment that half from sent to half to; wnd is the window that it offers, in octets. A segment far outside the
// window is ignored, as its receiver ignores it.
func Saw(from, to *Half, seg *wire.Segment, wnd uint32) {
	if seg.Flags.Has(wire.RST) {
		from.Gone = from.Gone || from.exact(seg.Seq)
		from.RST = from.RST || from.Gone || from.ofFIN(seg.Seq)
		return
	}
	from.RST, from.Gone = false, false // an end that has reset the connection sends only RSTs
	end := seg.End()
	switch {
	case from.FIN || end.After(from.Edge+beyond):
	// Its checksum is right: nothing was sent after the FIN, whatever we took for it.
	case seg.Flags.Has(wire.FIN) && end.After(from.Acked):
		from.Octets += uint64(int64(int32(end - 1 - from.Next)))
		from.Next, from.FIN = end, true
	// Only payload counts here. A bare ACK may have the number after a FIN that was lost before it reached us.
	case len(seg.Payload) > 0 && end.After(from.Next):
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

// Repeats reports whether a segment retransmits payload of this half that is not acknowledged: the first transmission seems to
// be lost. A single octet does not count, as it may be a keep-alive's.
func (h *Half) Repeats(seg *wire.Segment) bool {
	end := seg.End()
	return len(seg.Payload) > 1 && end.AtOrBefore(h.Next) && end.After(h.Acked)
}

// ofFIN reports whether an RST has the number of the FIN that was sent before it. macOS sends such an RST, and Linux accepts
// it for that reason (tcp_reset_check).
func (h *Half) ofFIN(seq wire.Seq) bool { return h.finished() && seq == h.Next-1 }

// exact reports whether an RST has the number that the other end expects next, as far as we can tell: either everything that
// was sent has arrived, or only what was acknowledged. The other end answers any other RST with a challenge ACK (RFC 5961
// section 3.2), to which the alleged sender responds.
func (h *Half) exact(seq wire.Seq) bool { return seq == h.Next || seq == h.Acked }

// Believable reports whether a client's segment is consistent with what is known of both ends, so that its window and
// timestamp may be recorded.
func (t *Track) Believable(seg *wire.Segment) bool {
	return seg.Seq.AtOrAfter(t.Client.Acked) && seg.Seq.AtOrBefore(t.Client.Edge) &&
		seg.Ack.AtOrAfter(t.Server.Acked) && seg.Ack.AtOrBefore(t.Server.Next)
}

// Over reports whether the connection has ended: both FINs were acknowledged, or one end has sent an RST.
func (t *Track) Over() bool {
	return t.Client.RST || t.Server.RST || t.Client.finished() && t.Server.finished()
}

func (h *Half) finished() bool { return h.FIN && h.Acked == h.Next }
