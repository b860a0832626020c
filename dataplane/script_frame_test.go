package dataplane

import (
	"bytes"
	"fmt"

	"hushgate/internal/segscript"
	"hushgate/internal/wire"
)

func (p *player) describe(s *wire.Segment) string {
	return fmt.Sprintf("%v:%d > %v:%d %v seq %d (irs%+d, iss%+d) ack %d (irs%+d, iss%+d) len %d win %d %+v", s.Src, s.SrcPort, s.Dst,
		s.DstPort, s.Flags, s.Seq, int32(s.Seq-p.irs), int32(s.Seq-p.iss), s.Ack, int32(s.Ack-p.irs), int32(s.Ack-p.iss),
		len(s.Payload), s.Wnd, s.Options)
}

// expectTooBig expects an ICMP error from the service that quotes a segment of the client with the client's numbers.
func (p *player) expectTooBig() {
	if len(p.out) == 0 {
		p.fatalf("nothing was sent")
	}
	o := p.out[0]
	p.out = p.out[1:]
	_, vip, _, _ := addrs(p.v6)
	client := wire.AddrFrom(p.client.Addr())
	var e wire.ICMPError
	if p.dec.Decode(o.Frame) != wire.KindICMP || !p.dec.ICMPError(&e) {
		p.fatalf("sent a frame that is not an ICMP error with a correct checksum")
	}
	mtu, headers := e.MTU(), 40
	if p.v6 {
		headers = 60
	}
	if o.Side != wire.Outside || o.Dst != client || e.Src != addr(vip) || e.Dst != client || mtu != p.step.MSS+headers ||
		e.QuoteSrc != client || e.QuoteSrcPort != p.client.Port() || e.QuoteDst != addr(vip) || e.QuoteDstPort != 25 ||
		e.QuoteSeq != p.irs+wire.Seq(p.step.Seq) {
		p.fatalf("sent to %v by the %v: %+v, MTU %d", o.Dst, o.Side, e, mtu)
	}
}

// frame builds the segment of a step that goes to hushgate.
func (p *player) frame() []byte {
	s := p.step
	_, vip, s1, s2 := addrs(p.v6)
	h := wire.Header{Flags: s.Flags, Wnd: s.Wnd, WindowScale: wire.NoScale}
	if s.Server {
		h.Src, h.SrcPort = addr(map[int]string{0: s1, 1: s1, 2: s2}[s.Peer]), 25
		h.Dst, h.DstPort = wire.AddrFrom(p.origin.Addr()), p.origin.Port()
		h.Seq, h.Ack = p.server+wire.Seq(s.Seq), p.irs+wire.Seq(s.Ack)
	} else {
		h.Src, h.SrcPort = wire.AddrFrom(p.client.Addr()), p.client.Port()
		h.Dst, h.DstPort = addr(vip), 25
		h.Seq, h.Ack = p.irs+wire.Seq(s.Seq), p.iss+wire.Seq(s.Ack)
	}
	if !s.HasAck {
		h.Ack = 0
	}
	payload := bytes.Repeat([]byte("x"), s.Len)
	frame := p.build.Append(nil, &h, append(p.options(), payload...))
	p.fix(frame, len(p.options()), &h)
	return frame
}

// options returns the bytes of the options that the step names.
func (p *player) options() (b []byte) {
	o := p.step.Options
	if o == nil {
		return nil
	}
	be := func(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }
	for range o.LeadingNops {
		b = append(b, 1)
	}
	if o.MSS != 0 {
		b = append(b, 2, 4, byte(o.MSS>>8), byte(o.MSS))
	}
	if o.SACKOK {
		b = append(b, 4, 2)
	}
	if o.TS {
		ecr := uint32(o.TSecr)
		if !p.step.Server && ecr != 0 {
			ecr += p.ourTS
		}
		b = append(append(append(b, 8, 10), be(uint32(o.TSval))...), be(ecr)...)
	}
	if o.Scale != wire.NoScale {
		b = append(b, 3, 3, byte(o.Scale))
	}
	if len(o.SACK) > 0 {
		b = append(b, 5, byte(2+8*len(o.SACK)))
		for _, e := range o.SACK {
			base := p.iss
			if p.step.Server {
				base = p.irs
			}
			b = append(append(b, be(uint32(base)+uint32(e[0]))...), be(uint32(base)+uint32(e[1]))...)
		}
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// fix extends the header to the options, which the builder took for payload, and makes the checksum right or wrong.
func (p *player) fix(frame []byte, options int, h *wire.Header) {
	at := wire.PacketAt + 20
	if p.v6 {
		at = wire.PacketAt + 40
	}
	tcp := frame[at : at+20+options+p.step.Len]
	tcp[12] = byte((20 + options) / 4 << 4)
	tcp[13] = byte(h.Flags)
	tcp[16], tcp[17] = 0, 0
	src, dst := h.Src, h.Dst
	sum := uint32(6 + len(tcp))
	for _, b := range [][]byte{src.IP(), dst.IP(), tcp} {
		for i, c := range b {
			if i%2 == 0 {
				sum += uint32(c) << 8
			} else {
				sum += uint32(c)
			}
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if p.step.BadSum {
		sum ^= 0x0100
	}
	tcp[16], tcp[17] = byte(^sum>>8), byte(^sum)
}

// expect compares the next frame that hushgate sent with the step.
func (p *player) expect() {
	if len(p.out) == 0 {
		p.fatalf("nothing was sent")
	}
	o := p.out[0]
	p.out = p.out[1:]
	if k := p.dec.Decode(o.Frame); k != wire.KindTCP {
		p.fatalf("sent a frame of kind %d", k)
	}
	s, w := &p.dec.Segment, p.step
	if !s.ChecksumOK() {
		p.fatalf("sent a wrong checksum: %s", p.describe(s))
	}
	if !w.Server && s.Flags.Has(wire.SYN) && !p.haveISS {
		p.iss, p.haveISS = s.Seq, true
	}
	// Another machine begins at a number of its own, and so does a connection that a script numbers from 0 again.
	if !w.Server && s.Flags.Has(wire.SYN) && p.begun && (p.layout != nil || w.Seq == 0) {
		p.iss, p.begun = s.Seq-wire.Seq(w.Seq), false
	}
	p.expectAddresses(o, s)
	base, ackBase := p.iss, p.irs
	if w.Server {
		base, ackBase = p.irs, p.server
	}
	ok := s.Flags == w.Flags && s.Seq == base+wire.Seq(w.Seq) && len(s.Payload) == w.Len
	if w.HasAck {
		ok = ok && s.Ack == ackBase+wire.Seq(w.Ack)
	}
	if w.HasWnd {
		ok = ok && s.Wnd == w.Wnd
	}
	if w.TTL != 0 {
		ok = ok && s.TTL == w.TTL
	}
	if !ok {
		p.fatalf("sent %s", p.describe(s))
	}
	if end := w.Seq + int64(w.Len); w.Server && end <= 1 && w.Len > 0 {
		if from := len(p.header) + int(w.Seq) - 1; !bytes.Equal(s.Payload, p.header[from:from+w.Len]) {
			p.fatalf("sent %q of the header %q", s.Payload, p.header)
		}
	}
	if w.Options != nil {
		p.expectOptions(s, w.Options)
	}
}

func (p *player) expectAddresses(o Out, s *wire.Segment) {
	_, vip, s1, s2 := addrs(p.v6)
	client := wire.AddrFrom(p.client.Addr())
	good := false
	if p.step.Server {
		good = o.Side == wire.Inside && s.Src == wire.AddrFrom(p.origin.Addr()) && s.SrcPort == p.origin.Port() && s.DstPort == 25 &&
			(p.step.Peer != 2 && s.Dst == addr(s1) || p.step.Peer != 1 && s.Dst == addr(s2))
	} else {
		good = o.Side == wire.Outside && s.Src == addr(vip) && s.SrcPort == 25 && s.Dst == client && s.DstPort == p.client.Port()
	}
	if !good || o.Dst != s.Dst {
		p.fatalf("sent to the wrong place: %v, %s", o.Side, p.describe(s))
	}
}

func (p *player) expectOptions(s *wire.Segment, w *segscript.Options) {
	g := s.Options
	ok := g.MSS == w.MSS && g.SACKPermitted == w.SACKOK && g.Timestamps == w.TS && g.WindowScale == w.Scale &&
		g.SACKBlocks == len(w.SACK)
	if ok && w.TS {
		val, ecr := uint32(w.TSval), uint32(w.TSecr)
		if !p.step.Server { // our timestamps are relative to the first one
			if !p.haveTS {
				p.ourTS, p.haveTS = g.TSval-val, true
			}
			val += p.ourTS
		}
		ok = (w.AnyVal || g.TSval == val) && (w.AnyEcr || g.TSecr == ecr)
	}
	if ok {
		for i, e := range w.SACK {
			base := p.irs
			if p.step.Server {
				base = p.server
			}
			ok = ok && s.SACKEdge(2*i) == base+wire.Seq(e[0]) && s.SACKEdge(2*i+1) == base+wire.Seq(e[1])
		}
	}
	if !ok {
		p.fatalf("sent the options %+v (timestamps %+d, ecr %d)", g, g.TSval-p.ourTS, g.TSecr)
	}
}
