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
	Octets uint64   // of payload, each counted once
	FIN    bool     // it sent its FIN, which is then the last thing before Next
	RST    bool     // it sent an RST that the other end may have believed
}

// sane bounds how far ahead of what is known a segment may lie: the largest window that TCP has (RFC 7323 section 2.3).
const sane = 1 << 30

// Saw takes a segment from one of the halves on its way to the other: from and to are that half and the other one.
func Saw(from, to *Half, seg *wire.Segment) {
	if seg.Flags.Has(wire.RST) {
		if !seg.Seq.Before(from.Acked) && !seg.Seq.After(from.Next) {
			from.RST = true
		}
		return
	}
	from.RST = false // whoever has reset a connection sends nothing but RSTs
	end := seg.End()
	if n := uint32(end - from.Next); end.After(from.Next) && n < sane && !from.FIN {
		from.Octets += uint64(n)
		if seg.Flags.Has(wire.FIN) {
			from.Octets--
			from.FIN = true
		}
		from.Next = end
	}
	if seg.Flags.Has(wire.ACK) && seg.Ack.After(to.Acked) && seg.Ack.AtOrBefore(to.Next) {
		to.Acked = seg.Ack
	}
}

// Over reports whether the connection has ended: both ends have finished and acknowledged that, or one has reset it.
func (t *Track) Over() bool {
	return t.Client.RST || t.Server.RST || t.Client.finished() && t.Server.finished()
}

func (h *Half) finished() bool { return h.FIN && h.Acked == h.Next }
