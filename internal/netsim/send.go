package netsim

import (
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// header returns the fields that all segments share.
func (e *Endpoint) header(now mono.Time, flags wire.Flags, seq wire.Seq) wire.Header {
	c := &e.cfg
	h := wire.Header{
		Src: c.Local, SrcPort: c.LocalPort, Dst: c.Remote, DstPort: c.RemotePort, Seq: seq, Flags: flags,
	}
	if e.state != SynSent {
		h.Ack = e.rcvNxt
		h.Flags |= wire.ACK
		h.Wnd = e.window()
	}
	if e.ts {
		h.Timestamps, h.TSval, h.TSecr = true, e.clock(now), e.tsRecent
	}
	return h
}

// sendSYN sends the SYN or the SYN-ACK. Its window is not scaled.
func (e *Endpoint) sendSYN(now mono.Time) {
	h := e.header(now, wire.SYN, e.iss)
	h.Wnd = uint16(min(e.cfg.Buffer, 0xffff))
	if e.state == SynReceived {
		e.edge = e.rcvNxt + wire.Seq(h.Wnd)
	}
	h.MSS = e.cfg.MSS
	h.SACKPermitted = e.sack
	if e.state == SynSent || e.rcvScale != wire.NoScale {
		h.Scale, h.WindowScale = e.cfg.WindowScale != wire.NoScale, e.cfg.WindowScale
	}
	e.lastACKSent = e.rcvNxt
	e.stack.send(e, &h, nil, nil)
}

// sendACK sends a bare ACK, with a number in the other end's window even if a probe has exceeded it.
func (e *Endpoint) sendACK(now mono.Time) {
	seq := e.sndMax
	if edge := e.sndUna + wire.Seq(e.sndWnd); e.synchronised() && seq.After(edge) {
		seq = edge
	}
	e.transmit(now, seq, 0, wire.ACK)
}

// transmit sends n octets of the stream from seq on, with an ACK.
func (e *Endpoint) transmit(now mono.Time, seq wire.Seq, n int, flags wire.Flags) {
	h := e.header(now, flags, seq)
	payload := e.stack.scratch(n)
	e.cfg.Out.Fill(uint64(uint32(seq-e.iss-1)), payload)
	e.unacked, e.lastACKSent, e.delayed = 0, e.rcvNxt, mono.Never
	e.stack.send(e, &h, payload, e.blocks())
}

// blocks returns the edges of SACK blocks for what was received beyond a hole (RFC 2018 section 4), as many as fit with a
// timestamp.
func (e *Endpoint) blocks() (edges []wire.Seq) {
	if !e.sack {
		return nil
	}
	for _, s := range e.early[:min(3, len(e.early))] {
		edges = append(edges, s.from, s.to)
	}
	return edges
}

// abort resets the connection.
func (e *Endpoint) abort(now mono.Time) {
	if e.state != SynSent {
		h := e.header(now, wire.RST, e.sndMax)
		h.Timestamps, h.Wnd = false, 0
		e.stack.send(e, &h, nil, nil)
	}
	e.End(Aborted)
}

// end returns the number after the last octet that the application has sent: that of the FIN.
func (e *Endpoint) end() wire.Seq { return e.iss + 1 + wire.Seq(e.Written) }

func (e *Endpoint) finSent() bool { return e.sndMax == e.end()+1 }

// mayTransmit reports whether data may be sent in this state.
func (e *Endpoint) mayTransmit() bool {
	return e.synchronised() && e.state != FinWait2 && e.state != TimeWait
}

// output sends what the windows allow.
func (e *Endpoint) output(now mono.Time) {
	if !e.mayTransmit() {
		return
	}
	for e.sendNext(now) {
	}
	if e.sndUna == e.sndMax && e.sndNxt.Before(e.end()) && e.retransmit == mono.Never { // the window is closed
		e.retries = 0
		e.arm(now)
	}
}

// sendNext sends one segment; false if there is none, or no room.
func (e *Endpoint) sendNext(now mono.Time) bool {
	at, next, more := e.sacked.behind(e.sndNxt)
	e.sndNxt = at
	left := int32(e.end() - at)
	if left < 0 || left == 0 && !e.closing {
		return false
	}
	n := min(left, int32(e.mss), int32(e.sndUna+wire.Seq(min(e.sndWnd, e.cwnd))-at))
	if more {
		n = min(n, int32(next-at))
	}
	switch {
	case left > 0 && n <= 0:
		return false
	case n < left && uint32(n) < e.mss && uint32(n) < e.maxWnd/2 && at != e.sndUna && !more:
		return false // silly window syndrome (RFC 9293 section 3.8.6.2.1): an ACK will come
	}
	n = max(n, 0)
	e.emit(now, at, n)
	if e.retransmit == mono.Never {
		e.arm(now)
	}
	return true
}

// emit sends n octets at a number, and the FIN if it follows them.
func (e *Endpoint) emit(now mono.Time, at wire.Seq, n int32) {
	to, flags := at+wire.Seq(n), wire.ACK
	if to == e.end() {
		if n > 0 {
			flags |= wire.PSH
		}
		if e.closing {
			flags |= wire.FIN
			to++
			e.closed()
		}
	}
	if to.After(e.sndMax) {
		if e.timedAt == 0 {
			e.timed, e.timedAt = to, now
		}
		e.sndMax = to
	} else {
		e.timedAt = 0 // Karn's algorithm (RFC 6298 section 3)
	}
	if to.After(e.sndNxt) {
		e.sndNxt = to
	}
	e.transmit(now, at, int(n), flags)
}

// closed changes the state when our FIN is sent.
func (e *Endpoint) closed() {
	switch e.state {
	case Established:
		e.state = FinWait1
	case CloseWait:
		e.state = LastAck
	case Closed, SynSent, SynReceived, FinWait1, FinWait2, Closing, LastAck, TimeWait:
	}
}

// retransmitHole retransmits the first segment at or after a number that the other end does not have.
func (e *Endpoint) retransmitHole(now mono.Time, from wire.Seq) bool {
	at, next, more := e.sacked.behind(from)
	if !at.Before(e.sndMax) || !more && at != e.sndUna {
		return false
	}
	n := min(int32(e.end()-at), int32(e.sndMax-at), int32(e.mss)) // nothing new, because there may be no room for it
	if more {
		n = min(n, int32(next-at))
	}
	n = max(n, 0)
	e.again = at + wire.Seq(max(n, 1))
	e.emit(now, at, n)
	return true
}

// acknowledged is the fifth check; false if the segment is not processed further.
func (e *Endpoint) acknowledged(now mono.Time, seg *wire.Segment) bool {
	if seg.Ack.After(e.sndMax) || seg.Ack.Before(e.sndUna-wire.Seq(e.maxWnd)) { // RFC 5961 section 5.2
		e.sendACK(now)
		return false
	}
	e.selective(seg)
	wnd := uint32(seg.Wnd) << max(0, e.sndScale)
	switch {
	case seg.Ack.After(e.sndUna):
		e.advance(now, seg)
	case wnd == 0 || e.sndUna == e.sndMax:
		e.retries = 0 // an answer to a probe of a closed window
	case seg.Ack == e.sndUna && seg.Len() == 0 && wnd == e.sndWnd:
		e.duplicate(now)
	}
	if seg.Ack.AtOrAfter(e.sndUna) &&
		(e.sndWL1.Before(seg.Seq) || e.sndWL1 == seg.Seq && e.sndWL2.AtOrBefore(seg.Ack)) {
		if e.sndWnd == 0 && wnd > 0 && e.sndUna == e.sndMax {
			e.retransmit = mono.Never
		}
		e.sndWnd, e.sndWL1, e.sndWL2 = wnd, seg.Seq, seg.Ack
		e.maxWnd = max(e.maxWnd, wnd)
	}
	return true
}

// selective handles SACK blocks.
func (e *Endpoint) selective(seg *wire.Segment) {
	for i := range seg.Options.SACKBlocks {
		s := span{seg.SACKEdge(2 * i), seg.SACKEdge(2*i + 1)}
		switch {
		case !e.sack:
			e.wrong("SACK that was not agreed on")
		case !s.from.Before(s.to) || s.to.After(e.sndMax):
			e.wrong("SACK of %d to %d, sent up to %d", s.from, s.to, e.sndMax)
		case s.from.After(e.sndUna):
			e.sacked.add(s)
		}
	}
}

// advance handles an acknowledgement of new data.
func (e *Endpoint) advance(now mono.Time, seg *wire.Segment) {
	newly := uint32(seg.Ack - e.sndUna)
	e.sample(now, seg)
	e.sndUna = seg.Ack
	if e.sndNxt.Before(e.sndUna) {
		e.sndNxt = e.sndUna
	}
	e.sacked.passed(e.sndUna)
	e.retries, e.dupACKs = 0, 0
	e.progress(now)
	e.Acked = min(uint64(uint32(e.sndUna-e.iss-1)), e.Written)
	switch {
	case e.recovering && e.sndUna.AtOrAfter(e.recover):
		e.recovering, e.cwnd = false, e.ssthresh
	case e.recovering: // a partial acknowledgement (RFC 6582)
		e.retransmitHole(now, e.sndUna)
		e.cwnd = max(e.cwnd-min(newly, e.cwnd), e.mss) + e.mss
	case e.cwnd < e.ssthresh:
		e.cwnd += min(newly, e.mss)
	default:
		e.cwnd += max(1, e.mss*e.mss/e.cwnd)
	}
	e.retransmit = mono.Never
	if e.sndUna != e.sndMax {
		e.arm(now)
	}
	if e.finSent() && e.sndUna == e.sndMax && e.state != Established && e.state != CloseWait && !e.FinAcked {
		e.finAcked(now)
	}
}

func (e *Endpoint) finAcked(now mono.Time) {
	e.FinAcked = true
	switch e.state {
	case FinWait1:
		e.state = FinWait2
	case Closing:
		e.enterTimeWait(now)
	case LastAck:
		e.End(Clean)
	case Closed, SynSent, SynReceived, Established, FinWait2, CloseWait, TimeWait:
	}
}

// duplicate handles a duplicate ACK; the third one indicates a loss (RFC 5681 section 3.2).
func (e *Endpoint) duplicate(now mono.Time) {
	e.dupACKs++
	switch {
	case e.recovering:
		if len(e.sacked) == 0 || !e.retransmitHole(now, e.again) {
			e.cwnd += e.mss
		}
	case e.dupACKs == 3:
		e.ssthresh = max(uint32(e.sndMax-e.sndUna)/2, 2*e.mss)
		e.cwnd = e.ssthresh + 3*e.mss
		e.recovering, e.recover, e.again = true, e.sndMax, e.sndUna
		e.retransmitHole(now, e.sndUna)
	}
}

// sample measures the round-trip time (RFC 6298 section 2).
func (e *Endpoint) sample(now mono.Time, seg *wire.Segment) {
	var rtt time.Duration
	switch {
	case e.ts:
		rtt = time.Duration(e.clock(now)-seg.Options.TSecr) * e.tick()
	case e.timedAt != 0 && seg.Ack.AtOrAfter(e.timed):
		rtt = now.Sub(e.timedAt)
		e.timedAt = 0
	default:
		return
	}
	if e.srtt == 0 {
		e.srtt, e.rttvar = rtt, rtt/2
	} else {
		e.rttvar += ((e.srtt - rtt).Abs() - e.rttvar) / 4
		e.srtt += (rtt - e.srtt) / 8
	}
	e.rto = min(max(e.srtt+4*e.rttvar, minRTO), maxRTO)
}

// TooBig handles an ICMP error that reports a too big segment: unacknowledged data is sent again in segments that fit the
// MSS (RFC 1191 section 6.4).
func (e *Endpoint) TooBig(now mono.Time, seq wire.Seq, mss int) {
	if e.ts {
		mss -= 12
	}
	if !e.mayTransmit() || seq.Before(e.sndUna) || seq.AtOrAfter(e.sndMax) || mss >= int(e.mss) || mss <= 0 {
		return
	}
	e.mss = uint32(mss)
	e.sndNxt, e.recovering, e.dupACKs, e.timedAt = e.sndUna, false, 0, 0
	e.output(now)
}

// arm starts the timer for retransmissions and probes of a closed window.
func (e *Endpoint) arm(now mono.Time) { e.retransmit = now.Add(e.rto) }

// timeout retransmits unacknowledged data, or probes a closed window (RFC 6298 section 5, RFC 9293 section 3.8.6.1).
func (e *Endpoint) timeout(now mono.Time) {
	e.retries++
	if e.retries > maxRetries || !e.synchronised() && e.retries > maxSYNs {
		e.End(TimedOut)
		return
	}
	e.rto = min(2*e.rto, maxRTO)
	e.arm(now)
	switch {
	case !e.synchronised():
		e.sendSYN(now)
	case e.sndUna == e.sndMax:
		e.probeWindow(now)
	default:
		e.ssthresh = max(uint32(e.sndMax-e.sndUna)/2, 2*e.mss)
		e.cwnd, e.sndNxt, e.sacked = e.mss, e.sndUna, nil
		e.recovering, e.dupACKs = false, 0
		if !e.sendNext(now) { // the other end has shrunk its window, which RFC 9293 discourages
			e.emit(now, e.sndUna, min(1, max(0, int32(e.end()-e.sndUna))))
		}
	}
}

// probeWindow probes a closed window: with the next octet as in the RFC, or with an old number and no payload as in Linux.
func (e *Endpoint) probeWindow(now mono.Time) {
	if e.sndWnd > 0 || !e.cfg.Garbage {
		if !e.sendNext(now) {
			e.transmit(now, e.sndUna-1, 0, wire.ACK)
		}
		return
	}
	e.emit(now, e.sndUna, 1)
	e.sndNxt = e.sndUna // not counted as sent until it is acknowledged
}

// probe sends a keep-alive (RFC 9293 section 3.8.4).
func (e *Endpoint) probe(now mono.Time) {
	e.keepAlive = now.Add(min(e.cfg.KeepAlive, 10*time.Second))
	if !e.synchronised() || e.sndUna != e.sndMax {
		return
	}
	if e.probes++; e.probes > maxProbes {
		e.End(TimedOut)
		return
	}
	n := 0
	if e.cfg.Garbage {
		n = 1
	}
	e.transmit(now, e.sndUna-1, n, wire.ACK)
}
