package drive

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/dataplane/port"
	"hushgate/internal/mono"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// machine is a gateway of several shards, each driven by a loop of its own, of which the ports are in memory.
type machine struct {
	Shards
	wires []*wires
}

func newMachine(t *testing.T, shards int, v6 bool, uptime time.Duration) *machine {
	m := &machine{Shards: Shards{Spread: port.NewSpread([2]uint64{1, 2}, port.Prefix{})}}
	clock := mono.NewClockFrom(mono.Time(uptime))
	for i := range shards {
		w := &wires{side: wire.Outside, index: 1}
		cfg := testConfig()
		cfg.Turn, cfg.Shards = i, shards
		if v6 {
			cfg.Services[0].Addr = wire.AddrFrom(netip.MustParseAddr("2001:db8::25"))
		}
		l := NewLoop(i, dataplane.New(cfg), clock, []Port{w}, w, w, NewFailures())
		m.Loops, m.wires = append(m.Loops, l), append(m.wires, w)
	}
	return m
}

// run runs all loops until the test ends: each waits for orders, and does nothing else.
func (m *machine) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, len(m.Loops))
	for i, l := range m.Loops {
		m.wires[i].waited = func() {
			select {
			case f := <-l.orders: // as a waiter that is woken by Do
				l.orders <- f
			case <-ctx.Done():
			}
		}
		go func() { ended <- l.Run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range m.Loops {
			if err := <-ended; err != nil && !errors.Is(err, ErrGiven) {
				t.Error(err)
			}
		}
	})
}

// hold brings a client into the hold.
func (m *machine) hold(of *tcpstate.Tuple) {
	l := m.of(of.Client)
	now := l.clock.Now()
	h := wire.Header{Src: of.Client, SrcPort: of.ClientPort, Dst: of.Service, DstPort: of.ServicePort, Flags: wire.SYN, Seq: 100, Wnd: 1000}
	l.Shard.Input(now, wire.Outside, wire.NewBuilder().Append(nil, &h, nil))
	out := l.Shard.Drain().Out
	at := wire.PacketAt + 24
	if !of.Client.Is4() {
		at += 20
	}
	h.Flags, h.Seq, h.Ack = wire.ACK, 101, wire.Seq(binary.BigEndian.Uint32(out[0].Frame[at:]))+1
	l.Shard.Input(now, wire.Outside, wire.NewBuilder().Append(nil, &h, nil))
	l.Shard.Drain()
}

// TestAdopt: a connection that one gateway holds goes on in the shard of another one that hears its client, which was asleep
// for long: its delay ends when it would have ended, and no other shard knows of it.
func TestAdopt(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		of := tcpstate.Tuple{
			Client: wire.AddrFrom(netip.MustParseAddr("198.18.0.7")), ClientPort: 4000,
			Service: wire.AddrFrom(netip.MustParseAddr("192.0.2.25")), ServicePort: 25,
		}
		if v6 {
			of.Client, of.Service = wire.AddrFrom(netip.MustParseAddr("2001:db8:1::7")), wire.AddrFrom(netip.MustParseAddr("2001:db8::25"))
		}
		from, to := newMachine(t, 2, v6, 1000*time.Hour), newMachine(t, 3, v6, time.Hour)
		from.hold(&of)
		from.run(t)
		to.run(t)
		v, err := from.SaveFlow(t.Context(), of, dataplane.AnotherMachine)
		if err != nil || v == nil {
			t.Fatalf("%v, %v", v, err)
		}
		const ago = 5 * time.Second
		before := to.Loops[0].clock.Now()
		for _, want := range []dataplane.AdoptOutcome{dataplane.Adopted, dataplane.AdoptAlreadyThere} {
			a, err := to.Adopt(t.Context(), v, ago)
			if err != nil || a.Outcome != want || (a.Err == nil) != (want == dataplane.Adopted) {
				t.Fatalf("%v, %v, want %v", a, err, want)
			}
		}
		for i, l := range to.Loops {
			next, _ := Ask(t.Context(), l, func(s *dataplane.Shard) mono.Time { return s.NextDeadline() })
			if l != to.of(of.Client) {
				if next != mono.Never {
					t.Errorf("shard %d has the connection too", i)
				}
				continue
			}
			left := v.Elsewhere.DueIn - ago
			if got := next.Sub(before); got < left || got > left+l.clock.Now().Sub(before) {
				t.Errorf("the delay ends in %v, want %v", got, left)
			}
		}
		of.ClientPort++
		if v, err := to.SaveFlow(t.Context(), of, dataplane.SameMachine); v != nil || err != nil {
			t.Errorf("%v, %v: there is no such connection", v, err)
		}
	}
}

// TestAdoptTooLate: a loop whose shard another process has takes nothing, and one that does not run never answers.
func TestAdoptTooLate(t *testing.T) {
	m := newMachine(t, 1, false, time.Hour)
	of := tcpstate.Tuple{
		Client: wire.AddrFrom(netip.MustParseAddr("198.18.0.7")), ClientPort: 4000,
		Service: wire.AddrFrom(netip.MustParseAddr("192.0.2.25")), ServicePort: 25,
	}
	m.hold(&of)
	v := new(dataplane.FlowState)
	m.Loops[0].Shard.SaveFlow(m.Loops[0].clock.Now(), &of, dataplane.AnotherMachine, v)
	v.ClientPort++

	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := m.Adopt(ended, v, 0); err == nil || err.Error() != "adopt the connection of 198.18.0.7: enough" {
		t.Errorf("%v", err)
	}
	if _, err := m.SaveFlow(ended, of, dataplane.AnotherMachine); err == nil {
		t.Error("a loop that does not run has answered")
	}
	for len(m.Loops[0].orders) > 0 { // which of the two came first, the order or the end, is not known
		<-m.Loops[0].orders
	}
	m.Loops[0].Do(t.Context(), func(*dataplane.Shard) { m.Loops[0].Given = true })
	answered := make(chan error, 1)
	go func() {
		_, err := m.Adopt(t.Context(), v, 0)
		answered <- err
	}()
	for len(m.Loops[0].orders) < 2 {
		time.Sleep(time.Millisecond) // until it is asked: an order behind the one that gives the shard away
	}
	m.run(t)
	if err := <-answered; !errors.Is(err, ErrGiven) {
		t.Errorf("%v, want %v", err, ErrGiven)
	}
	if n := m.Loops[0].Shard.Flows(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
