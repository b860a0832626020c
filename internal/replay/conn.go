package replay

import (
	"time"

	"hushgate/internal/wire"
)

// moment is when something was seen: the place of its segment in its connection, from 1, and the capture's time. The zero moment is
// that of what was not seen.
type moment struct {
	order int
	at    time.Time
}

func (m moment) seen() bool { return m.order > 0 }

// before reports whether something was seen, and the other thing later or not.
func (m moment) before(other moment) bool {
	return m.seen() && (!other.seen() || m.order < other.order)
}

// note keeps the first moment.
func (m *moment) note(now moment) {
	if !m.seen() {
		*m = now
	}
}

// end is what is known of one end of a connection by what it sent, and by what the other end answered. Numbers are valid only with
// known.
type end struct {
	known    bool
	isn      wire.Seq
	next     wire.Seq // behind the furthest that it was seen to send
	acked    wire.Seq // the furthest that the other end acknowledged, isn if nothing
	edge     wire.Seq // what the other end's window ends at, valid with bounded
	finAt    wire.Seq // the number of its FIN, valid with fin
	bounded  bool
	fin      bool
	scale    int8 // of the windows that it tells, as it said; wire.NoScale
	asked    bool // its SYN was seen: scale is known
	segments int

	talk    moment // its first payload
	guessed bool   // the capture lacks that payload: later numbers tell that it was sent
	left    moment // FIN or RST
}

// conn is a connection as it was seen.
type conn struct {
	key
	id             int
	begin          time.Time
	now            moment // of the latest segment
	client, server end
	synack, ready  moment   // ready: the handshake's last ACK
	saw            moment   // the client acknowledged some of the banner
	taken          moment   // the server acknowledged some of the client's payload
	rival          wire.Seq // of another SYN-ACK, valid with rivals; the client's ACK tells which one it believed
	syn            bool     // the client's SYN was seen
	synLen         wire.Seq // what it carried, which a SYN-ACK may acknowledge
	rivals         bool
	reset, told    bool
	untimed        bool // there are segments without a time
	line           []byte
	notes          Note
}

func (e *end) begin(isn wire.Seq) {
	if !e.known {
		e.known, e.isn, e.next, e.acked = true, isn, isn+1, isn
	}
}

// maxWindow is the largest window that TCP has (RFC 7323 section 2.3).
const maxWindow = 1 << 30

// acceptable reports whether the receiver of a segment can take it (RFC 9293 section 3.10.7.4): it does not lie beyond the window,
// as far as that was seen. What lies before it is an old segment, and harmless.
func (e *end) acceptable(seg *wire.Segment) bool {
	if !e.known {
		return true
	}
	if d := int32(seg.Seq - e.next); d > maxWindow || d < -maxWindow {
		return false
	}
	return !e.bounded || seg.Seq.Before(e.edge) || seg.Seq == e.edge && len(seg.Payload) == 0
}

// beyondFin reports whether a segment carries text that comes after its sender's FIN, which is ignored (RFC 9293 section 3.10.7.4).
func (e *end) beyondFin(seg *wire.Segment) bool {
	return e.fin && len(seg.Payload) > 0 && (seg.Seq + wire.Seq(len(seg.Payload))).After(e.finAt)
}

// resets reports whether the receiver of an RST believes it (RFC 9293 section 3.10.7.4, narrowed by RFC 5961 section 3.2): its number
// is the very next that is expected. A capture does not tell which that is, but that it lies between what was acknowledged and what
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

// hears learns what the other end's segment says of what this end sent: how much arrived, and how much more may come. Scaled is the
// shift of the window, negative if it is not known.
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

// sends takes what a segment's numbers say of what its sender sent: payload, or that there was some. Numbers further on than the first
// one say that payload, which the capture lacks, came before; one number may also be a FIN's.
func (e *end) sends(now moment, seg *wire.Segment) {
	first, end := e.isn+1, seg.Seq+wire.Seq(len(seg.Payload))
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

// shift is the scale of the windows that one end tells the other, negative if it cannot be known: both have to ask for it.
func shift(from, to *end) int8 {
	switch {
	case from.asked && from.scale == wire.NoScale, to.asked && to.scale == wire.NoScale:
		return 0
	case from.asked && to.asked:
		return from.scale
	}
	return -1
}

// fromClient takes a segment from the client; false if TCP does not accept it.
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
	if seg.Ack.After(c.server.isn+1) && !(c.server.fin && c.server.finAt == c.server.isn+1) {
		c.saw.note(c.now)
	}
	if c.client.beyondFin(seg) {
		return false
	}
	c.words(seg)
	c.client.sends(c.now, seg)
	return true
}

// clientSyn takes the client's SYN. Payload in it is not taken, and comes again.
func (c *conn) clientSyn(seg *wire.Segment) bool {
	if seg.Flags.Has(wire.ACK) {
		return false
	}
	if c.syn {
		c.notes |= NoteRetransmits
	}
	c.client.begin(seg.Seq)
	c.syn, c.synLen = true, wire.Seq(len(seg.Payload))
	c.client.asked, c.client.scale = true, seg.Options.WindowScale
	return true
}

// completes reports whether a client's segment ends the handshake: it acknowledges the SYN-ACK. Of several SYN-ACKs, one of which may
// not be the server's, it tells the one that the client believed. A SYN-ACK that was not captured had the number before.
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

// words keeps the first line, and notes how the payload came.
func (c *conn) words(seg *wire.Segment) {
	end := seg.Seq + wire.Seq(len(seg.Payload))
	switch {
	case len(seg.Payload) == 0 || !end.After(c.client.isn+1): // an octet below the first is a keep-alive's
		return
	case !end.After(c.client.next):
		c.notes |= NoteRetransmits
	case seg.Seq.After(c.client.next):
		c.notes |= NoteReordered
	}
	if c.line == nil && seg.Seq.AtOrBefore(c.client.isn+1) {
		text := seg.Payload[c.client.isn+1-seg.Seq:]
		c.line = append([]byte{}, text[:min(len(text), maxLine)]...)
	}
}

// fromServer takes a segment from the server; false if TCP does not accept it.
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
	c.server.sends(c.now, seg)
	return true
}

// serverSyn takes a SYN-ACK. Only one that acknowledges the client's SYN is for it (RFC 9293 section 3.10.7.3); the first is believed
// until the client's ACK tells better.
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
	c.server.asked, c.server.scale = true, seg.Options.WindowScale
	c.client.hears(seg, 0) // a SYN's window is not scaled (RFC 7323 section 2.2)
	return true
}

func (c *conn) acksSyn(seg *wire.Segment) bool {
	return seg.Ack.After(c.client.isn) && seg.Ack.AtOrBefore(c.client.isn+1+c.synLen)
}

// resetBy takes an RST. In SYN-SENT, which the client may be in until its ACK is seen, the acknowledgement tells whether it is to be
// believed (RFC 9293 section 3.10.7.3), so that one which somebody on the way throws in is not.
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
