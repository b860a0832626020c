package dataplane

import (
	"encoding/binary"
	"testing"
	"time"

	"hushgate/internal/wire"
)

// unreachable is an ICMP destination unreachable that a router sends to the sender of the IPv4 packet in frame.
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
	out[0] = 2 // DATA_VALID: the message's checksum is right
	out = append(append(out, ip...), 3, code, 0, 0, 0, 0, 0, 0)
	return append(out, quoted...)
}

// TestUnreachableServer: who says that a server cannot be reached is believed if he has seen our SYN, and the next one is
// tried at once.
func TestUnreachableServer(t *testing.T) {
	const hostUnreachable, tooBig = 1, 4
	r := newRig(t, testConfig(false))
	r.put(wire.Outside, wire.Header{Flags: wire.SYN, Seq: rigIRS, Wnd: 60000, MSS: 1460}, 0, nil)
	r.d.Decode(r.out[0].Frame)
	r.iss = r.d.Segment.Seq
	r.client(wire.ACK, 1, 1, 0, nil)
	r.wait(30 * time.Second)
	syn := r.out[0].Frame
	guessed := append([]byte{}, syn...)
	guessed[wire.PacketAt+20+4] ^= 1 // its number
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
		r.s.Input(r.now, wire.Inside, e.frame)
		r.collect()
		moved := len(r.events) == 1 && r.events[0].Kind == EventServerFailed && r.events[0].Cause == CauseServerUnreachable &&
			len(r.out) > 0
		if moved != e.moves {
			t.Fatalf("an error %s: events %+v, %d frames", e.what, r.events, len(r.out))
		}
	}
	r.d.Decode(r.out[len(r.out)-1].Frame)
	if s := &r.d.Segment; s.Flags != wire.SYN || s.Dst != addr("10.0.0.12") {
		t.Errorf("then sent %v to %v", s.Flags, s.Dst)
	}
}
