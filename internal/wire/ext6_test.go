package wire

import (
	"net/netip"
	"slices"
	"testing"
)

// between inserts extension headers between an IPv6 header and its TCP segment.
func between(next uint8, ext ...byte) []byte {
	h := Header{
		Src: AddrFrom(netip.MustParseAddr("2001:db8:1::7")), Dst: AddrFrom(netip.MustParseAddr("2001:db8:1::1")),
		SrcPort: 4000, DstPort: 25, Seq: 7, Flags: SYN,
	}
	frame := NewBuilder().Append(nil, &h, []byte("EHLO"))
	at := PacketAt + ip6Len
	frame = slices.Insert(frame, at, ext...)
	frame[PacketAt+ip6Next] = next
	frame[PacketAt+5] += byte(len(ext))
	return frame
}

func repeat(n int, b ...byte) (out []byte) {
	for range n {
		out = append(out, b...)
	}
	return out
}

func TestExtensionHeaders(t *testing.T) {
	for _, c := range []struct {
		name string
		next uint8
		ext  []byte
		want Kind
	}{
		{"none", 6, nil, KindTCP},
		{"hop-by-hop", 0, []byte{6, 0, 1, 4, 0, 0, 0, 0}, KindTCP},
		{"hop-by-hop, sixteen octets", 0, []byte{6, 1, 1, 12, 15: 0}, KindTCP},
		{"destination options", 60, []byte{6, 0, 1, 4, 0, 0, 0, 0}, KindTCP},
		{"an option to be skipped", 60, []byte{6, 0, 0x1e, 4, 0, 0, 0, 0}, KindTCP},
		{"an option that demands a drop", 60, []byte{6, 0, 0x5e, 4, 0, 0, 0, 0}, KindExtension},
		{"an option that demands a report", 0, []byte{6, 0, 0xde, 4, 0, 0, 0, 0}, KindExtension},
		{"an option that exceeds its header", 60, []byte{6, 0, 1, 5, 0, 0, 0, 0}, KindExtension},
		{"routing, nothing left", 43, []byte{6, 0, 4, 0, 0, 0, 0, 0}, KindTCP},
		{"routing, a segment left", 43, []byte{6, 0, 4, 1, 0, 0, 0, 0}, KindExtension},
		{"routing of type 0, nothing left (RFC 5095 section 3)", 43, []byte{6, 0, 0, 0, 0, 0, 0, 0}, KindTCP},
		{"routing of type 0, a segment left", 43, []byte{6, 2, 0, 1, 23: 0}, KindExtension},
		{"atomic fragment (RFC 6946)", 44, []byte{6, 0, 0, 0, 1, 2, 3, 4}, KindTCP},
		{"atomic fragment, reserved bits set", 44, []byte{6, 0xff, 0, 6, 1, 2, 3, 4}, KindTCP},
		{"first fragment", 44, []byte{6, 0, 0, 1, 1, 2, 3, 4}, KindFragment},
		{"later fragment", 44, []byte{6, 0, 0, 8, 1, 2, 3, 4}, KindFragment},
		{"all of them, in order", 0, []byte{
			60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, 44, 0, 4, 0, 0, 0, 0, 0, 60, 0, 0, 0, 1, 2, 3, 4, 6, 0, 1, 4, 0, 0, 0, 0,
		}, KindTCP},
		{"hop-by-hop after another", 60, []byte{0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0}, KindExtension},
		{"as many as are decoded", 60, append(repeat(7, 60, 0, 1, 4, 0, 0, 0, 0), 6, 0, 1, 4, 0, 0, 0, 0), KindTCP},
		{"one too many", 60, append(repeat(8, 60, 0, 1, 4, 0, 0, 0, 0), 6, 0, 1, 4, 0, 0, 0, 0), KindExtension},
		{"longer than the packet", 60, []byte{6, 255, 1, 4, 0, 0, 0, 0}, KindShort},
		{"no next header", 59, nil, KindOther},
		{"authentication header", 51, []byte{6, 0, 0, 0, 0, 0, 0, 0}, KindOther},
		{"UDP after options", 60, []byte{17, 0, 1, 4, 0, 0, 0, 0}, KindOther},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewDecoder()
			frame := between(c.next, c.ext...)
			if got := d.Decode(frame); got != c.want {
				t.Fatalf("kind %d, want %d", got, c.want)
			}
			if c.want != KindTCP {
				return
			}
			s := &d.Segment
			if s.DstPort != 25 || s.Seq != 7 || string(s.Payload) != "EHLO" || !s.ChecksumOK() {
				t.Errorf("%+v", s)
			}
			// After a rewrite it must still be complete, extension headers included.
			s.SetDestination(AddrFrom(netip.MustParseAddr("2001:db8:2::11")), 2525)
			s.Seal()
			if k := NewDecoder().Decode(s.Frame()); k != KindTCP || !s.ChecksumOK() {
				t.Errorf("rewritten: kind %d", k)
			}
		})
	}
}

// TestTruncated truncates a packet with every header at every octet: the result is an error, never a panic and never TCP.
func TestTruncated(t *testing.T) {
	whole := between(0, 60, 0, 1, 4, 0, 0, 0, 0, 44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 0, 1, 2, 3, 4)
	whole = whole[:PacketAt+ip6Len+24+tcpMinLen+4]
	for n := range len(whole) {
		if k := NewDecoder().Decode(slices.Clone(whole[:n])); k == KindTCP {
			t.Errorf("%d of %d octets are TCP", n, len(whole))
		}
		if n < PacketAt+ip6Len {
			continue
		}
		short := slices.Clone(whole) // the IP header says that the rest is link padding
		short[PacketAt+5] = byte(n - PacketAt - ip6Len)
		if k := NewDecoder().Decode(short); k == KindTCP && n < PacketAt+ip6Len+24+tcpMinLen {
			t.Errorf("a length of %d octets is TCP", n)
		}
	}
}
