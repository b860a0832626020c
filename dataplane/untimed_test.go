package dataplane

import (
	"testing"
	"time"

	"hushgate/internal/wire"
)

// TestUntimedServersComeLast: one of two servers stops granting timestamps. The first client in the delay detects this and gets
// the other server; later clients get that one at once. When only the first server is left, it is tried again, because it
// may grant timestamps by now.
func TestUntimedServersComeLast(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		client, vip, s1, s2 := addrs(v6)
		r := newRig(t, testConfig(v6))
		in := func(side wire.Side, h wire.Header) *wire.Segment {
			t.Helper()
			r.shard.Input(r.now, side, r.build.Append(nil, &h, nil))
			r.collect()
			if len(r.out) > 0 {
				r.dec.Decode(r.out[len(r.out)-1].Frame)
			}
			return &r.dec.Segment
		}
		const clients = 4
		for port := uint16(40000); port < 40000+clients; port++ {
			h := wire.Header{Src: addr(client), SrcPort: port, Dst: addr(vip), DstPort: 25, Flags: wire.SYN, Seq: 1000, Wnd: 60000, MSS: 1460, Timestamps: true, TSval: 7}
			synack := in(wire.Outside, h)
			h.Flags, h.Seq, h.Ack, h.TSecr, h.MSS = wire.ACK, 1001, synack.Seq+1, synack.Options.TSval, 0
			in(wire.Outside, h)
			r.wait(time.Second) // their delays end one after the other
		}
		var to []wire.Addr
		for range clients {
			r.wait(r.shard.NextDeadline().Sub(r.now))
			for len(r.out) > 0 {
				r.dec.Decode(r.out[len(r.out)-1].Frame)
				syn := r.dec.Segment
				if syn.Flags != wire.SYN { // the attempt was given up; a retry follows
					break
				}
				to = append(to, syn.Dst)
				h := wire.Header{
					Src: syn.Dst, SrcPort: 25, Dst: syn.Src, DstPort: syn.SrcPort, Flags: wire.SYN | wire.ACK, Seq: 5000, Ack: syn.Seq + 1, Wnd: 60000,
					MSS: 1460, Timestamps: syn.Dst == addr(s2), TSval: 9, TSecr: 7,
				}
				in(wire.Inside, h)
				if syn.Dst == addr(s2) {
					break
				}
			}
			if len(to) == 4 {
				r.shard.Apply(ServerState{Server: 1, Up: false})
			}
		}
		want := []wire.Addr{addr(s1), addr(s2), addr(s2), addr(s2), addr(s1)}
		if len(to) < len(want) {
			t.Fatalf("tried the servers %v", to)
		}
		for i := range want {
			if to[i] != want[i] {
				t.Fatalf("tried the servers %v, want %v", to, want)
			}
		}
	})
}
