package dataplane

import (
	"bytes"
	"cmp"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/netsim"
	"hushgate/internal/wire"
)

// ship puts a frame on a link. It returns the frame's fate, which is empty if at least one copy arrives undamaged.
func (w *world) ship(l *netsim.Link, frame []byte, c *simConn, side wire.Side, corrupt bool) (fate string) {
	fate = "lost"
	l.Carry(w.r, func(after time.Duration, damage bool) {
		switch {
		case !corrupt && !damage:
			fate = ""
		case fate != "":
			fate = "corrupt"
		}
		var p *packet
		if n := len(w.spare); n > 0 {
			p, w.spare = w.spare[n-1], w.spare[:n-1]
		} else {
			p = &packet{}
		}
		*p = packet{frame: append(p.frame[:0], frame...), conn: c, side: side, corrupt: corrupt}
		if damage && !corrupt {
			p.corrupt = true
			w.corrupt(p.frame)
		} else if side != 0 && !corrupt && w.r.IntN(8) == 0 {
			p.frame[0] = 2 // VIRTIO_NET_HDR_F_DATA_VALID: the hardware has verified the checksum
		}
		w.at(w.now.Add(after), p)
	})
	return fate
}

// corrupt changes one bit of the TCP segment, which makes its checksum wrong.
func (w *world) corrupt(frame []byte) {
	from := wire.PacketAt + 20
	end := wire.PacketAt + int(frame[wire.PacketAt+2])<<8 + int(frame[wire.PacketAt+3])
	if frame[wire.PacketAt]>>4 == 6 {
		from = wire.PacketAt + 40
		end = from + int(frame[wire.PacketAt+4])<<8 + int(frame[wire.PacketAt+5])
	}
	frame[from+w.r.IntN(end-from)] ^= byte(1 << w.r.IntN(8))
	frame[0] = 0
}

// input passes a frame to the shard.
func (w *world) input(p *packet) {
	talk := false
	if c := p.conn; c != nil && p.side == wire.Outside && !p.corrupt && w.dec.Decode(p.frame) == wire.KindTCP {
		owner := w.owner(c.tuple)
		talk = len(w.dec.Segment.Payload) > 0 && !w.keepAlive(c) && !cmp.Or(owner, c).banner
		c.early = c.early || talk && owner == c // in a flood there is no record, so early talk cannot be detected
	}
	w.s.Input(w.now, p.side, p.frame)
	w.drain(p, talk)
}

// owner returns the connection whose flow the shard has, among those that used a 4-tuple one after another.
func (w *world) owner(t tuple4) *simConn {
	id := w.s.lookupOut(t.addr, t.port, ServiceID(t.svc))
	c := w.byTuple[t]
	for id != 0 && c != nil && c.cfg.ISS != w.s.flows.At(id).conn.IRS {
		c = c.before
	}
	if id == 0 {
		return nil
	}
	return c
}

// keepAlive reports whether the decoded segment of a client carries only the octet before its stream or, if the stream is
// empty, one with the number of its FIN.
func (w *world) keepAlive(c *simConn) bool {
	return c.client.Written == 0 || w.dec.Segment.Seq+wire.Seq(len(w.dec.Segment.Payload)) == c.cfg.ISS+1
}

// drain handles the shard's output after the frame in. If talk is true, the frame is payload of a client that has been sent no
// banner.
func (w *world) drain(in *packet, talk bool) {
	batch := w.s.Drain()
	for i := range batch.Events {
		w.event(&batch.Events[i])
	}
	corrupt := in != nil && in.corrupt
	if corrupt && len(batch.Out) > 1 {
		w.fatalf(in.conn, "a corrupt frame is answered by %d frames", len(batch.Out))
	}
	for _, o := range batch.Out {
		kind := w.dec.Decode(o.Frame)
		if kind == wire.KindICMP && o.Side == wire.Outside {
			w.tellTooBig(o.Frame)
			continue
		}
		if kind != wire.KindTCP {
			w.fatalf(nil, "the shard sent a frame of kind %d", kind)
		}
		seg := &w.dec.Segment
		if o.Frame[0] == 0 && seg.ChecksumOK() == corrupt {
			w.fatalf(w.connOf(o.Side, seg), "the frame arrived corrupt: %v; it was forwarded with a correct checksum: %v", corrupt,
				seg.ChecksumOK())
		}
		if o.Side == wire.Outside {
			w.toClient(o.Frame, corrupt)
		} else {
			if talk && len(seg.Payload) > 0 && w.cfg.Frontends[0].Action != ActionObserve {
				w.fatalf(in.conn, "early talk was forwarded to a server")
			}
			w.opens(seg)
			w.toServer(o.Frame, corrupt)
		}
	}
}

// connOf finds the latest connection that a segment from the shard belongs to.
func (w *world) connOf(side wire.Side, seg *wire.Segment) *simConn {
	if side == wire.Inside && w.proxied {
		return w.origins[origin{seg.Src, seg.SrcPort, seg.Dst}]
	}
	if side == wire.Inside {
		for svc := range w.cfg.Services {
			if c := w.byTuple[tuple4{seg.Src, seg.SrcPort, svc}]; c != nil {
				return c
			}
		}
		return nil
	}
	svc := w.s.services[addrPort{seg.Src, seg.SrcPort}]
	return w.byTuple[tuple4{seg.Dst, seg.DstPort, int(svc)}]
}

func (w *world) toClient(frame []byte, corrupt bool) {
	c := w.connOf(wire.Outside, &w.dec.Segment)
	if c == nil { // its source was spoofed by a flood
		return
	}
	seg := &w.dec.Segment
	if len(seg.Payload) > 0 && !corrupt && w.beyondTeaser(c, seg) {
		cmp.Or(w.owner(c.tuple), c).banner = true
	}
	if most := c.cfg.MSS; most > 0 && len(seg.Payload) > int(most) && !corrupt {
		w.fatalf(c, "a segment of %d octets was sent, but the client's MSS is %d", len(seg.Payload), most)
	}
	fate := w.ship(&c.from, frame, c, 0, corrupt)
	if fate != "" && c.received() == 0 {
		c.lost++
	}
	w.note(c, seg, "c < g    ", fate)
}

// tellTooBig ships an ICMP error to its client. The network of every third client drops ICMP.
func (w *world) tellTooBig(frame []byte) {
	var e wire.ICMPError
	if !w.dec.ICMPError(&e) || e.MTU() == 0 {
		w.fatalf(nil, "sent an ICMP error that is none")
	}
	c := w.connOf(wire.Outside, &wire.Segment{Src: e.QuoteDst, SrcPort: e.QuoteDstPort, Dst: e.QuoteSrc, DstPort: e.QuoteSrcPort})
	if c == nil {
		w.fatalf(nil, "an ICMP error without a client")
	}
	fate := "not heard"
	if c.id%3 != 0 {
		fate = w.ship(&c.from, frame, c, 0, false)
	}
	w.note(c, &wire.Segment{Seq: e.QuoteSeq, Wnd: uint16(e.MTU())}, "c < g ICMP", fate)
}

// hear passes an ICMP error to the client's TCP.
func (w *world) hear() {
	var e wire.ICMPError
	if !w.dec.ICMPError(&e) {
		return // corrupt
	}
	svc := w.s.services[addrPort{e.QuoteDst, e.QuoteDstPort}]
	c := w.byTuple[tuple4{e.QuoteSrc, e.QuoteSrcPort, int(svc)}]
	if c == nil || c.client == nil {
		return
	}
	headers := 60
	if e.QuoteSrc.Is4() {
		headers = 40
	}
	c.client.TooBig(w.now, e.QuoteSeq, e.MTU()-headers)
	w.look(c, c.client)
	w.arm(c.client, &c.armed, c)
}

func (w *world) toServer(frame []byte, corrupt bool) {
	seg := &w.dec.Segment
	c := w.connOf(wire.Inside, seg)
	v := w.serverAt(seg.Dst)
	w.note(c, seg, "    g > s", w.ship(&v.to, frame, c, 0, corrupt))
}

func (w *world) serverAt(a wire.Addr) *simServer {
	for _, v := range w.servers {
		if v.addr == a {
			return v
		}
	}
	return nil
}

// sent handles a frame that an endpoint, or its host, sends.
func (w *world) sent(_ *netsim.Endpoint, frame []byte) {
	kind := w.own.Decode(frame)
	seg := &w.own.Segment
	// With payload, the checksum is verified when it leaves the shard, which updates it and does not recompute it.
	if kind != wire.KindTCP || len(seg.Payload) == 0 && !seg.ChecksumOK() {
		w.fatalf(nil, "the model built a frame of kind %d, or with a wrong checksum", kind)
	}
	if v := w.serverAt(seg.Src); v != nil {
		c := w.connOf(wire.Inside, &wire.Segment{Src: seg.Dst, SrcPort: seg.DstPort, Dst: seg.Src})
		w.note(c, seg, "    g < s", w.ship(&v.from, frame, c, wire.Inside, false))
	} else {
		svc := w.s.services[addrPort{seg.Dst, seg.DstPort}]
		c := w.byTuple[tuple4{seg.Src, seg.SrcPort, int(svc)}]
		fate := w.ship(&c.to, frame, c, wire.Outside, false)
		if fate != "" && c.received() == 0 {
			c.lost++
		}
		w.note(c, seg, "c > g    ", fate)
	}
}

// deliver passes a frame from the shard to the host at its destination.
func (w *world) deliver(p *packet) {
	switch w.dec.Decode(p.frame) {
	case wire.KindTCP:
	case wire.KindICMP:
		w.hear()
		return
	default:
		return // corrupt
	}
	seg := &w.dec.Segment
	if p.corrupt && !seg.ChecksumOK() { // others were verified when they left the shard
		return
	}
	if v := w.serverAt(seg.Dst); v != nil {
		w.atServer(v, seg)
		return
	}
	svc := w.s.services[addrPort{seg.Src, seg.SrcPort}]
	c := w.byTuple[tuple4{seg.Dst, seg.DstPort, int(svc)}]
	switch {
	case c == nil || c.client == nil || c.client.Outcome() == netsim.Vanished:
	case c.client.State() == netsim.Closed:
		w.stack.Refuse(seg)
	default:
		c.client.Arrive(w.now, seg)
		w.look(c, c.client)
		w.arm(c.client, &c.armed, c)
		w.again(c)
	}
}

// atServer handles a segment at a server's host: for one of its endpoints, or for its listener.
func (w *world) atServer(v *simServer, seg *wire.Segment) {
	if v.silent {
		return
	}
	key := tuple4{addr: seg.Src, port: seg.SrcPort}
	a := v.endpoints[key]
	if a != nil && a.tcp.Outcome() == netsim.Vanished && !seg.Flags.Has(wire.SYN) {
		return
	}
	syn := seg.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN
	open := a != nil && a.tcp.State() != netsim.Closed
	if open && !(syn && a.tcp.Reopens(seg)) {
		a.tcp.Arrive(w.now, seg)
		w.look(a.conn, a.tcp)
		w.arm(a.tcp, &a.armed, nil)
		return
	}
	c := w.connOf(wire.Inside, seg)
	if !syn || v.refusing || c == nil {
		w.stack.Refuse(seg)
		return
	}
	if open {
		a.tcp.End(netsim.Clean)
	}
	w.accept(v, c, key, seg)
}

func (w *world) accept(v *simServer, c *simConn, key tuple4, seg *wire.Segment) {
	a := &attempt{conn: c, server: v, stream: netsim.Stream(w.r.Uint64()), armed: mono.Never, maybe: c.received() == 0}
	c.attempts = append(c.attempts, a)
	v.endpoints[key] = a
	cfg := v.options
	cfg.Local, cfg.LocalPort, cfg.Remote, cfg.RemotePort = v.addr, 25, seg.Src, seg.SrcPort
	cfg.ISS = w.number()
	cfg.Patience = 10 * time.Minute
	cfg.Out, cfg.In, cfg.Script = a.stream, c.stream.Holds, c.script
	w.expectHeader(a, &cfg)
	a.tcp = netsim.Accept(w.stack, cfg, w.now, seg)
	w.arm(a.tcp, &a.armed, nil)
}

// look fails the test if an endpoint has found something wrong.
func (w *world) look(c *simConn, e *netsim.Endpoint) {
	if e.Wrong != "" {
		w.fatalf(c, "%s", e.Wrong)
	}
}

// number draws an initial sequence number, sometimes near the wrap.
func (w *world) number() wire.Seq {
	if w.r.IntN(4) == 0 {
		return -wire.Seq(w.r.IntN(20000))
	}
	return wire.Seq(w.r.Uint32())
}

// heardBy checks what a client receives against every stream that it might be. Streams differ from their first octets on.
func (c *simConn) heardBy(offset uint64, b []byte) bool {
	offset, b, found := c.afterTeaser(offset, b)
	if len(b) == 0 {
		return found
	}
	found = false
	for _, a := range c.attempts {
		a.maybe = a.maybe && a.stream.Holds(offset, b)
		found = found || a.maybe
	}
	for i := range c.texts {
		x := &c.texts[i]
		end := offset + uint64(len(b))
		x.maybe = x.maybe && end <= uint64(len(x.text)) && bytes.Equal(b, []byte(x.text[offset:end]))
		found = found || x.maybe
	}
	return found
}

// serving returns the server's end whose stream the client has received. It is nil if there is none, or if the client has
// received too little to tell.
func (c *simConn) serving() (one *attempt) {
	if c.received() == 0 {
		return nil
	}
	for _, a := range c.attempts {
		if a.maybe {
			if one != nil {
				return nil
			}
			one = a
		}
	}
	return one
}
