package capture

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hushgate/internal/wire"
)

// piece returns a fragment of a packet without extension headers: its data from octet at to octet end.
func piece(whole []byte, id uint32, at, end int) []byte {
	if whole[0]>>4 == 4 {
		more := uint16(moreFragments4)
		if 20+end >= len(whole) {
			more = 0
		}
		f := append(slices.Clone(whole[:20]), whole[20+at:min(20+end, len(whole))]...)
		binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		binary.BigEndian.PutUint16(f[4:], uint16(id))
		binary.BigEndian.PutUint16(f[6:], more|uint16(at/8))
		wire.SealIPv4(f)
		return f
	}
	more := uint16(moreFragments6)
	if 40+end >= len(whole) {
		more = 0
	}
	f := append(slices.Clone(whole[:40]), whole[6], 0)
	f[6] = protoFragment
	f = binary.BigEndian.AppendUint16(f, uint16(at)|more)
	f = binary.BigEndian.AppendUint32(f, id)
	f = append(f, whole[40+at:min(40+end, len(whole))]...)
	binary.BigEndian.PutUint16(f[4:], uint16(len(f)-40))
	return f
}

// gather passes IP packets to a Framer and returns the payloads of the segments that were reassembled from fragments.
func gather(t interface{ Fatalf(string, ...any) }, f *Framer, at time.Time, packets ...[]byte) (texts []string) {
	d := wire.NewDecoder()
	for _, p := range packets {
		before := slices.Clone(p)
		frame, ok := f.Frame(&Packet{Time: at, Data: p, Length: len(p), Link: LinkRaw})
		if !bytes.Equal(before, p) {
			t.Fatalf("the packet was changed")
		}
		if !ok {
			continue
		}
		if kind := d.Decode(frame.Data); kind != wire.KindTCP || !d.Segment.ChecksumOK() || !frame.Fragments {
			t.Fatalf("kind %d", kind)
		}
		texts = append(texts, string(d.Segment.Payload))
	}
	return texts
}

func bothFamilies(t *testing.T, f func(t *testing.T, v6 bool)) {
	t.Helper()
	t.Run("IPv4", func(t *testing.T) { f(t, false) })
	t.Run("IPv6", func(t *testing.T) { f(t, true) })
}

// TestFragments checks that fragments in any order make the packet, and that the last one may have any length.
func TestFragments(t *testing.T) {
	bothFamilies(t, func(t *testing.T, v6 bool) {
		for extra := range 9 { // octets of the last fragment: 20+284 is a multiple of 8
			text := strings.Repeat("EHLO x\r\n", 35) + "1234" + strings.Repeat("!", extra)
			whole := tPacket(v6, text)
			cut := [][]byte{piece(whole, 1, 0, 96), piece(whole, 1, 96, 304), piece(whole, 1, 304, 9000)}
			if extra == 0 {
				cut[1], cut[2] = piece(whole, 1, 96, 296), piece(whole, 1, 296, 9000)
			}
			for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
				f := NewFramer()
				if got := gather(t, f, tAt, cut[order[0]], cut[order[1]], cut[order[2]]); len(got) != 1 || got[0] != text {
					t.Errorf("%d octets at the end, order %v: %q", extra, order, got)
				}
				if f.Flush(); f.Fragments != (FragmentStats{}) {
					t.Errorf("%+v", f.Fragments)
				}
			}
		}
	})
}

// TestOverlaps compares with net/ipv4/inet_fragment.c: a copy of a run, or of a part of one run, is ignored; any other overlap
// discards the packet.
func TestOverlaps(t *testing.T) {
	type part struct{ at, end int }
	for name, c := range map[string]struct {
		parts []part
		want  int // packets
		stats FragmentStats
	}{
		"copies":                  {[]part{{0, 96}, {0, 96}, {96, 200}, {96, 200}, {200, 900}}, 1, FragmentStats{}},
		"a copy of a part":        {[]part{{0, 96}, {96, 200}, {48, 120}, {200, 900}}, 1, FragmentStats{}},
		"a copy after the packet": {[]part{{0, 96}, {96, 900}, {0, 96}}, 1, FragmentStats{Incomplete: 1}},
		"an overlap forwards":     {[]part{{0, 96}, {88, 200}, {96, 200}, {200, 900}}, 0, FragmentStats{Refused: 2, Incomplete: 2}},
		"an overlap backwards":    {[]part{{200, 900}, {96, 208}, {0, 96}}, 0, FragmentStats{Refused: 2, Incomplete: 1}},
		"around":                  {[]part{{96, 104}, {0, 200}, {200, 900}}, 0, FragmentStats{Refused: 2, Incomplete: 1}},
		"over two runs":           {[]part{{0, 96}, {200, 296}, {48, 248}}, 0, FragmentStats{Refused: 3}},
		"beyond the end":          {[]part{{0, 96}, {104, 900}, {1000, 1008}}, 0, FragmentStats{Refused: 3}},
		"a hole":                  {[]part{{0, 96}, {104, 900}}, 0, FragmentStats{Incomplete: 2}},
	} {
		bothFamilies(t, func(t *testing.T, v6 bool) {
			whole := tPacket(v6, strings.Repeat("EHLO x\r\n", 100))
			long := tPacket(v6, strings.Repeat("EHLO x\r\n", 200))
			f := NewFramer()
			var packets [][]byte
			for _, p := range c.parts {
				from := whole
				if p.end > 900 {
					from = long
				}
				packets = append(packets, piece(from, 1, p.at, p.end))
			}
			got := gather(t, f, tAt, packets...)
			if f.Flush(); len(got) != c.want || f.Fragments != c.stats {
				t.Errorf("%s: %d packets, %+v; want %d, %+v", name, len(got), f.Fragments, c.want, c.stats)
			}
		})
	}
}

// TestRefusedFragments checks a second end, no data, a wrong header, and a first fragment with an incomplete header.
func TestRefusedFragments(t *testing.T) {
	bothFamilies(t, func(t *testing.T, v6 bool) {
		whole := tPacket(v6, strings.Repeat("EHLO x\r\n", 100))
		short := whole[:len(whole)-8]
		for name, packets := range map[string][][]byte{
			"two ends":                    {piece(whole, 1, 200, 9000), piece(short, 1, 200, 9000), piece(whole, 1, 0, 200)},
			"no data":                     {piece(whole, 1, 0, 200), piece(whole, 1, 200, 200)},
			"not a multiple of 8":         {piece(whole, 1, 0, 204), piece(whole, 1, 200, 9000)},
			"other sender":                {piece(whole, 1, 0, 200), otherSender(piece(whole, 1, 200, 9000))},
			"another packet's":            {piece(whole, 1, 0, 200), piece(whole, 2, 200, 9000)},
			"half a header":               {piece(whole, 1, 0, 16), piece(whole, 1, 16, 9000)},
			"more than a packet can hold": {piece(whole, 1, 0, 200), tooFar(piece(whole, 1, 200, 9000))},
		} {
			f := NewFramer()
			got := gather(t, f, tAt, packets...)
			want := 0
			if !v6 && (name == "not a multiple of 8" || name == "half a header") { // IPv4 cuts off the excess, and has no rule about headers
				want = 1
			}
			if f.Flush(); len(got) != want || f.Fragments.Refused+f.Fragments.Incomplete == 0 && want == 0 {
				t.Errorf("%s: %q, %+v", name, got, f.Fragments)
			}
		}
		wrong := piece(whole, 1, 200, 9000)
		if !v6 {
			wrong[10] ^= 1
		} else {
			wrong = wrong[:30]
		}
		f := NewFramer()
		frame, ok := f.Frame(&Packet{Time: tAt, Data: wrong, Length: len(wrong), Link: LinkRaw})
		if !ok || wire.NewDecoder().Decode(frame.Data) == wire.KindTCP {
			t.Error("a fragment with a wrong header is not passed to the decoder, which refuses it")
		}
	})
}

func otherSender(packet []byte) []byte {
	if packet[0]>>4 == 4 {
		packet[15] ^= 1
		wire.SealIPv4(packet)
		return packet
	}
	packet[23] ^= 1
	return packet
}

// tooFar moves a fragment to the largest possible offset.
func tooFar(packet []byte) []byte {
	if packet[0]>>4 == 4 {
		binary.BigEndian.PutUint16(packet[6:], offsetMask4)
		wire.SealIPv4(packet)
		return packet
	}
	binary.BigEndian.PutUint16(packet[42:], offsetMask6)
	return packet
}

// TestFragmentsInTime checks that a packet has 30 s (IPv4) or 60 s (IPv6) from its first fragment on, by the capture's clock.
func TestFragmentsInTime(t *testing.T) {
	bothFamilies(t, func(t *testing.T, v6 bool) {
		life := life4
		if v6 {
			life = life6
		}
		whole := tPacket(v6, strings.Repeat("EHLO x\r\n", 100))
		for wait, want := range map[time.Duration]int{life - time.Millisecond: 1, life: 0} {
			f := NewFramer()
			gather(t, f, tAt, piece(whole, 1, 200, 9000))
			if got := gather(t, f, tAt.Add(wait), piece(whole, 1, 0, 200)); len(got) != want {
				t.Errorf("after %v: %d packets", wait, len(got))
			}
		}
	})
}

// TestFragmentsCutOff checks that a packet of truncated fragments has its full length and is marked as truncated.
func TestFragmentsCutOff(t *testing.T) {
	bothFamilies(t, func(t *testing.T, v6 bool) {
		whole := tPacket(v6, strings.Repeat("EHLO x\r\n", 100))
		f, d := NewFramer(), wire.NewDecoder()
		for i, p := range [][]byte{piece(whole, 1, 400, 9000), piece(whole, 1, 0, 400)} {
			frame, ok := f.Frame(&Packet{Time: tAt, Data: p[:96], Length: len(p), Link: LinkRaw})
			if ok != (i == 1) {
				t.Fatalf("fragment %d: %v", i, ok)
			}
			if ok && (d.Decode(frame.Data) != wire.KindTCP || len(d.Segment.Payload) != 800 || !frame.Truncated) {
				t.Errorf("%d octets, %+v", len(d.Segment.Payload), frame.Truncated)
			}
		}
	})
}

// TestFragmentFlood checks that fragments without the rest of their packet do not stay, and do not keep other packets from
// being reassembled.
func TestFragmentFlood(t *testing.T) {
	bothFamilies(t, func(t *testing.T, v6 bool) {
		whole := tPacket(v6, strings.Repeat("EHLO x\r\n", 100))
		f := NewFramer()
		const flood = 60_000
		for id := range uint32(flood) {
			gather(t, f, tAt, piece(whole, id+10, 0, 400))
		}
		d := f.defrag4
		if v6 {
			d = f.defrag6
		}
		if d.octets > maxFragmentOctets || len(d.known) > maxFragmentOctets/fragmentOverhead {
			t.Errorf("%d octets of %d packets are kept", d.octets, len(d.known))
		}
		if got := gather(t, f, tAt, piece(whole, 1, 400, 9000), piece(whole, 1, 0, 400)); len(got) != 1 {
			t.Errorf("%d packets", len(got))
		}
		if f.Flush(); f.Fragments.Incomplete != flood || len(d.known) != 0 || d.octets != 0 || d.oldest.Len() != 0 {
			t.Errorf("%+v, and %d left", f.Fragments, len(d.known))
		}
	})
}

// TestAnyFragments checks that a packet cut at any places, with pieces in any order and copies among them, is reassembled. If a
// piece overlaps its neighbour, the packet is discarded.
func TestAnyFragments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v6 := rapid.Bool().Draw(t, "v6")
		text := string(rapid.SliceOfN(rapid.Byte(), 40, 3000).Draw(t, "text"))
		whole := tPacket(v6, text)
		size := len(text) + 20
		var cuts []int
		for at := 24; at < size; at += 8 * rapid.IntRange(1, 60).Draw(t, "step") {
			cuts = append(cuts, at)
		}
		cuts = append(append([]int{0}, cuts...), size)
		var packets [][]byte
		for i := range len(cuts) - 1 {
			packets = append(packets, piece(whole, 7, cuts[i], cuts[i+1]))
		}
		overlap := rapid.Bool().Draw(t, "overlap") && len(cuts) > 3
		if overlap { // a piece that begins in the middle of its neighbour and has its own end
			i := rapid.IntRange(1, len(cuts)-2).Draw(t, "which")
			packets[i] = piece(whole, 7, cuts[i]-8, cuts[i+1])
		}
		packets = rapid.Permutation(packets).Draw(t, "order")
		last := packets[len(packets)-1]
		for range rapid.IntRange(0, 5).Draw(t, "copies") { // never after the last one, where a copy would begin another packet
			at := rapid.IntRange(0, len(packets)-1).Draw(t, "at")
			p := packets[at]
			if !bytes.Equal(p, last) {
				packets = slices.Insert(packets, rapid.IntRange(at, len(packets)-1).Draw(t, "to"), p)
			}
		}
		got := gather(t, NewFramer(), tAt, packets...)
		switch {
		case !overlap && (len(got) != 1 || got[0] != text):
			t.Fatalf("%d packets of %d pieces", len(got), len(packets))
		case overlap && len(got) > 0 && got[0] != text:
			t.Fatal("overlapping pieces made another packet")
		}
	})
}

// FuzzFragments checks that no sequence of fragments causes a panic or exceeds the bounds.
func FuzzFragments(f *testing.F) {
	f.Add([]byte{0, 4, 1, 4, 8, 0, 0, 0, 1})
	f.Add([]byte{1, 4, 1, 200, 8, 0, 1, 0, 8, 1})
	f.Fuzz(func(t *testing.T, program []byte) {
		framer := NewFramer()
		whole := [2][]byte{tPacket(false, strings.Repeat("EHLO x\r\n", 300)), tPacket(true, strings.Repeat("EHLO x\r\n", 300))}
		now := tAt
		for len(program) >= 4 {
			w := whole[program[0]&1]
			at := min(8*int(program[1]), 2000)
			p := piece(w, uint32(program[0]>>6), at, at+int(program[2])+256*int(program[3]&7))
			now = now.Add(time.Duration(program[3]>>5) * 3 * time.Second)
			program = program[4:]
			frame, ok := framer.Frame(&Packet{Time: now, Data: p, Length: len(p), Link: LinkRaw})
			if ok && len(frame.Data) > wire.MaxFrame {
				t.Fatalf("%d octets", len(frame.Data))
			}
		}
		framer.Flush()
		if len(framer.defrag4.known)+len(framer.defrag6.known)+framer.defrag4.octets+framer.defrag6.octets != 0 {
			t.Fatal("fragments are left")
		}
	})
}
