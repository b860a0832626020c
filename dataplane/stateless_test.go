package dataplane

import (
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// flooded is a driver whose half-open records are used up.
func flooded(tb testing.TB) *driver {
	d := newDriver(tb, func(c *Config) { c.Limits.HalfOpen = 10 })
	for n := range 10 {
		d.fromClient(n, wire.SYN, 1000, 0, "")
	}
	d.shard.Drain()
	d.phase(PhaseHalfOpen, 10)
	return d
}

// TestStateless: a client that comes in a flood costs no record until its ACK proves it, and is then a client like any
// other: held, rejected when it talks, handed over with the options that were agreed on.
func TestStateless(t *testing.T) {
	d := flooded(t)
	iss := d.hold(100)
	d.phase(PhaseHalfOpen, 10)
	d.phase(PhaseHeld, 1)
	if d.shard.stats.Stateless != 1 || d.shard.stats.Recalled != 1 {
		t.Errorf("%+v", d.shard.stats)
	}
	d.fromClient(100, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
	if s := d.last(); !s.Flags.Has(wire.RST) || s.Seq != iss+1 {
		t.Errorf("a talker got %v", s.Flags)
	}
	d = flooded(t)
	d.fromClient(100, wire.SYN, 1000, 0, "")
	synack := *d.last()
	iss = synack.Seq
	if !synack.Options.Timestamps || !synack.Options.SACKPermitted || synack.Options.WindowScale < 0 {
		t.Errorf("offered %+v", synack.Options)
	}
	h := wire.Header{
		Dst: d.shard.cfg.Services[0].Addr, DstPort: 25, Flags: wire.ACK, Seq: 1001, Ack: iss + 1, Wnd: 500,
		Timestamps: true, TSval: 77, TSecr: synack.Options.TSval,
	}
	h.Src, h.SrcPort = peer(100)
	d.input(wire.Outside, &h, "")
	d.now = d.now.Add(31 * time.Second)
	d.shard.Advance(d.now)
	syn := d.last()
	if syn.Seq != 1000 || syn.Options.WindowScale != 7 || !syn.Options.SACKPermitted || !syn.Options.Timestamps || syn.Options.MSS != 1460 {
		t.Errorf("the server is asked for %+v", syn.Options)
	}
}

// TestStatelessTalkInTheLastACK is early talk as well.
func TestStatelessTalkInTheLastACK(t *testing.T) {
	d := flooded(t)
	d.fromClient(100, wire.SYN, 1000, 0, "")
	iss := d.last().Seq
	d.fromClient(100, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
	if s := d.last(); !s.Flags.Has(wire.RST) {
		t.Errorf("a talker got %v", s.Flags)
	}
	d.phase(PhaseHeld, 0)
}

// TestStatelessThenRecord: the SYN comes twice, and the second one finds room for a record. The client answers the SYN-ACK
// that it got first.
func TestStatelessThenRecord(t *testing.T) {
	d := flooded(t)
	d.fromClient(100, wire.SYN, 1000, 0, "")
	iss := d.last().Seq
	d.shard.halfOpen = 100
	d.fromClient(100, wire.SYN, 1000, 0, "")
	if again := d.last().Seq; again == iss {
		t.Fatal("the record has the cookie for its ISS")
	}
	d.fromClient(100, wire.ACK, 1001, iss+1, "")
	if out, _ := d.shard.Drain(); len(out) > 0 {
		t.Errorf("%d segments in answer to a good ACK", len(out))
	}
	d.phase(PhaseHeld, 1)
	d.phase(PhaseHalfOpen, 10)
	d.fromClient(100, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
	if s := d.last(); !s.Flags.Has(wire.RST) || s.Seq != iss+1 {
		t.Errorf("a talker got %v", s.Flags)
	}
}

// TestForgedACKs: without a cookie, or with an old one, or when there was no flood, an ACK opens nothing.
func TestForgedACKs(t *testing.T) {
	d := flooded(t)
	d.fromClient(100, wire.SYN, 1000, 0, "")
	iss := d.last().Seq
	for _, forged := range []struct {
		seq, ack wire.Seq
		later    time.Duration
	}{{1001, iss + 2, 0}, {1002, iss + 1, 0}, {1000, iss + 1, 0}, {1001, 77, 0}, {1001, iss + 1, 2 * time.Minute}} {
		now := d.now
		d.now = now.Add(forged.later)
		d.fromClient(100, wire.ACK, forged.seq, forged.ack, "")
		if s := d.last(); !s.Flags.Has(wire.RST) {
			t.Errorf("%+v: got %v", forged, s.Flags)
		}
	}
	d.phase(PhaseHeld, 0)

	// A connection that had a record and was rejected does not come back by its ISS.
	d = flooded(t)
	d.fromClient(100, wire.SYN, 1000, 0, "") // a flood is on
	d.shard.Drain()
	d.shard.halfOpen = 100
	iss = d.hold(200)
	d.fromClient(200, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
	d.fromClient(200, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
	if n := d.shard.stats.Verdict[VerdictEarlyTalker]; n != 1 {
		t.Errorf("rejected %d times", n)
	}
}

func TestNewSecret(t *testing.T) {
	d := flooded(t)
	d.fromClient(100, wire.SYN, 1000, 0, "")
	iss := d.last().Seq
	d.shard.Apply(NewSecret{5, 6})
	d.fromClient(100, wire.ACK, 1001, iss+1, "")
	d.phase(PhaseHeld, 1)
}

// BenchmarkFlood answers SYNs of strangers when all half-open records are used up.
func BenchmarkFlood(b *testing.B) {
	d := flooded(b)
	b.ReportAllocs()
	n := 1000
	for b.Loop() {
		n++
		d.fromClient(n, wire.SYN, wire.Seq(n), 0, "")
		d.shard.Drain()
	}
	if d.shard.Flows() != 10 {
		b.Errorf("%d flows", d.shard.Flows())
	}
}

func TestFloodDoesNotAllocate(t *testing.T) {
	d := flooded(t)
	n := 1000
	if a := testing.AllocsPerRun(1000, func() {
		n++
		d.fromClient(n, wire.SYN, wire.Seq(n), 0, "")
		d.shard.Drain()
	}); a != 0 {
		t.Errorf("%v allocations for a SYN", a)
	}
	if d.shard.NextDeadline() == mono.Never {
		t.Error("the records that there are have no deadline")
	}
}
