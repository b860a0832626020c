package wire

import (
	"net/netip"
	"testing"
)

func TestOpening(t *testing.T) {
	for _, c := range []struct{ src, dst string }{{"198.18.0.7", "192.0.2.25"}, {"2001:db8::7", "2001:db8::25"}} {
		h := Header{Src: AddrFrom(netip.MustParseAddr(c.src)), Dst: AddrFrom(netip.MustParseAddr(c.dst)), SrcPort: 4000, DstPort: 25}
		for flags, want := range map[Flags]bool{
			SYN: true, SYN | ECE | CWR: true, SYN | PSH: true, SYN | ACK: false, SYN | RST: false, SYN | FIN: false, ACK: false, 0: false,
		} {
			h.Flags = flags
			frame := NewBuilder().Append(nil, &h, nil)
			src, dst, ok := Opening(frame)
			if ok != want || ok && (src != h.Src || dst != h.Dst) {
				t.Errorf("%s, flags %#x: %v to %v, %v", c.src, flags, src, dst, ok)
			}
			if SourceOf(frame) != h.Src {
				t.Errorf("the source of %s is %v", c.src, SourceOf(frame))
			}
			for n := range frame { // a truncated frame is not an opening, and causes no panic
				if _, _, ok := Opening(frame[:n:n]); ok && n < len(frame)-40 {
					t.Errorf("%s: the first %d of %d octets open a connection", c.src, n, len(frame))
				}
				SourceOf(frame[:n:n])
			}
		}
		h.Flags = SYN
		frame := NewBuilder().Append(nil, &h, nil)
		if h.Src.Is4() {
			frame[PacketAt+7] = 1 // a later fragment
		} else {
			frame[PacketAt+6] = 60 // destination options
		}
		if _, _, ok := Opening(frame); ok {
			t.Errorf("%s: an opening without a TCP header", c.src)
		}
	}
}
