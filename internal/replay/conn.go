package replay

import (
	"bytes"
	"time"

	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// moment says when something was seen: the position of its segment in the connection, from 1, and the capture's time. The zero
// moment means that it was not seen.
type moment struct {
	order int
	at    time.Time
}

func (m moment) seen() bool { return m.order > 0 }

// before reports whether something was seen before other, or was seen and other was not.
func (m moment) before(other moment) bool {
	return m.seen() && (!other.seen() || m.order < other.order)
}

// note stores the first moment only.
func (m *moment) note(now moment) {
	if !m.seen() {
		*m = now
	}
}

// end is what is known of one end of a connection from what it sent, and from what the other end answered. The numbers are
// valid only if known is set.
type end struct {
	known    bool
	isn      wire.Seq
	next     wire.Seq // the number after the highest that it was seen to send
	acked    wire.Seq // the highest acknowledgement from the other end; isn if there was none
	edge     wire.Seq // the right edge of the other end's window; valid if bounded
	finAt    wire.Seq // the number of its FIN; valid if fin
	bounded  bool
	fin      bool
	scale    int8     // the window scale that it sent; or wire.NoScale
	teaser   wire.Seq // octets of a teaser, which is no banner
	asked    bool     // its SYN was seen as a whole: scale is known
	segments int

	talk    moment // its first payload
	guessed bool   // the capture lacks that payload, but later numbers show that it was sent
	left    moment // its FIN or RST
}

// conn is a connection as seen in the capture.
type conn struct {
	key
	id             int
	begin          time.Time
	now            moment // of the latest segment
	client, server end
	synack, ready  moment           // ready: the handshake's last ACK
	saw            moment           // the client acknowledged part of the banner
	taken          moment           // the server acknowledged part of the client's payload
	rival          wire.Seq         // the ISN of another SYN-ACK, valid if rivals; the client's ACK shows which one it accepted
	syn            bool             // the client's SYN was seen
	signature      policy.Signature // of that SYN
	synLen         wire.Seq         // length of its payload, which a SYN-ACK may acknowledge
	rivals         bool
	reset, told    bool
	untimed        bool // some segments have no time
	cut            bool // the latest segment is truncated
	line           []byte
	notes          Note
	caller         *caller // the client in trials of a policy; nil without them
}

func (e *end) begin(isn wire.Seq) {
	if !e.known {
		e.known, e.isn, e.next, e.acked = true, isn, isn+1, isn
	}
}

// asks learns the options of an end's SYN. In one that is truncated some may be missing.
func (e *end) asks(seg *wire.Segment, truncated bool) {
	if !truncated {
		e.asked, e.scale = true, seg.Options.WindowScale
	}
}

// maxWindow is the largest window of TCP (RFC 7323 section 2.3).
const maxWindow = 1 << 30

// acceptable reports whether the receiver can accept a segment (RFC 9293 section 3.10.7.4): it is not beyond the window, as
// far as that is known. A segment before the window is old and harmless.
func (e *end) acceptable(seg *wire.Segment) bool {
	if !e.known {
		return true
	}
	if d := int32(seg.Seq - e.next); d > maxWindow || d < -maxWindow {
		return false
	}
	return !e.bounded || seg.Seq.Before(e.edge) || seg.Seq == e.edge && len(seg.Payload) == 0
}

// beyondFin reports whether a segment has text after its sender's FIN, which is ignored (RFC 9293 section 3.10.7.4).
func (e *end) beyondFin(seg *wire.Segment) bool {
	return e.fin && len(seg.Payload) > 0 && (seg.Seq + wire.Seq(len(seg.Payload))).After(e.finAt)
}

// resets reports whether the receiver accepts an RST (RFC 9293 section 3.10.7.4, narrowed by RFC 5961 section 3.2): its
// number must be exactly the next expected one. A capture shows only that this lies between what was acknowledged and what
// was sent.
func (e *end) resets(seg *wire.Segment) bool {
	if !e.known {
		return true
	}
	from := e.acked
	if from == e.isn {
		from++
	}
	return seg.Seq.AtOrAfter(from) && (seg.Seq == from || seg.Seq.AtOrBefore(e.next))
}

// hears learns from the other end's segment what it says of this end's data: how much arrived, and how much may follow.
// Scaled is the window shift; negative if it is unknown.
func (e *end) hears(seg *wire.Segment, scaled int8) {
	if !seg.Flags.Has(wire.ACK) || !e.known {
		return
	}
	if seg.Ack.After(e.acked) {
		e.acked = seg.Ack
	}
	if scaled < 0 {
		e.bounded = false
		return
	}
	if edge := seg.Ack + wire.Seq(seg.Wnd)<<scaled; !e.bounded || edge.After(e.edge) {
		e.edge, e.bounded = edge, true
	}
}

// begins is the number of this end's first octet after a teaser.
func (e *end) begins() wire.Seq { return e.isn + 1 + e.teaser }

// teases recognises a teaser: the lines of a greeting that say that more follow, sent before the last one (postscreen:
// postscreen_greet_banner). A client that talks after it has not waited for the banner. A greeting that comes as a whole, or
// whose last line begins in the same segment, is none.
func (e *end) teases(seg *wire.Segment) bool {
	if seg.Seq != e.begins() || !bytes.HasSuffix(seg.Payload, []byte("\n")) {
		return false
	}
	for line := range bytes.Lines(seg.Payload) {
		if !bytes.HasPrefix(line, []byte("220-")) {
			return false
		}
	}
	return true
}

// sends learns from a segment what its sender has sent. A number after the first one shows that earlier payload is missing
// in the capture, unless it is only one number later and may be that of a FIN.
func (e *end) sends(now moment, seg *wire.Segment) {
	first, end := e.begins(), seg.Seq+wire.Seq(len(seg.Payload))
	fin := seg.Flags.Has(wire.FIN)
	switch {
	case len(seg.Payload) > 0 && end.After(first):
		e.talk.note(now)
	case !e.talk.seen() && !e.fin && (seg.Seq.After(first+1) || fin && seg.Seq.After(first)):
		e.talk, e.guessed = now, true
	}
	if end.After(e.next) {
		e.next = end
	}
	if fin && !e.fin && end.AtOrAfter(first) {
		e.fin, e.finAt = true, end
		e.left.note(now)
		if (end + 1).After(e.next) {
			e.next = end + 1
		}
	}
}

// shift is the window shift of one end; negative if it is unknown. Windows are scaled only if both ends sent the option.
func shift(from, to *end) int8 {
	switch {
	case from.asked && from.scale == wire.NoScale, to.asked && to.scale == wire.NoScale:
		return 0
	case from.asked && to.asked:
		return from.scale
	}
	return -1
}

// fromClient handles a segment from the client; false if TCP does not accept it.
func (c *conn) fromClient(seg *wire.Segment) bool {
	switch {
	case seg.Flags.Has(wire.SYN):
		return c.clientSyn(seg)
	case seg.Flags.Has(wire.RST):
		return c.resetBy(&c.client, seg)
	case !seg.Flags.Has(wire.ACK):
		return false
	case !c.client.known:
		return true
	case !c.client.acceptable(seg):
		return false
	}
	if !c.ready.seen() {
		if !c.completes(seg) {
			return false
		}
		c.ready = c.now
	}
	c.server.hears(seg, shift(&c.client, &c.server))
	if first := c.server.begins(); seg.Ack.After(first) && !(c.server.fin && c.server.finAt == first) {
		c.saw.note(c.now)
	}
	if c.client.beyondFin(seg) {
		return false
	}
	c.words(seg)
	c.client.sends(c.now, seg)
	return true
}

// clientSyn handles the client's SYN. Payload in it is ignored, because it is sent again.
func (c *conn) clientSyn(seg *wire.Segment) bool {
	if seg.Flags.Has(wire.ACK) {
		return false
	}
	if c.syn {
		c.notes |= NoteRetransmits
	}
	c.client.begin(seg.Seq)
	c.syn, c.synLen = true, wire.Seq(len(seg.Payload))
	c.client.asks(seg, c.cut)
	if !c.cut && !c.signature.Known() {
		c.signature = policy.SignatureOf(seg)
	}
	return true
}

// completes reports whether a client's segment ends the handshake, by an acknowledgement of the SYN-ACK. Of several
// SYN-ACKs, some of which may be forged, it selects the one that the client accepted. If the SYN-ACK was not captured, its
// number is the one before.
func (c *conn) completes(seg *wire.Segment) bool {
	if c.rivals && seg.Ack == c.rival+1 {
		c.server.known = false
		c.server.begin(c.rival)
	}
	if !c.server.known {
		c.server.begin(seg.Ack - 1)
	}
	return seg.Ack.After(c.server.isn)
}

// words stores the first line, and notes how the payload arrived.
func (c *conn) words(seg *wire.Segment) {
	end := seg.Seq + wire.Seq(len(seg.Payload))
	switch {
	case len(seg.Payload) == 0 || !end.After(c.client.isn+1): // an octet before the first one is a keep-alive's
		return
	case !end.After(c.client.next):
		c.notes |= NoteRetransmits
	case seg.Seq.After(c.client.next):
		c.notes |= NoteReordered
	}
	if c.line == nil && seg.Seq.AtOrBefore(c.client.isn+1) {
		text := seg.Payload[c.client.isn+1-seg.Seq:]
		if c.cut { // the rest is zeros
			text = bytes.TrimRight(text, "\x00")
		}
		c.line = append([]byte{}, text[:min(len(text), maxLine)]...)
	}
}

// fromServer handles a segment from the server; false if TCP does not accept it.
func (c *conn) fromServer(seg *wire.Segment) bool {
	switch {
	case seg.Flags.Has(wire.SYN):
		return c.serverSyn(seg)
	case seg.Flags.Has(wire.RST):
		return c.resetBy(&c.server, seg)
	case !seg.Flags.Has(wire.ACK):
		return false
	case !c.server.acceptable(seg):
		return false
	}
	c.client.hears(seg, shift(&c.server, &c.client))
	if c.client.known && seg.Ack.After(c.client.isn+1) && !(c.client.fin && c.client.finAt == c.client.isn+1) {
		c.taken.note(c.now)
	}
	if !c.server.known {
		return true
	}
	if c.server.beyondFin(seg) {
		return false
	}
	if c.server.teases(seg) {
		c.server.teaser += wire.Seq(len(seg.Payload))
		c.notes |= NoteTeaser
	}
	c.server.sends(c.now, seg)
	return true
}

// serverSyn handles a SYN-ACK. It must acknowledge the client's SYN (RFC 9293 section 3.10.7.3). The first one is taken as the
// server's until the client's ACK shows another.
func (c *conn) serverSyn(seg *wire.Segment) bool {
	switch {
	case !seg.Flags.Has(wire.ACK) || c.syn && !c.acksSyn(seg):
		return false
	case c.server.known && seg.Seq == c.server.isn:
		if c.synack.seen() {
			c.notes |= NoteRetransmits
		}
	case c.server.known:
		if c.ready.seen() {
			return false
		}
		c.rival, c.rivals = seg.Seq, true
		return true
	}
	c.synack.note(c.now)
	c.server.begin(seg.Seq)
	c.client.begin(seg.Ack - 1)
	c.server.asks(seg, c.cut)
	c.client.hears(seg, 0) // a SYN's window is not scaled (RFC 7323 section 2.2)
	return true
}

func (c *conn) acksSyn(seg *wire.Segment) bool {
	return seg.Ack.After(c.client.isn) && seg.Ack.AtOrBefore(c.client.isn+1+c.synLen)
}

// resetBy handles an RST. As long as the client may be in SYN-SENT, the acknowledgement number decides whether the client
// accepts it (RFC 9293 section 3.10.7.3). So an injected RST is ignored.
func (c *conn) resetBy(e *end, seg *wire.Segment) bool {
	believed := e.resets(seg)
	if e == &c.server && c.syn && !c.ready.seen() {
		sent := seg.Flags.Has(wire.ACK) && c.acksSyn(seg)
		believed = sent || c.server.known && believed
	}
	if !believed {
		return false
	}
	e.left.note(c.now)
	c.reset = true
	return true
}
