package dataplane

import (
	"encoding/binary"
	"testing"

	"hushgate/internal/wire"
)

// unreachable builds the ICMP destination unreachable that a router sends to the sender of the IPv4 packet in frame.
func unreachable(frame []byte, code byte) []byte {
	quoted := frame[wire.PacketAt : wire.PacketAt+28]
	ip := []byte{0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1}
	ip = append(ip, quoted[12:16]...)
	sum := uint32(0)
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	out := append([]byte{}, frame[:wire.PacketAt]...)
	out[0] = 2 // VIRTIO_NET_HDR_F_DATA_VALID: the message's checksum is right
	out = append(append(out, ip...), 3, code, 0, 0, 0, 0, 0, 0)
	return append(out, quoted...)
}

// TestUnreachableServer: an ICMP error that a server is unreachable counts if it quotes our SYN. The next server is then tried
// at once.
func TestUnreachableServer(t *testing.T) {
	const hostUnreachable, tooBig = 1, 4
	r := connecting(t, testConfig(false))
	syn := r.out[0].Frame
	guessed := append([]byte{}, syn...)
	guessed[wire.PacketAt+20+4] ^= 1 // the sequence number of the quoted SYN
	for _, e := range []struct {
		what  string
		frame []byte
		moves bool
	}{
		{"of a packet that is too big", unreachable(syn, tooBig), false},
		{"that quotes another number", unreachable(guessed, hostUnreachable), false},
		{"of our SYN", unreachable(syn, hostUnreachable), true},
	} {
		r.events = nil
		r.shard.Input(r.now, wire.Inside, e.frame)
		r.collect()
		moved := len(r.events) == 1 && r.events[0].Kind == EventServerFailed && r.events[0].Cause == CauseServerUnreachable &&
			len(r.out) > 0
		if moved != e.moves {
			t.Fatalf("an error %s: events %+v, %d frames", e.what, r.events, len(r.out))
		}
	}
	r.dec.Decode(r.out[len(r.out)-1].Frame)
	if s := &r.dec.Segment; s.Flags != wire.SYN || s.Dst != addr("10.0.0.12") {
		t.Errorf("sent %v to %v, want a SYN to the next server", s.Flags, s.Dst)
	}
}

// TestErrorWithSource: a server sees connections come from the gateway's own address. An ICMP error about a segment to the
// client reaches it as an error from that address, about a segment to that address.
func TestErrorWithSource(t *testing.T) {
	const tooBig = 4
	cfg := testConfig(false)
	own, server := addr("10.0.0.9"), addr("10.0.0.11") // the router is 10.0.0.1
	cfg.Servers[0].Source = Source{own, 61000, 61000}
	r := connecting(t, cfg)
	for _, h := range []wire.Header{{Flags: wire.SYN | wire.ACK, Seq: rigServer, MSS: 1460}, {Flags: wire.ACK, Seq: rigServer + 1}} {
		payload := make([]byte, 20)
		if h.Flags.Has(wire.SYN) {
			payload = nil
		}
		h.Src, h.SrcPort, h.Dst, h.DstPort, h.Ack, h.Wnd = server, 25, own, 61000, rigIRS+1, 60000
		r.shard.Input(r.now, wire.Inside, r.build.Append(nil, &h, payload))
		r.collect()
	}
	if len(r.out) != 1 || r.out[0].Side != wire.Outside {
		t.Fatalf("the banner caused %d frames, want 1 to the client", len(r.out))
	}
	r.shard.Input(r.now, wire.Outside, unreachable(r.out[0].Frame, tooBig))
	r.collect()
	var e wire.ICMPError
	if len(r.out) != 1 || r.out[0].Side != wire.Inside || r.out[0].Dst != server || r.dec.Decode(r.out[0].Frame) != wire.KindICMP ||
		!r.dec.ICMPError(&e) {
		t.Fatalf("the ICMP error caused %+v, want one ICMP error to the server", r.out)
	}
	if e.Src != own || e.Dst != server || e.QuoteSrc != server || e.QuoteSrcPort != 25 || e.QuoteDst != own || e.QuoteDstPort != 61000 ||
		e.QuoteSeq != rigServer+1 {
		t.Errorf("ICMP error from %v to %v about a segment from %v:%d to %v:%d, number %d", e.Src, e.Dst, e.QuoteSrc, e.QuoteSrcPort, e.QuoteDst, e.QuoteDstPort, e.QuoteSeq)
	}
}
