package tcpstate

import (
	"hushgate/internal/wire"
)

// Events are what a segment did to the connection: a set.
type Events uint8

// The events.
const (
	Opened   Events = 1 << iota // our SYN was acknowledged: ESTABLISHED
	Talked                      // the client sent payload, in order or not; it is neither taken nor acknowledged
	Finished                    // the client's FIN arrived in order; the owner sends ours (Output)
	Reset                       // the client reset the connection: it is gone
	Acked                       // the client acknowledged octets of ours, or opened its window: there may be more to send
	Done                        // both ends have finished, ours last: it is gone
	Restart                     // a SYN that opens the connection anew: forget this one and accept it
)

// Has reports whether any event of f is in e.
func (e Events) Has(f Events) bool { return e&f != 0 }

// Reply is what TCP answers a segment with.
type Reply uint8

// The replies.
const (
	Silence   Reply = iota
	SendSYN         // our SYN-ACK again
	SendACK         // <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>, for text or FIN that was taken
	Challenge       // the same segment for one that was not acceptable; the owner limits their rate (RFC 5961 section 7)
	SendRST         // <SEQ=SEG.ACK><CTL=RST>
)

// Outcome is what Arrive makes of a segment.
type Outcome struct {
	Events Events
	Reply  Reply
}

// Arrive applies one segment from the client in the order of RFC 9293 section 3.10.7.4, narrowed by RFC 5961. The
// segment's checksum is right.
func (c *Conn) Arrive(seg *wire.Segment) Outcome {
	switch {
	case c.retransmittedSYN(seg):
		c.acceptAgain(seg)
		return Outcome{Reply: SendSYN}
	case c.State == TimeWait && c.Reopens(seg, c.RcvNxt):
		return Outcome{Events: Restart}
	case !c.acceptable(seg): // first: sequence number
		return refuse(seg)
	case seg.Flags.Has(wire.RST): // second
		return c.reset(seg)
	case seg.Flags.Has(wire.SYN): // fourth
		return c.syn()
	case !seg.Flags.Has(wire.ACK): // fifth
		return Outcome{}
	}
	out, ok := c.ack(seg)
	if !ok || out.Events.Has(Done) {
		return out
	}
	c.noteTimestamp(seg)
	c.text(seg, &out) // seventh
	c.fin(seg, &out)  // eighth
	return out
}

// retransmittedSYN recognises the client's SYN again: it has not seen our SYN-ACK. The RFC would have us answer with a
// bare ACK, which does not help a client in SYN-SENT; every stack sends the SYN-ACK again.
func (c *Conn) retransmittedSYN(seg *wire.Segment) bool {
	return c.State == SynReceived && seg.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN && seg.Seq == c.IRS
}

// acceptAgain takes the SYN that has come again for what the client offers: some stacks leave options out of their later
// SYNs (FreeBSD's net.inet.tcp.rexmit_drop_options), lest they were what kept the first from being answered, and do not
// apply them any more. What was not agreed on the first time is not agreed on now.
func (c *Conn) acceptAgain(seg *wire.Segment) {
	before := *c
	c.Accept(seg, c.ISS, c.TSOffset, Offer{WindowScale: c.OwnScale(), SACK: c.SACK(), Timestamps: c.Timestamps()})
	c.terms |= before.terms & termRepeated
	if int32(before.TSRecent-c.TSRecent) > 0 && c.Timestamps() { // an older one came late
		c.TSRecent = before.TSRecent
	}
}

// Reopens judges a SYN for a connection that has ended by RFC 6191: it may open the connection anew if its timestamp or,
// without one, its sequence number is later than what we saw of the old one. Next is the number after the last that the
// client used in it.
func (c *Conn) Reopens(seg *wire.Segment, next wire.Seq) bool {
	if seg.Flags&(wire.SYN|wire.ACK|wire.RST) != wire.SYN {
		return false
	}
	if c.Timestamps() && seg.Options.Timestamps && seg.Options.TSval != c.TSRecent {
		return int32(seg.Options.TSval-c.TSRecent) > 0
	}
	return seg.Seq.After(next)
}

// acceptable is the test of RFC 9293 section 3.10.7.4, first check, our window never being zero, preceded by PAWS (RFC
// 7323 section 5.3). A segment that lacks the timestamp that was agreed on is taken all the same, as Linux does: it
// would otherwise hide payload from the watch that the server takes later.
func (c *Conn) acceptable(seg *wire.Segment) bool {
	if c.Timestamps() && seg.Options.Timestamps && !seg.Flags.Has(wire.RST) &&
		int32(seg.Options.TSval-c.TSRecent) < 0 {
		return false
	}
	wnd := c.RcvWnd()
	if seg.Seq.Within(c.RcvNxt, wnd) {
		return true
	}
	n := seg.Len()
	return n > 0 && (seg.Seq+wire.Seq(n)-1).Within(c.RcvNxt, wnd)
}

func refuse(seg *wire.Segment) Outcome {
	if seg.Flags.Has(wire.RST) {
		return Outcome{}
	}
	return Outcome{Reply: Challenge}
}

// reset takes an RST only at exactly RCV.NXT (RFC 5961 section 3.2).
func (c *Conn) reset(seg *wire.Segment) Outcome {
	if seg.Seq != c.RcvNxt {
		return Outcome{Reply: Challenge}
	}
	return Outcome{Events: Reset}
}

// syn answers a SYN in the window: in SYN-RECEIVED, a passive open returns to LISTEN, where the SYN is at home (RFC
// 9293 section 3.10.7.4, fourth check); later it gets a challenge ACK (RFC 5961 section 4.2).
func (c *Conn) syn() Outcome {
	if c.State == SynReceived {
		return Outcome{Events: Restart}
	}
	return Outcome{Reply: Challenge}
}

// ack is the fifth check. False means that the segment goes no further.
func (c *Conn) ack(seg *wire.Segment) (out Outcome, ok bool) {
	if c.State == SynReceived {
		if !seg.Ack.After(c.SndUna) || seg.Ack.After(c.SndNxt) {
			return Outcome{Reply: SendRST}, false
		}
		c.State, c.SndUna, c.SndWnd = Established, seg.Ack, seg.Wnd
		return Outcome{Events: Opened}, true
	}
	// RFC 5961 section 5.2, with the client's present window for the largest it ever offered, and no further back than to
	// the first octet: a large window would leave whoever guesses numbers an easy game.
	said := uint32(c.SndUna - c.ISS - 1)
	if seg.Ack.After(c.SndNxt) || seg.Ack.Before(c.SndUna-wire.Seq(min(c.SendWindow(), said))) {
		return Outcome{Reply: Challenge}, false
	}
	if seg.Ack.After(c.SndUna) || (seg.Ack == c.SndUna && seg.Wnd != c.SndWnd) {
		out.Events |= Acked
	}
	if seg.Ack.AtOrAfter(c.SndUna) {
		c.SndUna, c.SndWnd = seg.Ack, seg.Wnd
	}
	return c.finAcked(out), true
}

// finAcked moves on if our FIN, which is the last thing that we sent, has been acknowledged.
func (c *Conn) finAcked(out Outcome) Outcome {
	if c.SndUna != c.SndNxt {
		return out
	}
	switch c.State {
	case FinWait1:
		c.State = FinWait2
	case Closing:
		c.State = TimeWait
	case LastAck:
		out.Events |= Done
	case SynReceived, Established, FinWait2, TimeWait, states:
	}
	return out
}

// noteTimestamp updates TS.Recent (RFC 7323 section 4.3; everything in order has been acknowledged up to RCV.NXT).
func (c *Conn) noteTimestamp(seg *wire.Segment) {
	if c.Timestamps() && seg.Options.Timestamps && seg.Seq.AtOrBefore(c.RcvNxt) {
		c.TSRecent = seg.Options.TSval
	}
}

// NewText returns the segment's payload as far as it is new: at or beyond RCV.NXT, in the window.
func (c *Conn) NewText(seg *wire.Segment) []byte {
	text := seg.Payload
	if known := int32(c.RcvNxt - seg.Seq); known > 0 {
		text = text[min(int(known), len(text)):]
	}
	first := seg.Seq
	if first.Before(c.RcvNxt) {
		first = c.RcvNxt
	}
	room := int32(c.RcvNxt + wire.Seq(c.RcvWnd()) - first)
	return text[:min(len(text), int(max(room, 0)))]
}

func (c *Conn) text(seg *wire.Segment, out *Outcome) {
	text := c.NewText(seg)
	if len(text) == 0 {
		return
	}
	switch c.State {
	case Established, FinWait1, FinWait2:
		if c.terms&termClosing == 0 {
			out.Events |= Talked
			return
		}
		if seg.Seq.AtOrBefore(c.RcvNxt) {
			c.RcvNxt += wire.Seq(len(text))
		}
		out.Reply = SendACK
	case SynReceived, Closing, LastAck, TimeWait, states: // the client's FIN came before: nothing can follow it
	}
}

func (c *Conn) fin(seg *wire.Segment, out *Outcome) {
	if !seg.Flags.Has(wire.FIN) || out.Events.Has(Talked) {
		return
	}
	out.Reply = SendACK
	if seg.End()-1 != c.RcvNxt { // something before it is missing, or was cut off at our window, or it is known already
		return
	}
	c.terms |= termPeerFIN
	switch c.State {
	case Established:
		c.RcvNxt++
		out.Events |= Finished
		c.terms |= termClosing
		out.Reply = Silence // our own FIN acknowledges
	case FinWait1:
		c.RcvNxt++
		c.State = Closing
	case FinWait2:
		c.RcvNxt++
		c.State = TimeWait
	case SynReceived, Closing, LastAck, TimeWait, states:
	}
}
