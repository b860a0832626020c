package drive

import (
	"net/netip"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/mono"
	"hushgate/internal/netenv"
	"hushgate/internal/wire"
)

func testEgress(w *wires) *egress {
	return newEgress([]Port{w}, w, NewFailures(), func(dataplane.Drop) {})
}

// TestParking: a frame whose next hop is not resolved waits for it, for a bounded time, and is then sent.
func TestParking(t *testing.T) {
	w := &wires{side: wire.Outside, index: 1, state: netenv.Unresolved}
	e := testEgress(w)
	now := mono.Time(time.Hour)
	frame := func() []dataplane.Out { return []dataplane.Out{{Side: wire.Outside, Frame: syn(1)}} }
	send := func(out []dataplane.Out) {
		t.Helper()
		if err := e.send(now, out); err != nil {
			t.Fatal(err)
		}
	}
	out := frame()
	send(out)
	clear(out[0].Frame) // the shard reuses its memory
	if len(w.out) != 0 || w.probed != 1 || e.retryAt() != now.Add(parkRetry) {
		t.Fatalf("sent %d, probed %d, again at %d", len(w.out), w.probed, e.retryAt())
	}
	now = now.Add(time.Second)
	w.state = netenv.Resolved
	send(nil)
	if len(w.out) != 1 || w.out[0][wire.VnetLen+12] != 0x08 || e.retryAt() != mono.Never {
		t.Fatalf("sent %x", w.out)
	}
	w.state = netenv.Unresolved
	for range parkRoom + 10 {
		send(frame())
	}
	if len(e.parked) != parkRoom || e.lost.noted(noNeighbour) != 10 {
		t.Errorf("%d parked, %d given up", len(e.parked), e.lost.noted(noNeighbour))
	}
	now = now.Add(parkTime)
	send(nil)
	if len(e.parked) != 0 || e.lost.noted(noNeighbour) != 10+parkRoom {
		t.Errorf("later %d parked, %d given up", len(e.parked), e.lost.noted(noNeighbour))
	}
	w.state = netenv.NoRoute
	send(frame())
	if e.lost.noted(noRoute) != 1 {
		t.Errorf("%d unroutable", e.lost.noted(noRoute))
	}
}

// TestAnswersLeaveWhereClientsAre: by which ports an answer to a client may leave, and what happens to a SYN that cannot be
// answered.
func TestAnswersLeaveWhereClientsAre(t *testing.T) {
	server := wire.AddrFrom(netip.MustParseAddr("10.0.0.11"))
	client := wire.AddrFrom(netip.MustParseAddr("198.18.0.7"))
	strict, loose, off := Returns{}, Returns{Routed: true}, Returns{Anywhere: true} // `reverse-path`
	for _, tt := range []struct {
		rule   Returns
		side   wire.Side // of the port by which the route leaves
		onLink bool
		to     wire.Addr
		want   reason
	}{
		{strict, wire.Outside, true, client, sent},
		{strict, wire.Outside, true, server, sent}, // even if a configuration calls it a server
		{strict, wire.Inside, true, client, wrongSide},
		{strict, wire.Inside, false, client, wrongSide},
		{strict, wire.Both, true, client, sent},
		{strict, wire.Both, true, server, hairpin},
		{loose, wire.Inside, true, client, wrongSide},
		{loose, wire.Inside, false, client, sent},
		{loose, wire.Inside, false, server, hairpin},
		{loose, wire.Both, true, server, hairpin},
		{off, wire.Inside, true, server, sent},
		{off, wire.Both, true, server, sent},
	} {
		r := tt.rule
		r.Servers = map[wire.Addr]struct{}{server: {}}
		if got := r.judge(tt.side, tt.onLink, &tt.to); got != tt.want {
			t.Errorf("%+v, by %v (on link: %v), to %v: %v, want %v", tt.rule, tt.side, tt.onLink, tt.to, got, tt.want)
		}
	}
	w := &wires{side: wire.Inside, index: 1}
	l := testLoop(w)
	l.egress.returns = strict
	if l.egress.admits(wire.Outside, syn(1)) || !l.egress.admits(wire.Inside, syn(1)) {
		t.Error("the shard receives a SYN from outside whose answer would leave by the inside, or does not receive one from the inside")
	}
	if err := l.egress.send(0, []dataplane.Out{{Side: wire.Outside, Frame: syn(1)}, {Side: wire.Inside, Frame: syn(1)}}); err != nil || len(w.out) != 1 {
		t.Errorf("%d frames sent, %v: expected only the one to the server", len(w.out), err)
	}
	if s := l.Shard.Stats(); s.Dropped[dataplane.DropReversePath] != 2 {
		t.Errorf("%d counted", s.Dropped[dataplane.DropReversePath])
	}
	if n := testing.AllocsPerRun(100, func() { l.egress.admits(wire.Outside, syn1) }); n != 0 {
		t.Errorf("%v allocations for a SYN", n)
	}
}

var syn1 = syn(1)

// TestDoubts: a frame that is sent again raises a doubt, and is sent to the neighbour's new link address, if there is one.
// If the link address has not changed, nothing is sent twice.
func TestDoubts(t *testing.T) {
	for _, moved := range []byte{0, 1} {
		w := &wires{side: wire.Both, index: 1}
		e := testEgress(w)
		now := mono.Time(time.Hour)
		send := func(out ...dataplane.Out) {
			t.Helper()
			if err := e.send(now, out); err != nil {
				t.Fatal(err)
			}
		}
		send(dataplane.Out{Side: wire.Inside, Frame: syn(1)})
		if w.doubted != 0 || e.retryAt() != mono.Never {
			t.Error("a frame that is sent for the first time raises a doubt")
		}
		again := dataplane.Out{Side: wire.Inside, Again: true, Frame: syn(2)}
		send(again, again)
		if w.doubted != 2 || len(w.out) != 3 || len(e.doubted) != 1 || e.retryAt() != now.Add(parkRetry) {
			t.Errorf("%d doubts, %d frames sent, %d kept", w.doubted, len(w.out), len(e.doubted))
		}
		clear(again.Frame) // the shard reuses its memory
		now = now.Add(parkRetry)
		w.moved = moved
		send()
		if want := 3 + int(moved); len(w.out) != want || moved == 1 && (w.out[3][wire.VnetLen] != 3 || w.out[3][wire.PacketAt] != 0x45) {
			t.Errorf("moved %d: %d frames sent, want %d: %x", moved, len(w.out), want, w.out[len(w.out)-1])
		}
		now = now.Add(doubtTime)
		send()
		if len(w.out) != 3+int(moved) || len(e.doubted) != 0 || e.retryAt() != mono.Never || w.doubted != 2 {
			t.Errorf("at the end %d frames sent, %d kept, %d doubts", len(w.out), len(e.doubted), w.doubted)
		}
	}
}

// TestInheritParked: a frame that waited for its next hop continues to wait, for the rest of its time.
func TestInheritParked(t *testing.T) {
	w := &wires{side: wire.Inside, index: 1}
	e := testEgress(w)
	e.inherit(ParkedFrame{Side: wire.Inside, Frame: make([]byte, 100), Until: mono.Time(time.Second)})
	w.state = netenv.Unresolved
	if err := e.send(mono.Time(1), nil); err != nil || len(e.parked) != 1 || len(w.out) != 0 {
		t.Errorf("%d frames are parked, %d sent, %v", len(e.parked), len(w.out), err)
	}
	w.state = netenv.Resolved
	if err := e.send(mono.Time(parkRetry)+1, nil); err != nil || len(e.parked) != 0 || len(w.out) != 1 {
		t.Errorf("%d frames are parked, %d sent, %v", len(e.parked), len(w.out), err)
	}
}
