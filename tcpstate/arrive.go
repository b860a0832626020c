package tcpstate

import (
	"hushgate/internal/wire"
)

// Events is the set of effects that a segment had on the connection.
type Events uint8

// The events.
const (
	Opened   Events = 1 << iota // our SYN was acknowledged: ESTABLISHED
	Talked                      // the client sent payload, in order or not; it is neither accepted nor acknowledged
	Finished                    // the client's FIN arrived in order; the owner sends ours (Output)
	Reset                       // the client reset the connection, which no longer exists
	Acked                       // the client acknowledged our data or opened its window: the owner may send more
	Done                        // both ends have finished, ours last: the connection no longer exists
	Restart                     // a SYN that opens a new connection: forget this one and accept the SYN
)

// Has reports whether any event of f is in e.
func (e Events) Has(f Events) bool { return e&f != 0 }

// Reply is TCP's answer to a segment.
type Reply uint8

// The replies.
const (
	Silence   Reply = iota
	SendSYN         // our SYN-ACK again
	SendACK         // <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>, for accepted text or FIN
	Challenge       // the same segment, for an unacceptable one; the owner limits the rate (RFC 5961 section 7)
	SendRST         // <SEQ=SEG.ACK><CTL=RST>
)

// Outcome is the result of Arrive.
type Outcome struct {
	Events Events
	Reply  Reply
}

// Arrive applies one segment from the client in the order of RFC 9293 section 3.10.7.4, narrowed by RFC 5961. The caller has
// verified the segment's checksum.
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

// retransmittedSYN recognises a retransmission of the client's SYN: the client has not got our SYN-ACK. The RFC asks for a
// bare ACK, which does not help a client in SYN-SENT; all stacks send the SYN-ACK again.
func (c *Conn) retransmittedSYN(seg *wire.Segment) bool {
	return c.State == SynReceived && seg.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN && seg.Seq == c.IRS
}

// acceptAgain takes the client's options from its retransmitted SYN. Some stacks omit options from later SYNs and then do not
// use them (FreeBSD's net.inet.tcp.rexmit_drop_options), in case the options kept the first SYN from being answered. An
// option that was not agreed on for the first SYN is not agreed on now.
func (c *Conn) acceptAgain(seg *wire.Segment) {
	before := *c
	c.Accept(seg, c.ISS, c.TSOffset, Offer{WindowScale: c.OwnScale(), SACK: c.SACK(), Timestamps: c.Timestamps()})
	c.terms |= before.terms & termRepeated
	if int32(before.TSRecent-c.TSRecent) > 0 && c.Timestamps() { // an older SYN arrived late
		c.TSRecent = before.TSRecent
	}
}

// Reopens reports whether a SYN may open a new connection in place of one that has ended (RFC 6191): its timestamp must be
// later than the latest of the old connection, or its sequence number if there is no timestamp to decide it. Next is the
// number after the last one that the client used in the old connection.
func (c *Conn) Reopens(seg *wire.Segment, next wire.Seq) bool {
	if seg.Flags&(wire.SYN|wire.ACK|wire.RST) != wire.SYN {
		return false
	}
	if c.Timestamps() && seg.Options.Timestamps && seg.Options.TSval != c.TSRecent {
		return int32(seg.Options.TSval-c.TSRecent) > 0
	}
	return seg.Seq.After(next)
}

// acceptable is the first check of RFC 9293 section 3.10.7.4 for a window that is never zero, after PAWS (RFC 7323 section
// 5.3). A segment without the agreed timestamp is accepted, as by Linux: the server would accept its payload later, so the
// watch for early talk must not miss it.
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

// reset accepts an RST only at exactly RCV.NXT (RFC 5961 section 3.2).
func (c *Conn) reset(seg *wire.Segment) Outcome {
	if seg.Seq != c.RcvNxt {
		return Outcome{Reply: Challenge}
	}
	return Outcome{Events: Reset}
}

// syn handles a SYN in the window. In SYN-RECEIVED a passive open returns to LISTEN and the SYN is handled there (RFC 9293
// section 3.10.7.4, fourth check). Later it gets a challenge ACK (RFC 5961 section 4.2).
func (c *Conn) syn() Outcome {
	if c.State == SynReceived {
		return Outcome{Events: Restart}
	}
	return Outcome{Reply: Challenge}
}

// ack is the fifth check. False means that the segment is not processed further.
func (c *Conn) ack(seg *wire.Segment) (out Outcome, ok bool) {
	if c.State == SynReceived {
		if !seg.Ack.After(c.SndUna) || seg.Ack.After(c.SndNxt) {
			return Outcome{Reply: SendRST}, false
		}
		c.State, c.SndUna, c.SndWnd = Established, seg.Ack, seg.Wnd
		return Outcome{Events: Opened}, true
	}
	// RFC 5961 section 5.2 accepts an ACK as old as the largest window that the client ever offered. We use its present window,
	// and accept none from before our first octet: a large range would help an attacker who guesses numbers.
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

// finAcked changes the state if our FIN, which is the last thing that we send, has been acknowledged.
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

// noteTimestamp updates TS.Recent (RFC 7323 section 4.3). Its Last.ACK.sent is RCV.NXT here, as all that is in order has been
// acknowledged.
func (c *Conn) noteTimestamp(seg *wire.Segment) {
	if c.Timestamps() && seg.Options.Timestamps && seg.Seq.AtOrBefore(c.RcvNxt) {
		c.TSRecent = seg.Options.TSval
	}
}

// NewText returns the part of the segment's payload that is new: at or after RCV.NXT, and in the window.
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
	case SynReceived, Closing, LastAck, TimeWait, states: // the client's FIN came before, and no text can follow it
	}
}

func (c *Conn) fin(seg *wire.Segment, out *Outcome) {
	if !seg.Flags.Has(wire.FIN) || out.Events.Has(Talked) {
		return
	}
	out.Reply = SendACK
	if seg.End()-1 != c.RcvNxt { // something before it is missing, or it lies beyond our window, or it is a retransmission
		return
	}
	c.terms |= termPeerFIN
	switch c.State {
	case Established:
		c.RcvNxt++
		out.Events |= Finished
		c.terms |= termClosing
		out.Reply = Silence // our own FIN carries the acknowledgement
	case FinWait1:
		c.RcvNxt++
		c.State = Closing
	case FinWait2:
		c.RcvNxt++
		c.State = TimeWait
	case SynReceived, Closing, LastAck, TimeWait, states:
	}
}
