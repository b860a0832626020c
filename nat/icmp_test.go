package nat

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"hushgate/internal/wire"
)

// quote returns the ICMP error that the router `from` sends to the sender of a packet. It quotes the packet's IP header and n
// more octets.
func quote(packet []byte, from wire.Addr, n int) []byte {
	frame := make([]byte, wire.PacketAt, 512)
	if packet[0]>>4 == 6 {
		packet = packet[:min(len(packet), 40+n)]
		frame[wire.VnetLen+12], frame[wire.VnetLen+13] = 0x86, 0xdd
		h := make([]byte, 40)
		h[0], h[5], h[6], h[7] = 0x60, byte(8+len(packet)), 58, 64
		copy(h[8:], from.IP())
		copy(h[24:], packet[8:24])
		icmp := append([]byte{2, 0, 0, 0, 0, 0, 5, 0}, packet...)
		put(icmp[2:], checksum(icmp, h[8:40], 58))
		return append(append(frame, h...), icmp...)
	}
	packet = packet[:min(len(packet), 20+n)]
	frame[wire.VnetLen+12] = 0x08
	h := make([]byte, 20)
	h[0], h[3], h[8], h[9] = 0x45, byte(28+len(packet)), 64, 1
	copy(h[12:], from.IP())
	copy(h[16:], packet[12:16])
	put(h[10:], checksum(h, nil, 0))
	icmp := append([]byte{3, 4, 0, 0, 0, 0, 5, 0}, packet...)
	put(icmp[2:], checksum(icmp, nil, 0))
	return append(append(frame, h...), icmp...)
}

func put(b []byte, v uint16) { b[0], b[1] = byte(v>>8), byte(v) }

// checksum computes the Internet checksum in the simplest way.
func checksum(b, addrs []byte, proto int) uint16 {
	sum := 0
	for _, part := range [][]byte{b, addrs} {
		for i, c := range part {
			sum += int(c) << (8 * (1 - i%2))
		}
	}
	if addrs != nil {
		sum += proto + len(b)
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// TestErrorsFindTheirWayBack checks translated ICMP errors: a segment is translated, a router quotes it, and the quote is
// translated back. It must equal what the sender has sent, octet by octet, checksum included.
func TestErrorsFindTheirWayBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		s := w.splice()
		v6 := rapid.Bool().Draw(t, "v6")
		client, vip, server, router := "198.18.0.7", "192.0.2.25", "10.0.0.11", "203.0.113.9"
		if v6 {
			client, vip, server, router = "2001:db8:1::7", "2001:db8:1::1", "2001:db8:2::11", "2001:db8::9"
		}
		a := func(x string) wire.Addr { return wire.AddrFrom(netip.MustParseAddr(x)) }
		toClient := rapid.Bool().Draw(t, "toClient")
		h := wire.Header{
			Src: a(server), SrcPort: 2525, Dst: a(client), DstPort: 4000, Seq: wire.Seq(w.server + 1 + 77), Ack: wire.Seq(w.irs + 1),
			Flags: wire.ACK, Wnd: 0, Timestamps: rapid.Bool().Draw(t, "timestamps"), TSval: 4_000_000_000, TSecr: 7,
		}
		if !toClient {
			h.Src, h.SrcPort, h.Dst, h.DstPort = a(client), 4000, a(vip), 25
			h.Seq, h.Ack = wire.Seq(w.irs+1), wire.Seq(w.iss+1+w.teaser)
		}
		frame := wire.NewBuilder().Append(nil, &h, make([]byte, 40))
		sack := !h.Timestamps && w.sack && rapid.Bool().Draw(t, "sack blocks")
		if sack { // the first octets of the payload become a SACK option
			ip, addrs := frame[wire.PacketAt:], 12
			tcp := ip[20:]
			if v6 {
				tcp, addrs = ip[40:], 8
			}
			tcp[12] = 8 << 4
			copy(tcp[20:], []byte{1, 1, 5, 10, 1, 2, 3, 4, 1, 2, 3, 5})
			put(tcp[16:], 0)
			put(tcp[16:], checksum(tcp, ip[addrs:len(ip)-len(tcp)], 6))
		}
		sent := append([]byte{}, frame[wire.PacketAt:]...)
		d := wire.NewDecoder()
		if d.Decode(frame) != wire.KindTCP {
			t.Fatal("the test's own frame is wrong")
		}
		if toClient {
			s.ToClient(&d.Segment)
			d.Segment.SetSource(a(vip), 25)
		} else {
			s.ToServer(&d.Segment)
			d.Segment.SetDestination(a(server), 2525)
		}
		d.Segment.Seal()

		n := rapid.SampledFrom([]int{8, 12, 18, 20, 32, 72}).Draw(t, "quoted")
		message := quote(frame[wire.PacketAt:], a(router), n)
		var e wire.ICMPError
		if d.Decode(message) != wire.KindICMP || !d.ICMPError(&e) {
			t.Fatal("the error was not decoded")
		}
		sender := a(server)
		if toClient {
			if e.QuoteSeq != wire.Seq(w.iss+1+w.teaser+77) {
				t.Fatalf("quotes %d", e.QuoteSeq)
			}
			s.ErrorToServer(&e)
			e.SetQuoteSource(a(server), 2525)
			e.SetDestination(sender)
		} else {
			sender = a(client)
			s.ErrorToClient(&e)
			e.SetQuoteDestination(a(vip), 25)
			e.SetSource(a(vip))
		}
		if !e.Forward() {
			t.Fatal("no hop left")
		}
		e.Seal()

		again := wire.NewDecoder()
		var g wire.ICMPError
		if again.Decode(message) != wire.KindICMP || !again.ICMPError(&g) { // verifies both checksums
			t.Fatal("the translated error was not decoded")
		}
		if g.Dst != sender || (!toClient && g.Src != a(vip)) || (toClient && g.Src != a(router)) {
			t.Fatalf("goes from %v to %v", g.Src, g.Dst)
		}
		ip, icmp := 20, 20+8
		if v6 {
			ip, icmp = 40, 40+8
		}
		quoted := message[wire.PacketAt+icmp:]
		for i, c := range quoted {
			if at := i - ip; (h.Timestamps || sack) && n < 32 && (at == 16 || at == 17) { // the checksum covers timestamps or SACK blocks that are not quoted
				continue
			}
			if c != sent[i] && i >= ip { // the IP header differs in the TTL
				t.Fatalf("octet %d of the TCP header is %#02x, was sent as %#02x (%d quoted)", i-ip, c, sent[i], n)
			}
		}
	})
}
