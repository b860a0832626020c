package drive

import (
	"context"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/wire"
)

// TestLoad: a loop counts its turns, how many frames came at once, what was dropped of them, and the time in which it did not wait.
func TestLoad(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := &wires{side: wire.Outside, index: 1}
	for i := range 70 { // a whole batch, and 6 more
		w.in = append(w.in, syn(uint16(4000+i)))
	}
	w.in[3] = w.in[3][:20]
	w.in[69] = w.in[69][:20]
	const slept = 20 * time.Millisecond
	w.waited = func() {
		time.Sleep(slept)
		cancel()
	}
	l := testLoop(w)
	if v := l.Load(); v.Uptime != 0 || v.Busy != 0 {
		t.Errorf("before the start: %+v", v)
	}
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	v := l.Load()
	if want := [batches]uint64{3: 1, 7: 1}; v.Frames != 70 || v.Turns != 2 || v.Reads != want || v.Parked != 0 {
		t.Errorf("%+v", v)
	}
	if v.Busy <= 0 || v.Busy > v.Uptime-slept {
		t.Errorf("busy for %v of %v, of which it waited for %v", v.Busy, v.Uptime, slept)
	}
	if n := l.Dropped()["test"][dataplane.DropShort]; n != 2 {
		t.Errorf("%d dropped", n)
	}
	l.Shard.Discard(dataplane.DropNoRoute) // on the way out
	if n := l.Dropped()["test"][dataplane.DropNoRoute]; n != 0 || l.Shard.Stats().Dropped[dataplane.DropNoRoute] != 1 {
		t.Errorf("%d dropped on arrival that were to be sent", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = l.turn() }); n != 0 {
		t.Errorf("%v allocations for a turn", n)
	}
}
