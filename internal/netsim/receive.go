package netsim

import (
	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// Arrive handles a segment with a correct checksum, in the order of RFC 9293 section 3.10.7.
func (e *Endpoint) Arrive(now mono.Time, seg *wire.Segment) {
	switch e.state {
	case Closed:
		return
	case SynSent:
		e.answered(now, seg)
	default:
		e.segment(now, seg)
	}
	if !e.synchronised() {
		return
	}
	e.run(now)
	e.output(now)
	e.acknowledgeText(now)
}

// Reopens reports whether a SYN may open a new connection in place of this endpoint in TIME-WAIT (RFC 6191).
func (e *Endpoint) Reopens(syn *wire.Segment) bool {
	if e.state != TimeWait {
		return false
	}
	if e.ts && syn.Options.Timestamps && syn.Options.TSval != e.tsRecent {
		return int32(syn.Options.TSval-e.tsRecent) > 0
	}
	return syn.Seq.After(e.rcvNxt)
}

// answered handles a segment in SYN-SENT (section 3.10.7.3). A simultaneous open is not modelled.
func (e *Endpoint) answered(now mono.Time, seg *wire.Segment) {
	ours := seg.Flags.Has(wire.ACK) && seg.Ack == e.iss+1
	switch {
	case seg.Flags.Has(wire.ACK) && !ours:
		e.stack.Refuse(seg)
	case seg.Flags.Has(wire.RST):
		if ours {
			e.End(Refused)
		}
	case ours && seg.Flags.Has(wire.SYN):
		e.checkOffer(now, seg)
		e.irs, e.rcvNxt, e.edge = seg.Seq, seg.Seq+1, seg.Seq+1+wire.Seq(min(e.cfg.Buffer, 0xffff))
		e.agree(seg)
		e.sndUna, e.state, e.retries = e.iss+1, Established, 0
		e.retransmit = mono.Never
		e.sndWnd, e.maxWnd = uint32(seg.Wnd), uint32(seg.Wnd)
		e.sndWL1, e.sndWL2 = seg.Seq, seg.Ack
		e.opened(now)
		e.sendACK(now)
	}
}

// checkOffer checks that a SYN-ACK has only options that were offered.
func (e *Endpoint) checkOffer(now mono.Time, seg *wire.Segment) {
	o := &seg.Options
	switch {
	case o.Timestamps && !e.cfg.Timestamps, o.SACKPermitted && !e.cfg.SACK,
		o.WindowScale != wire.NoScale && e.cfg.WindowScale == wire.NoScale:
		e.wrong("a SYN-ACK with options that were not offered: %+v", *o)
	case o.Timestamps:
		e.checkEcho(now, seg)
	}
}

func (e *Endpoint) opened(now mono.Time) {
	e.progress(now)
	e.heard(now)
}

// heard restarts the keep-alive timer.
func (e *Endpoint) heard(now mono.Time) {
	e.probes = 0
	if e.cfg.KeepAlive > 0 && e.state != TimeWait && e.state != Closed {
		e.keepAlive = now.Add(e.cfg.KeepAlive)
	}
}

// segment implements section 3.10.7.4.
func (e *Endpoint) segment(now mono.Time, seg *wire.Segment) {
	o := &seg.Options
	if e.ts && !seg.Flags.Has(wire.RST|wire.SYN) {
		if !o.Timestamps {
			if e.acceptable(seg) {
				e.wrong("a segment without the timestamp that was agreed on: seq %d %v", seg.Seq, seg.Flags)
			}
			return
		}
		if int32(o.TSval-e.tsRecent) < 0 { // PAWS (RFC 7323 section 5.3)
			e.sendACK(now)
			return
		}
	}
	if e.state == SynReceived && seg.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN && seg.Seq == e.irs {
		e.sendSYN(now)
		return
	}
	if !e.acceptable(seg) {
		if !seg.Flags.Has(wire.RST) {
			e.sendACK(now)
			if seg.Flags.Has(wire.FIN) && e.state == TimeWait {
				e.timeWait = now.Add(twoMSL)
			}
		}
		return
	}
	switch {
	case seg.Flags.Has(wire.RST): // RFC 5961 section 3.2
		switch {
		case seg.Seq != e.rcvNxt:
			e.sendACK(now)
		case e.state == TimeWait:
			e.End(Clean)
		default:
			e.End(Reset)
		}
		return
	case seg.Flags.Has(wire.SYN): // RFC 5961 section 4.2
		e.sendACK(now)
		return
	case !seg.Flags.Has(wire.ACK):
		return
	case e.state == SynReceived:
		if !seg.Ack.After(e.sndUna) || seg.Ack.After(e.sndMax) {
			e.stack.Refuse(seg)
			return
		}
		e.state, e.sndWL1, e.sndWL2 = Established, seg.Seq, seg.Ack-1
		e.opened(now)
	}
	e.heard(now)
	if e.ts {
		e.checkEcho(now, seg)
		if seg.Seq.AtOrBefore(e.lastACKSent) { // RFC 7323 section 4.3
			e.tsRecent = o.TSval
		}
	}
	if !e.acknowledged(now, seg) {
		return
	}
	if e.state != Closed {
		e.text(now, seg)
	}
}

// acceptable is the first check, with the limits of Linux: an old segment that ends at RCV.NXT may carry an acknowledgement,
// and so may one that begins at the window's end.
func (e *Endpoint) acceptable(seg *wire.Segment) bool {
	return seg.End().AtOrAfter(e.rcvNxt) && seg.Seq.AtOrBefore(e.edge)
}

// checkEcho notices an echo of a timestamp that was never sent.
func (e *Endpoint) checkEcho(now mono.Time, seg *wire.Segment) {
	if echo := seg.Options.TSecr; int32(echo-e.tsFirst) < 0 || int32(e.clock(now)-echo) < 0 {
		e.wrong("echoes the timestamp %d, of %d to %d that were sent", echo, e.tsFirst, e.clock(now))
	}
}

// text handles payload and FIN.
func (e *Endpoint) text(now mono.Time, seg *wire.Segment) {
	if seg.Len() == 0 {
		return
	}
	if e.state != Established && e.state != FinWait1 && e.state != FinWait2 {
		e.unacked = 2 // a retransmission: acknowledge at once
		return
	}
	from, payload := seg.Seq, seg.Payload
	if known := int(int32(e.rcvNxt - from)); known > 0 {
		known = min(known, len(payload))
		from, payload = from+wire.Seq(known), payload[known:]
	}
	if room := int(int32(e.edge - from)); room < len(payload) {
		payload = payload[:max(room, 0)]
	}
	e.unacked++
	if len(payload) > 0 {
		e.take(now, span{from, from + wire.Seq(len(payload))}, payload)
	} else if len(seg.Payload) > 0 {
		e.unacked = 2
	}
	if seg.Flags.Has(wire.FIN) && seg.End()-1 == from+wire.Seq(len(payload)) {
		if e.finKnown && e.fin != seg.End()-1 {
			e.wrong("a second FIN, at %d after %d", seg.End()-1, e.fin)
		}
		e.finKnown, e.fin = true, seg.End()-1
	}
	if e.finKnown && e.rcvNxt == e.fin {
		e.finished(now)
	}
}

// take checks and accepts octets in the window.
func (e *Endpoint) take(now mono.Time, s span, payload []byte) {
	if e.finKnown && s.to.After(e.fin) {
		e.wrong("octets up to %d after the FIN at %d", s.to, e.fin)
	}
	if !e.cfg.In(uint64(uint32(s.from-e.irs-1)), payload) {
		e.wrong("octet %d or one of the %d after it is not what was sent", s.from-e.irs-1, len(payload)-1)
	}
	if s.from != e.rcvNxt || len(e.early) > 0 {
		e.unacked = 2 // RFC 5681 section 4.2
	}
	if s.from != e.rcvNxt {
		e.early.add(s)
		return
	}
	at := e.early.passed(s.to)
	e.Received += uint64(uint32(at - e.rcvNxt))
	e.rcvNxt = at
	e.progress(now)
}

// finished handles the other end's FIN.
func (e *Endpoint) finished(now mono.Time) {
	e.rcvNxt++
	if e.edge.Before(e.rcvNxt) {
		e.edge = e.rcvNxt
	}
	e.EOF = true
	e.unacked = 2
	e.progress(now)
	switch {
	case e.state == Established:
		e.state = CloseWait
	case e.FinAcked:
		e.enterTimeWait(now)
	default:
		e.state = Closing
	}
}

func (e *Endpoint) enterTimeWait(now mono.Time) {
	e.state = TimeWait
	e.retransmit, e.keepAlive = mono.Never, mono.Never
	e.timeWait = now.Add(twoMSL)
}

// acknowledgeText sends the pending ACK now or later, if no segment has carried it.
func (e *Endpoint) acknowledgeText(now mono.Time) {
	switch {
	case e.unacked == 0 || e.state == Closed:
	case e.unacked > 1 || e.cfg.DelayedACK == 0:
		e.sendACK(now)
	case e.delayed == mono.Never:
		e.delayed = now.Add(e.cfg.DelayedACK)
	}
}

// window returns the window field. Its right edge never moves back, and not forward in small steps (RFC 9293 section
// 3.8.6.2.2).
func (e *Endpoint) window() uint16 {
	edge := e.edge
	if e.room() {
		edge = e.freeTo()
	}
	if edge.Before(e.rcvNxt) {
		edge = e.rcvNxt
	}
	scale := max(0, e.rcvScale)
	field := min(uint32(edge-e.rcvNxt)>>scale, 0xffff)
	if told := e.rcvNxt + wire.Seq(field<<scale); told.After(e.edge) {
		e.edge = told
	}
	return uint16(field)
}

func (e *Endpoint) freeTo() wire.Seq {
	return e.rcvNxt + wire.Seq(e.cfg.Buffer) - wire.Seq(e.Received-e.consumed)
}

// room reports whether the window can grow by enough to announce it.
func (e *Endpoint) room() bool {
	return int32(e.freeTo()-e.edge) >= int32(min(e.cfg.Buffer/2, uint32(max(e.cfg.MSS, 536))))
}

// offerRoom announces a window that has opened.
func (e *Endpoint) offerRoom(now mono.Time) {
	if e.synchronised() && !e.finKnown && e.state != TimeWait && e.room() {
		e.sendACK(now)
	}
}
