package gateway

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
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
	doubted int
	moved   byte // of the next hop's link address
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

func testLoop(w *wires) *loop {
	return newLoop(dataplane.New(testConfig()), mono.NewClock(), []Port{w}, w, w, newFailures(), func([]dataplane.Event) {})
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

func testEgress(w *wires) *egress {
	return newEgress([]Port{w}, w, newFailures(), func(dataplane.Drop) {})
}

// TestParking: a frame whose next hop is not resolved waits for it, a bounded time, and then goes.
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
	if len(e.parked) != parkRoom || e.lost.kinds[noNeighbour].count.Load() != 10 {
		t.Errorf("%d parked, %d given up", len(e.parked), e.lost.kinds[noNeighbour].count.Load())
	}
	now = now.Add(parkTime)
	send(nil)
	if len(e.parked) != 0 || e.lost.kinds[noNeighbour].count.Load() != 10+parkRoom {
		t.Errorf("later %d parked, %d given up", len(e.parked), e.lost.kinds[noNeighbour].count.Load())
	}
	w.state = netenv.NoRoute
	send(frame())
	if e.lost.kinds[noRoute].count.Load() != 1 {
		t.Errorf("%d unroutable", e.lost.kinds[noRoute].count.Load())
	}
}

// TestAnswersLeaveWhereClientsAre: by which ports an answer to a client may leave, and what becomes of the SYN of one that
// cannot be answered.
func TestAnswersLeaveWhereClientsAre(t *testing.T) {
	server := wire.AddrFrom(netip.MustParseAddr("10.0.0.11"))
	client := wire.AddrFrom(netip.MustParseAddr("198.18.0.7"))
	strict, loose, off := returns{}, returns{routed: true}, returns{anywhere: true} // `reverse-path`
	for _, tt := range []struct {
		rule   returns
		side   wire.Side // of the port that the route leaves by
		onLink bool
		to     wire.Addr
		want   failure
	}{
		{strict, wire.Outside, true, client, sent},
		{strict, wire.Outside, true, server, sent}, // whatever a configuration calls a server
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
		r.servers = map[wire.Addr]struct{}{server: {}}
		if got := r.judge(tt.side, tt.onLink, &tt.to); got != tt.want {
			t.Errorf("%+v, by %v (on link: %v), to %v: %v, want %v", tt.rule, tt.side, tt.onLink, tt.to, got, tt.want)
		}
	}
	w := &wires{side: wire.Inside, index: 1}
	l := testLoop(w)
	l.egress.returns = strict
	if l.egress.admits(wire.Outside, syn(1)) || !l.egress.admits(wire.Inside, syn(1)) {
		t.Error("a SYN from outside whose answer would leave by the inside goes to the shard, or one from the inside does not")
	}
	if err := l.egress.send(0, []dataplane.Out{{Side: wire.Outside, Frame: syn(1)}, {Side: wire.Inside, Frame: syn(1)}}); err != nil || len(w.out) != 1 {
		t.Errorf("%d frames sent, %v: the one to the server was to go", len(w.out), err)
	}
	if s := l.shard.Stats(); s.Dropped[dataplane.DropReversePath] != 2 {
		t.Errorf("%d counted", s.Dropped[dataplane.DropReversePath])
	}
	if n := testing.AllocsPerRun(100, func() { l.egress.admits(wire.Outside, syn1) }); n != 0 {
		t.Errorf("%v allocations for a SYN", n)
	}
}

var syn1 = syn(1)

// TestFailuresAreTold: the first at once, more of its kind once a minute, and the first again behind a minute without.
func TestFailuresAreTold(t *testing.T) {
	var text bytes.Buffer
	l := failureLog{
		failures: newFailures(), log: slog.New(slog.NewTextHandler(&text, nil)), name: func(int) string { return "eth7" },
	}
	client := wire.AddrFrom(netip.MustParseAddr("198.18.0.7"))
	said := func(when string, lines ...string) {
		t.Helper()
		for len(l.first) > 0 {
			l.begin(<-l.first)
		}
		if n := strings.Count(text.String(), "\n"); n != len(lines) {
			t.Errorf("%s: %d lines, want %d: %s", when, n, len(lines), text.String())
		}
		for _, want := range lines {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%s: no %q in %s", when, want, text.String())
			}
		}
		text.Reset()
	}
	l.note(linkDown, client, 7)
	l.note(noRoute, client, 0)
	said("the first", `msg="frame not sent" to=198.18.0.7 why="the interface of the route to it is down" interface=eth7`,
		`msg="frame not sent" to=198.18.0.7 why="there is no route to it"`)
	for range 5 {
		l.note(linkDown, client, 7)
	}
	said("more")
	l.minute()
	said("a minute", "count=5 within=1m0s")
	l.note(linkDown, client, 7)
	l.minute()
	said("another", "count=1 within=1m0s")
	l.minute()
	said("a quiet one")
	l.note(linkDown, client, 7)
	said("the first again", "frame not sent")
	for why := noRoute; why < failureKinds; why++ {
		if why.words() == "" {
			t.Errorf("failure %d has no words", why)
		}
	}
}

// TestDoubts: what is sent for a second time raises a doubt, and goes to where its next hop turns out to be; if it is where it
// was, nothing is sent twice.
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
			t.Error("a first frame raises a doubt")
		}
		again := dataplane.Out{Side: wire.Inside, Again: true, Frame: syn(2)}
		send(again, again)
		if w.doubted != 2 || len(w.out) != 3 || len(e.doubted) != 1 || e.retryAt() != now.Add(parkRetry) {
			t.Errorf("%d doubts, %d frames sent, %d kept", w.doubted, len(w.out), len(e.doubted))
		}
		clear(again.Frame) // the shard uses its memory again
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
