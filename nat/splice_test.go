package nat

import (
	"math/big"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"hushgate/internal/wire"
)

// world is a spliced connection in whole numbers that never wrap: the oracle. Each number on the wire is one of them modulo
// 2^32.
type world struct {
	irs, iss, server int64 // initial numbers: the client's, ours, the server's
	teaser           int64 // octets of our own before the server's first octet
	ourTS, serverTS  int64 // the clocks when the splice begins, in ms
	clientShift      int8  // of the client's windows; or wire.NoScale
	ownShift         int8  // the shift that the client applies to the server's windows
	serverShift      int8  // of the server's windows
	serverSees       int8  // the shift that the server applies to the client's windows
	sack             bool  // the server accepts SACK blocks
	ts               bool
}

func drawWorld(t *rapid.T) world {
	num := rapid.Int64Range(0, 1<<32-1)
	near := rapid.SampledFrom([]int64{0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1<<32 - 2}) // where numbers wrap
	draw := func(label string) int64 { return rapid.OneOf(num, near).Draw(t, label) }
	w := world{
		irs: draw("irs"), iss: draw("iss"), server: draw("server"), teaser: rapid.Int64Range(0, 512).Draw(t, "teaser"),
		ourTS: draw("ourTS"), serverTS: draw("serverTS"), sack: rapid.Bool().Draw(t, "sack"), ts: rapid.Bool().Draw(t, "ts"),
		clientShift: wire.NoScale, ownShift: wire.NoScale, serverShift: wire.NoScale, serverSees: wire.NoScale,
	}
	shift := rapid.Int8Range(0, wire.MaxScale)
	if rapid.Bool().Draw(t, "clientScales") {
		w.clientShift, w.ownShift = shift.Draw(t, "clientShift"), shift.Draw(t, "ownShift")
		if rapid.Bool().Draw(t, "serverScales") {
			w.serverShift, w.serverSees = shift.Draw(t, "serverShift"), w.clientShift
		}
	}
	return w
}

func (w world) splice() Splice {
	return NewSplice(
		Terms{
			First: wire.Seq(w.iss + 1 + w.teaser), TSval: uint32(w.ourTS), OwnScale: w.clientShift, PeerScale: w.ownShift,
			SACK: true, Timestamps: w.ts,
		},
		Terms{
			First: wire.Seq(w.server + 1), TSval: uint32(w.serverTS), OwnScale: w.serverShift, PeerScale: w.serverSees,
			SACK: w.sack, Timestamps: w.ts,
		})
}

// window converts a window field between two shifts, in whole numbers.
func window(field uint16, sent, read int8) uint16 {
	octets := new(big.Int).Lsh(big.NewInt(int64(field)), uint(max(sent, 0)))
	octets.Rsh(octets, uint(max(read, 0)))
	if octets.Cmp(big.NewInt(65535)) > 0 {
		return 65535
	}
	if field != 0 && octets.Sign() == 0 {
		return 1 // open, however small
	}
	return uint16(octets.Int64())
}

var (
	clientAddr = wire.AddrFrom(netip.MustParseAddr("198.18.0.7"))
	serverAddr = wire.AddrFrom(netip.MustParseAddr("10.0.0.11"))
)

// segment returns a segment with SACK blocks, whose edges are numbers on the wire, after a number of no-operation options.
func segment(t *rapid.T, h wire.Header, ts bool, edges []wire.Seq, nops int) *wire.Segment {
	be := func(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }
	var opts []byte
	for range nops {
		opts = append(opts, 1)
	}
	if ts {
		opts = append(append(append(opts, 8, 10), be(h.TSval)...), be(h.TSecr)...)
	}
	if len(edges) > 0 {
		opts = append(opts, 5, byte(2+4*len(edges)))
		for _, e := range edges {
			opts = append(opts, be(uint32(e))...)
		}
	}
	for len(opts)%4 != 0 {
		opts = append(opts, 0)
	}
	h.Src, h.Dst, h.SrcPort, h.DstPort = clientAddr, serverAddr, 4000, 25
	frame := wire.NewBuilder().Append(nil, &h, opts)
	tcp := frame[wire.PacketAt+20:]
	tcp[12] = byte((20+len(opts))/4) << 4
	fixChecksum(tcp[:20+len(opts)])
	d := wire.NewDecoder()
	if k := d.Decode(frame); k != wire.KindTCP || !d.Segment.ChecksumOK() {
		t.Fatalf("the test's own frame is wrong (kind %d)", k)
	}
	return &d.Segment
}

// TestSpliceAgainstWholeNumbers compares every field in both directions with an oracle that does not wrap.
func TestSpliceAgainstWholeNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		s := w.splice()
		offset := rapid.Int64Range(0, 1<<40) // up to a terabyte into the mail
		nops := rapid.IntRange(0, 3).Draw(t, "nops")
		field := rapid.Uint16()

		// From the server: octet `to` of its stream, acknowledging octet `from` of the client's.
		to, from, later := offset.Draw(t, "to"), offset.Draw(t, "from"), rapid.Int64Range(0, 1<<33).Draw(t, "later")
		wnd := field.Draw(t, "serverWnd")
		edge := wire.Seq(w.irs + 1 + from + 10)
		in := segment(t, wire.Header{
			Seq: wire.Seq(w.server + 1 + to), Ack: wire.Seq(w.irs + 1 + from), Flags: wire.ACK, Wnd: wnd,
			TSval: uint32(w.serverTS + later), TSecr: 4711,
		}, w.ts, []wire.Seq{edge, edge + 5}, nops)
		s.ToClient(in)
		check(t, "sequence number to the client", uint32(in.Seq), uint32(w.iss+1+w.teaser+to))
		check(t, "acknowledgement to the client", uint32(in.Ack), uint32(w.irs+1+from))
		check(t, "window to the client", uint32(in.Wnd), uint32(window(wnd, w.serverShift, w.ownShift)))
		check(t, "SACK edge to the client", uint32(in.SACKEdge(0)), uint32(edge))
		if w.ts {
			check(t, "TSval to the client", in.Options.TSval, uint32(w.ourTS+later))
			check(t, "TSecr to the client", in.Options.TSecr, 4711)
		}
		seal(t, in)

		// From the client: octet `from` of its stream, acknowledging what it has just got.
		wnd = field.Draw(t, "clientWnd")
		first := w.iss + 1 + w.teaser + to
		back := segment(t, wire.Header{
			Seq: wire.Seq(w.irs + 1 + from), Ack: wire.Seq(first), Flags: wire.ACK, Wnd: wnd,
			TSval: 815, TSecr: uint32(w.ourTS + later),
		}, w.ts, []wire.Seq{wire.Seq(first + 100), wire.Seq(first + 200)}, nops)
		s.ToServer(back)
		check(t, "sequence number to the server", uint32(back.Seq), uint32(w.irs+1+from))
		check(t, "acknowledgement to the server", uint32(back.Ack), uint32(w.server+1+to))
		check(t, "window to the server", uint32(back.Wnd), uint32(window(wnd, w.clientShift, w.serverSees)))
		if w.sack {
			check(t, "SACK's left edge to the server", uint32(back.SACKEdge(0)), uint32(w.server+1+to+100))
			check(t, "SACK's right edge to the server", uint32(back.SACKEdge(1)), uint32(w.server+1+to+200))
		} else {
			check(t, "SACK blocks to a server without SACK", uint32(back.Options.SACKBlocks), 0)
		}
		if w.ts {
			check(t, "TSval to the server", back.Options.TSval, 815)
			check(t, "TSecr to the server", back.Options.TSecr, uint32(w.serverTS+later))
		}
		check(t, "ServerSeq", uint32(s.ServerSeq(wire.Seq(first))), uint32(w.server+1+to))
		check(t, "ServerWindow", uint32(s.ServerWindow(wnd)), uint32(window(wnd, w.clientShift, w.serverSees)))
		seal(t, back)
	})
}

func check(t *rapid.T, what string, got, want uint32) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %d, want %d", what, got, want)
	}
}

// fixChecksum computes the whole TCP checksum.
func fixChecksum(tcp []byte) {
	tcp[16], tcp[17] = 0, 0
	sum := 6 + len(tcp)
	src, dst := clientAddr, serverAddr
	for _, b := range [][]byte{src.IP(), dst.IP(), tcp} {
		for i, c := range b {
			sum += int(c) << (8 * (1 - i%2))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	tcp[16], tcp[17] = byte(^sum>>8), byte(^sum)
}

// seal completes the translation and decodes the frame again.
func seal(t *rapid.T, s *wire.Segment) {
	s.Seal()
	d := wire.NewDecoder()
	if k := d.Decode(s.Frame()); k != wire.KindTCP {
		t.Fatalf("translated into a frame of kind %d", k)
	}
	if d.Segment.Seq != s.Seq || d.Segment.Ack != s.Ack || d.Segment.Wnd != s.Wnd || d.Segment.Options != s.Options {
		t.Fatalf("frame and copies differ: %+v, %+v", d.Segment, s)
	}
	if !d.Segment.ChecksumOK() {
		t.Fatalf("the translated segment has a wrong checksum")
	}
}

// TestFINKeepsItsPlace checks that control bits, which take sequence numbers too, are translated like octets.
func TestFINKeepsItsPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		s := w.splice()
		n := rapid.Int64Range(0, 1<<33).Draw(t, "n")
		fin := segment(t, wire.Header{Seq: wire.Seq(w.server + 1 + n), Flags: wire.FIN | wire.ACK}, false, nil, 0)
		s.ToClient(fin)
		ack := segment(t, wire.Header{Ack: fin.Seq + 1, Flags: wire.ACK}, false, nil, 0)
		s.ToServer(ack)
		check(t, "acknowledgement of the server's FIN", uint32(ack.Ack), uint32(w.server+2+n))
		rst := segment(t, wire.Header{Seq: 99, Ack: 0, Flags: wire.RST}, false, nil, 0)
		s.ToServer(rst)
		check(t, "the acknowledgement field without ACK", uint32(rst.Ack), 0)
	})
}
