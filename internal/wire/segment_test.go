package wire

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func drawAddr(t *rapid.T, v4 bool, label string) Addr {
	if v4 {
		b := rapid.SliceOfN(rapid.Byte(), 3, 3).Draw(t, label)
		return AddrFrom(netip.AddrFrom4([4]byte{198, b[0], b[1], b[2]}))
	}
	b := rapid.SliceOfN(rapid.Byte(), 14, 14).Draw(t, label)
	return AddrFrom(netip.AddrFrom16([16]byte(append([]byte{0x20, 0x01}, b...))))
}

func drawHeader(t *rapid.T) *Header {
	v4 := rapid.Bool().Draw(t, "v4")
	h := &Header{
		Src: drawAddr(t, v4, "src"), Dst: drawAddr(t, v4, "dst"),
		SrcPort: rapid.Uint16().Draw(t, "sport"), DstPort: rapid.Uint16().Draw(t, "dport"),
		Seq: Seq(rapid.Uint32().Draw(t, "seq")), Ack: Seq(rapid.Uint32().Draw(t, "ack")),
		Flags: Flags(rapid.Uint8().Draw(t, "flags")) & (FIN | SYN | RST | PSH | ACK), Wnd: rapid.Uint16().Draw(t, "wnd"),
		MSS: rapid.Uint16().Draw(t, "mss"), SACKPermitted: rapid.Bool().Draw(t, "sackok"),
		Timestamps: rapid.Bool().Draw(t, "ts"), Scale: rapid.Bool().Draw(t, "ws"),
		WindowScale: rapid.Int8Range(0, 14).Draw(t, "scale"),
	}
	if h.Timestamps {
		h.TSval, h.TSecr = rapid.Uint32().Draw(t, "tsval"), rapid.Uint32().Draw(t, "tsecr")
	}
	return h
}

// rawSegment builds a segment with the given octets of options, so that odd alignments and SACK blocks occur.
func rawSegment(t *rapid.T, h *Header, options, payload []byte) []byte {
	plain := *h
	plain.MSS, plain.Scale, plain.SACKPermitted, plain.Timestamps = 0, false, false, false
	for len(options)%4 != 0 {
		options = append(options, optEnd)
	}
	frame := NewBuilder().Append(nil, &plain, append(append([]byte{}, options...), payload...))
	tcp := tcpOf(frame, len(options)+len(payload))
	tcp[offDataOff] = byte((tcpMinLen+len(options))/4) << 4
	refill(t, frame, tcp, plain.Src, plain.Dst)
	return frame
}

// tcpOf returns the TCP segment in a frame from the Builder, n octets longer than a bare header, without link padding.
func tcpOf(frame []byte, n int) []byte {
	at := PacketAt + ip4MinLen
	if frame[VnetLen+12] == EtherTypeIPv6>>8 {
		at = PacketAt + ip6Len
	}
	return frame[at : at+tcpMinLen+n]
}

// refill computes the whole TCP checksum.
func refill(t *rapid.T, frame, tcp []byte, src, dst Addr) {
	binary.BigEndian.PutUint16(tcp[offChecksum:], 0)
	binary.BigEndian.PutUint16(tcp[offChecksum:], ^fold(sum(pseudo(src.IP(), dst.IP(), protoTCP, len(tcp)), tcp)))
	if d := NewDecoder(); d.Decode(frame) != KindTCP || !d.Segment.ChecksumOK() {
		t.Fatalf("the test's own frame is not valid")
	}
}

func TestBuildThenDecode(t *testing.T) {
	b, d := NewBuilder(), NewDecoder()
	rapid.Check(t, func(t *rapid.T) {
		h := drawHeader(t)
		payload := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "payload")
		frame := b.Append(nil, h, payload)
		if k := d.Decode(frame); k != KindTCP {
			t.Fatalf("kind %d", k)
		}
		s := &d.Segment
		if !s.ChecksumOK() {
			t.Fatalf("wrong checksum")
		}
		if s.Src != h.Src || s.Dst != h.Dst || s.SrcPort != h.SrcPort || s.DstPort != h.DstPort || s.Seq != h.Seq ||
			s.Ack != h.Ack || s.Flags != h.Flags || s.Wnd != h.Wnd || string(s.Payload) != string(payload) {
			t.Fatalf("got %+v, want %+v", s, h)
		}
		o := s.Options
		scale := NoScale
		if h.Scale {
			scale = h.WindowScale
		}
		if o.MSS != h.MSS || o.SACKPermitted != h.SACKPermitted || o.Timestamps != h.Timestamps || o.TSval != h.TSval ||
			o.TSecr != h.TSecr || o.WindowScale != scale {
			t.Fatalf("options %+v, want %+v", o, h)
		}
	})
}

// TestRewriteKeepsChecksums changes every field that can be changed, at any alignment, and compares the checksum with one
// computed over the whole segment, both complete and partial.
func TestRewriteKeepsChecksums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHeader(t)
		var opts []byte
		for range rapid.IntRange(0, 3).Draw(t, "nops") {
			opts = append(opts, optNop)
		}
		blocks := rapid.IntRange(0, 2).Draw(t, "blocks")
		ts := rapid.Bool().Draw(t, "withTS")
		if ts {
			opts = append(opts, optTS, lenTS)
			opts = append(opts, rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "tsbytes")...)
		}
		if blocks > 0 {
			opts = append(opts, optSACK, byte(2+8*blocks))
			opts = append(opts, rapid.SliceOfN(rapid.Byte(), 8*blocks, 8*blocks).Draw(t, "sackbytes")...)
		}
		payload := rapid.SliceOfN(rapid.Byte(), 0, 33).Draw(t, "payload")
		frame := rawSegment(t, h, opts, payload)
		tcp := tcpOf(frame, (len(opts)+3)/4*4+len(payload))
		partial := rapid.Bool().Draw(t, "partial")
		if partial {
			frame[vnetFlags] = vnetNeedsCsum
			binary.BigEndian.PutUint16(tcp[offChecksum:], fold(pseudo(h.Src.IP(), h.Dst.IP(), protoTCP, len(tcp))))
		}
		d := NewDecoder()
		if k := d.Decode(frame); k != KindTCP {
			t.Fatalf("kind %d", k)
		}
		s := &d.Segment
		src, dst := drawAddr(t, s.Is4(), "src2"), drawAddr(t, s.Is4(), "dst2")
		delta := Seq(rapid.Uint32().Draw(t, "delta"))
		var edges []Seq
		for i := range 2 * blocks {
			edges = append(edges, s.SACKEdge(i)+delta)
		}
		s.SetSource(src, rapid.Uint16().Draw(t, "sport2"))
		s.SetDestination(dst, rapid.Uint16().Draw(t, "dport2"))
		s.SetSeq(s.Seq + delta)
		s.SetAck(s.Ack - delta)
		s.SetWnd(rapid.Uint16().Draw(t, "wnd2"))
		s.SetFlags(s.Flags ^ PSH)
		if ts {
			s.SetTSval(rapid.Uint32().Draw(t, "tsval2"))
			s.SetTSecr(rapid.Uint32().Draw(t, "tsecr2"))
		}
		if blocks > 0 {
			s.ShiftSACK(delta)
			for i, want := range edges {
				if s.SACKEdge(i) != want {
					t.Fatalf("edge %d: %d, want %d", i, s.SACKEdge(i), want)
				}
			}
			if rapid.Bool().Draw(t, "strip") {
				s.StripSACK()
			}
		}
		forwarded, ttl := s.TTL > 1, s.TTL
		if s.Forward() != forwarded || (forwarded && s.TTL != ttl-1) {
			t.Fatalf("TTL %d became %d", ttl, s.TTL)
		}
		s.Seal()

		want := ^fold(sum(pseudo(src.IP(), dst.IP(), protoTCP, len(tcp)), zeroed(tcp)))
		if partial {
			want = fold(pseudo(src.IP(), dst.IP(), protoTCP, len(tcp)))
		}
		if got := be16(tcp, offChecksum); got != want {
			t.Fatalf("checksum %#04x, want %#04x", got, want)
		}
		again := NewDecoder()
		if k := again.Decode(frame); k != KindTCP { // verifies the IPv4 header's checksum
			t.Fatalf("kind %d after rewriting", k)
		}
		if g := again.Segment; g.Seq != s.Seq || g.Ack != s.Ack || g.Wnd != s.Wnd || g.Src != src || g.Dst != dst ||
			g.Options != s.Options && s.Options.SACKBlocks > 0 {
			t.Fatalf("frame and copies differ: %+v, %+v", g, s)
		}
	})
}

func zeroed(tcp []byte) []byte {
	c := append([]byte{}, tcp...)
	c[offChecksum], c[offChecksum+1] = 0, 0
	return c
}

func TestSeqOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.Uint32().Draw(t, "a")
		n := rapid.Uint32Range(1, 1<<31-1).Draw(t, "n")
		x, y := Seq(a), Seq(a+n)
		if !x.Before(y) || !y.After(x) || x.AtOrAfter(y) || y.AtOrBefore(x) || !x.AtOrBefore(x) || !x.AtOrAfter(x) {
			t.Fatalf("order of %d and %d", x, y)
		}
		if in := y.Within(x, n); in {
			t.Fatalf("%d lies in the window of %d octets from %d", y, n, x)
		}
		if !y.Within(x, n+1) {
			t.Fatalf("%d lies outside the window of %d octets from %d", y, n+1, x)
		}
	})
}

func TestNoAllocations(t *testing.T) {
	b, d := NewBuilder(), NewDecoder()
	h := &Header{
		Src: AddrFrom(netip.MustParseAddr("2001:db8::1")), Dst: AddrFrom(netip.MustParseAddr("2001:db8::2")),
		SrcPort: 25, DstPort: 4000, Flags: SYN | ACK, MSS: 1440, Scale: true, SACKPermitted: true, Timestamps: true,
	}
	out := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(1000, func() {
		out = b.Append(out[:0], h, nil)
		if d.Decode(out) != KindTCP {
			t.Fatal("not TCP")
		}
		d.Segment.SetSource(h.Dst, 1)
		d.Segment.Seal()
	}); n != 0 {
		t.Errorf("%v allocations for a frame over IPv6", n)
	}
	h.Src, h.Dst = AddrFrom(netip.MustParseAddr("192.0.2.1")), AddrFrom(netip.MustParseAddr("192.0.2.2"))
	if n := testing.AllocsPerRun(1000, func() {
		out = b.Append(out[:0], h, []byte("220 x\r\n"))
		if d.Decode(out) != KindTCP {
			t.Fatal("not TCP")
		}
	}); n != 0 {
		t.Errorf("%v allocations for a frame over IPv4", n)
	}
}

func FuzzDecode(f *testing.F) {
	b := NewBuilder()
	for _, a := range [][2]string{{"192.0.2.1", "192.0.2.2"}, {"2001:db8::1", "2001:db8::2"}} {
		f.Add(b.Append(nil, &Header{
			Src: AddrFrom(netip.MustParseAddr(a[0])), Dst: AddrFrom(netip.MustParseAddr(a[1])), SrcPort: 4000, DstPort: 25,
			Flags: SYN, MSS: 1460, Scale: true, WindowScale: 7, SACKPermitted: true, Timestamps: true,
		}, []byte("EHLO bot\r\n")))
	}
	d := NewDecoder()
	f.Fuzz(func(t *testing.T, frame []byte) {
		if d.Decode(frame) != KindTCP {
			return
		}
		s := &d.Segment
		ok := s.ChecksumOK()
		s.SetSource(s.Dst, s.DstPort)
		s.SetSeq(s.Seq + 1)
		if s.Options.Timestamps {
			s.SetTSval(1)
			s.SetTSecr(2)
		}
		s.ShiftSACK(77)
		s.StripSACK()
		s.Forward()
		s.Seal()
		if s.ChecksumOK() != ok {
			t.Errorf("rewriting made a checksum that was right (%v) wrong, or the other way round", ok)
		}
	})
}
