package drive

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/mono"
	"hushgate/internal/netenv"
	"hushgate/internal/wire"
)

// wires is a port, a waiter and a resolver in one: a machine with two interfaces, in memory.
type wires struct {
	side    wire.Side
	index   int
	in      [][]byte
	out     [][]byte
	err     error
	state   netenv.State
	probed  int
	doubted int
	moved   byte // last octet of the next hop's link address
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

func (w *wires) Resolve(_, _ wire.Addr) (netenv.Hop, netenv.State) {
	return netenv.Hop{Ifindex: 1, Src: [6]byte{1}, Dst: [6]byte{2 + w.moved}}, w.state
}
func (w *wires) Probe(_, _ wire.Addr) { w.probed++ }
func (w *wires) Doubt(netenv.Hop) bool {
	w.doubted++
	return w.doubted == 1
}

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

func testLoop(w *wires) *Loop {
	return NewLoop(0, dataplane.New(testConfig()), mono.NewClock(), []Port{w}, w, w, NewFailures())
}

func TestLoopAnswersAndWaitsForTheDeadline(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := &wires{side: wire.Outside, index: 1, in: [][]byte{syn(4000)}, waited: cancel}
	l := testLoop(w)
	if err := l.Run(ctx); err != nil {
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
	if err := testLoop(w).Run(ctx); err != nil || w.timeout[0] >= 0 {
		t.Errorf("waits for %v, %v", w.timeout, err)
	}
}

// noted is a sink that records its events.
type noted struct {
	order *[]string
	name  string
}

func (n noted) Take(shard int, events []dataplane.Event) {
	for i := range events {
		*n.order = append(*n.order, fmt.Sprintf("%s: shard %d %v %d", n.name, shard, events[i].Verdict, events[i].ClientPort))
	}
}

// TestSinks: each sink receives every event with the number of its shard, and no sink is called without events.
func TestSinks(t *testing.T) {
	var got []string
	ctx, cancel := context.WithCancel(t.Context())
	w := &wires{side: wire.Outside, index: 1, in: [][]byte{syn(4000)}, waited: cancel}
	l := NewLoop(3, dataplane.New(testConfig()), mono.NewClock(), []Port{w}, w, w, NewFailures(), noted{&got, "log"}, noted{&got, "evidence"})
	if err := l.Run(ctx); err != nil || len(got) != 0 {
		t.Fatalf("a SYN is no event: %q, %v", got, err)
	}
	s := binary.BigEndian.Uint32(w.out[0][wire.PacketAt+24:]) // the SYN-ACK's number
	for _, h := range []wire.Header{{Flags: wire.ACK}, {Flags: wire.ACK | wire.FIN}} {
		h.Src, h.SrcPort = wire.AddrFrom(netip.MustParseAddr("198.18.0.7")), 4000
		h.Dst, h.DstPort = testConfig().Services[0].Addr, 25
		h.Seq, h.Ack, h.Wnd = 1, wire.Seq(s)+1, 1000
		l.Shard.Input(l.clock.Now(), wire.Outside, wire.NewBuilder().Append(nil, &h, nil))
	}
	if err := l.Drain(l.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"log: shard 3 hang-up 4000", "evidence: shard 3 hang-up 4000"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLoopOrders(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := &wires{side: wire.Outside, index: 1, waited: cancel}
	l := testLoop(w)
	n := 0
	for range 3 {
		l.Do(ctx, func(*dataplane.Shard) { n++ })
	}
	if err := l.Run(ctx); err != nil || n != 3 {
		t.Errorf("%d orders were carried out, %v", n, err)
	}
}

func TestLoopEndsWhenAPortFails(t *testing.T) {
	broken := errors.New("broken")
	w := &wires{side: wire.Outside, index: 1, err: broken}
	if err := testLoop(w).Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}
