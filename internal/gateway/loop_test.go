package gateway

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/mono"
	"hushgate/internal/netenv"
	"hushgate/internal/wire"
)

// wires is a port, a waiter and a resolver in one: a machine of two interfaces in memory.
type wires struct {
	side    wire.Side
	index   int
	in      [][]byte
	out     [][]byte
	err     error
	state   netenv.State
	probed  int
	timeout []time.Duration
	waited  func()
}

func (w *wires) Read(frames [][]byte) (int, error) {
	n := copy(frames, w.in)
	w.in = w.in[n:]
	return n, w.err
}

func (w *wires) Write(frames [][]byte) error {
	for _, f := range frames {
		w.out = append(w.out, append([]byte{}, f...))
	}
	return nil
}
func (w *wires) Side() wire.Side { return w.side }
func (w *wires) Name() string    { return "test" }
func (w *wires) Index() int      { return w.index }

func (w *wires) Wait(d time.Duration) error {
	w.timeout = append(w.timeout, d)
	w.waited()
	return nil
}
func (w *wires) Wake() {}

func (w *wires) Resolve(wire.Addr) (netenv.Hop, netenv.State) {
	return netenv.Hop{Ifindex: 1, Src: [6]byte{1}, Dst: [6]byte{2}}, w.state
}
func (w *wires) Probe(wire.Addr) { w.probed++ }

func testConfig() *dataplane.Config {
	return &dataplane.Config{
		Services:  []dataplane.Service{{Addr: wire.AddrFrom(netip.MustParseAddr("192.0.2.25")), Port: 25}},
		Frontends: []dataplane.Frontend{{Delay: 30 * time.Second}}, Backends: []dataplane.Backend{{}},
	}
}

func syn(port uint16) []byte {
	return wire.NewBuilder().Append(nil, &wire.Header{
		Src: wire.AddrFrom(netip.MustParseAddr("198.18.0.7")), SrcPort: port, Dst: testConfig().Services[0].Addr, DstPort: 25, Flags: wire.SYN,
	}, nil)
}

func testLoop(w *wires) *loop {
	return newLoop(dataplane.New(testConfig()), mono.NewClock(), []Port{w}, w, w, func([]dataplane.Event) {})
}

func TestLoopAnswersAndWaitsForTheDeadline(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := &wires{side: wire.Outside, index: 1, in: [][]byte{syn(4000)}, waited: cancel}
	l := testLoop(w)
	if err := l.run(ctx); err != nil {
		t.Fatal(err)
	}
	if len(w.out) != 1 || w.out[0][wire.VnetLen] != 2 || w.out[0][wire.VnetLen+6] != 1 {
		t.Fatalf("sent %x", w.out)
	}
	if d := w.timeout[0]; d <= 0 || d > time.Second {
		t.Errorf("waits for %v: the SYN-ACK is due again in a second", d)
	}
}

func TestIdleLoopWaitsForEver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := &wires{side: wire.Outside, index: 1, waited: cancel}
	if err := testLoop(w).run(ctx); err != nil || w.timeout[0] >= 0 {
		t.Errorf("waits for %v, %v", w.timeout, err)
	}
}

func TestLoopOrders(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := &wires{side: wire.Outside, index: 1, waited: cancel}
	l := testLoop(w)
	n := 0
	for range 3 {
		l.do(ctx, func(*dataplane.Shard) { n++ })
	}
	if err := l.run(ctx); err != nil || n != 3 {
		t.Errorf("%d orders were carried out, %v", n, err)
	}
}

func TestLoopEndsWhenAPortFails(t *testing.T) {
	broken := errors.New("broken")
	w := &wires{side: wire.Outside, index: 1, err: broken}
	if err := testLoop(w).run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// TestParking: a frame whose next hop is not resolved waits for it, a bounded time, and then goes.
func TestParking(t *testing.T) {
	w := &wires{side: wire.Outside, index: 1, state: netenv.Unresolved}
	e := newEgress([]Port{w}, w)
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
	clear(out[0].Frame) // the shard uses its memory again
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
	if len(e.parked) != parkRoom || e.unresolved.Load() != 10 {
		t.Errorf("%d parked, %d given up", len(e.parked), e.unresolved.Load())
	}
	now = now.Add(parkTime)
	send(nil)
	if len(e.parked) != 0 || e.unresolved.Load() != 10+parkRoom {
		t.Errorf("later %d parked, %d given up", len(e.parked), e.unresolved.Load())
	}
	w.state = netenv.NoRoute
	send(frame())
	if e.unroutable.Load() != 1 {
		t.Errorf("%d unroutable", e.unroutable.Load())
	}
}
