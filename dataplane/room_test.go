package dataplane

import (
	"fmt"
	"testing"
	"time"

	"hushgate/internal/wire"
)

// eachFamily runs a test over IPv4 and IPv6.
func eachFamily(t *testing.T, test func(t *testing.T, v6 bool)) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("v6=%v", v6), func(t *testing.T) { test(t, v6) })
	}
}

// TestFinishedGiveWay: in a table full of finished connections, a new one takes the place of the oldest. Late segments of those
// that gave way get an RST.
func TestFinishedGiveWay(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		const records, visits = 40, 100
		d := newDriverOf(t, v6, func(c *Config) {
			c.Limits.Flows = records
			c.Frontends[0].Delay = 0
		})
		first, server := d.visit(0)
		for n := 1; n < visits; n++ {
			d.now = d.now.Add(10 * time.Millisecond)
			d.visit(n)
			d.shard.audit(t)
		}
		s := &d.shard.stats
		d.phase(PhaseLingering, records)
		if s.Opened != visits || s.Dropped[DropTableFull] != 0 || s.FinishedGivenUp != visits-records {
			t.Errorf("opened %d of %d; %d SYNs found no room; %d connections gave way", s.Opened, visits, s.Dropped[DropTableFull], s.FinishedGivenUp)
		}
		if n, in := d.shard.exts.Len(), d.shard.byIn.Len(); n != records || in != records {
			t.Errorf("%d splice records and %d entries in the inside index for %d connections", n, in, records)
		}
		for n := range visits {
			a, port := d.peer(n)
			if there := d.shard.lookupOut(a, port, 0) != 0; there != (n >= visits-records) {
				t.Errorf("connection %d of %d is in the table: %v", n, visits, there)
			}
		}
		d.fromClient(0, wire.FIN|wire.ACK, 1001, first+12, "")
		if r := d.last(); r.Flags != wire.RST || r.Seq != first+12 {
			t.Errorf("the client's late FIN gets %v with the number %d, want an RST with %d", r.Flags, r.Seq, first+12)
		}
		d.fromServer(0, server, wire.FIN|wire.ACK, 5012, 1002, "")
		if r := d.last(); r.Flags != wire.RST || r.Seq != 1002 || r.Dst != server {
			t.Errorf("the server's late FIN gets %v with the number %d, want an RST with 1002", r.Flags, r.Seq)
		}
	})
}

// TestOldestGivesWay: the connection that ended first gives way first, even if its record would stay longer: 5 s after an RST,
// otherwise a minute. A repeated FIN, sent because our last ACK was lost, counts as a new end.
func TestOldestGivesWay(t *testing.T) {
	d := newDriver(t, func(c *Config) {
		c.Limits.Flows = 4
		c.Frontends[0].Delay = 0
		c.Frontends[0].Action = ActionReply
	})
	there := func(want ...bool) {
		t.Helper()
		for n, w := range want {
			a, port := d.peer(n)
			if is := d.shard.lookupOut(a, port, 0) != 0; is != w {
				t.Fatalf("connection %d is in the table: %v", n, is)
			}
		}
	}
	d.visit(0)
	d.now = d.now.Add(time.Second)
	iss, server := d.hold(1), d.last().Dst // ends by an RST
	d.fromServer(1, server, wire.SYN|wire.ACK, 5000, 1001, "")
	d.fromServer(1, server, wire.ACK|wire.PSH, 5001, 1001, "220 ready\r\n")
	d.fromClient(1, wire.RST, 1001, iss+12, "")
	d.now = d.now.Add(time.Second)
	iss = d.hold(2) // gets 554, and closes
	d.fromClient(2, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
	fin := d.last()
	end := fin.End()
	d.fromClient(2, wire.FIN|wire.ACK, 1001, end, "EHLO bot\r\n")
	d.phase(PhaseSaying, 1)
	d.now = d.now.Add(time.Second)
	d.visit(3)
	d.now = d.now.Add(100 * time.Millisecond)
	d.fromClient(2, wire.FIN|wire.ACK, 1011, end, "")
	there(true, true, true, true)
	for i, want := range [][]bool{{false, true, true, true}, {false, false, true, true}, {false, false, true, false}, {false, false, false, false}} {
		d.shard.halfOpen = 100
		d.fromClient(10+i, wire.SYN, 1000, 0, "")
		there(want...)
		d.shard.audit(t)
	}
}

// TestOpenConnectionsNeverGiveWay: connections that are held or have a server keep their records. A SYN that finds no room is
// dropped, and the ACK of a cookie gets an RST. The delay is as long as a finished connection is kept.
func TestOpenConnectionsNeverGiveWay(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, func(c *Config) {
			c.Limits.Flows = 8
			c.Frontends[0].Delay = time.Minute
		})
		for n := range 7 {
			d.hold(n)
		}
		d.fromClient(7, wire.SYN, 1000, 0, "")
		iss7 := d.last().Seq
		d.fromClient(8, wire.SYN, 1000, 0, "") // all records are in use: a cookie
		iss8 := d.last().Seq
		if d.shard.stats.Stateless != 1 {
			t.Fatalf("%d SYNs were answered by a cookie", d.shard.stats.Stateless)
		}
		d.fromClient(7, wire.ACK, 1001, iss7+1, "")
		d.phase(PhaseHeld, 8)
		d.fromClient(8, wire.ACK, 1001, iss8+1, "") // the half-open connection is held by now
		if r := d.last(); r.Flags != wire.RST || r.Seq != iss8+1 {
			t.Errorf("with no room, the ACK of a cookie gets %v with %d, want an RST with %d", r.Flags, r.Seq, iss8+1)
		}
		d.fromClient(9, wire.SYN, 1000, 0, "")
		if out := d.shard.Drain().Out; len(out) != 0 {
			t.Errorf("with no room, a SYN was answered")
		}
		s := &d.shard.stats
		if d.phase(PhaseHeld, 8); s.Dropped[DropTableFull] != 2 || s.FinishedGivenUp+s.WordsCutShort+s.HandshakesGivenUp != 0 {
			t.Errorf("%d found no room, want 2; %d finished, %d replies and %d handshakes gave way", s.Dropped[DropTableFull], s.FinishedGivenUp, s.WordsCutShort,
				s.HandshakesGivenUp)
		}
	})
}

// TestFinishedAreLeftBehind: a process that takes over with fewer records drops finished connections if there is no room.
func TestFinishedAreLeftBehind(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, func(c *Config) { c.Frontends[0].Delay = 0 })
		for n := range 5 {
			d.visit(n)
		}
		for n := range 3 {
			d.hold(5 + n)
		}
		for n := range 5 {
			d.visit(8 + n)
		}
		d.shard.Drain()
		v, err := save(d.shard)
		if err != nil {
			t.Fatal(err)
		}
		cfg := *d.shard.cfg
		for _, c := range []struct {
			flows, finished int
			fits            bool
		}{
			{flows: 13, finished: 10, fits: true},
			{flows: 5, finished: 2, fits: true},
			{flows: 3, finished: 0, fits: true},
			{flows: 2, fits: false},
		} {
			cfg.Limits.Flows = c.flows
			s, err := resume(&cfg, []saved{v}, nil)
			if (err == nil) != c.fits {
				t.Fatalf("%d records: %v", c.flows, err)
			}
			if !c.fits {
				continue
			}
			s.audit(t)
			if n := s.stats.Phase[PhaseLingering]; n != int64(c.finished) || s.Flows() != c.finished+3 {
				t.Errorf("%d records: %d connections, %d of them finished, want %d", c.flows, s.Flows(), n, c.finished)
			}
		}
	})
}

// TestRepliesGiveWay: clients that get 554 and acknowledge nothing do not keep others out: the one that got it first is reset. A
// half-open connection gives way to a client that has answered its cookie.
func TestRepliesGiveWay(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, func(c *Config) {
			c.Limits.Flows = 8
			c.Frontends[0].Action = ActionReply
		})
		var first wire.Seq
		for n := range 8 {
			iss := d.hold(n)
			d.fromClient(n, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
			if n == 0 {
				first = d.last().End()
			}
			d.now = d.now.Add(time.Millisecond)
		}
		d.phase(PhaseSaying, 8)
		d.shard.Drain()
		d.fromClient(8, wire.SYN, 1000, 0, "")
		out := d.shard.Drain().Out
		if len(out) != 2 || d.dec.Decode(out[0].Frame) != wire.KindTCP {
			t.Fatalf("%d frames, want an RST and a SYN-ACK", len(out))
		}
		a, port := d.peer(0)
		if r := &d.dec.Segment; !r.Flags.Has(wire.RST) || r.Seq != first || r.Dst != a || r.DstPort != port {
			t.Errorf("to the client that got its reply first: %v with %d, want an RST with %d", r.Flags, r.Seq, first)
		}
		d.fromClient(9, wire.SYN, 1000, 0, "")
		d.phase(PhaseHalfOpen, 2) // the maximum
		d.shard.audit(t)

		d.fromClient(10, wire.SYN, 1000, 0, "")
		iss := d.last().Seq
		d.fromClient(10, wire.ACK, 1001, iss+1, "")
		d.phase(PhaseHeld, 1)
		for n := 11; n < 16; n++ { // the other replies give way to completed handshakes
			d.hold(n)
		}
		d.phase(PhaseSaying, 0)
		d.phase(PhaseHalfOpen, 2)
		iss = d.hold(16)
		d.phase(PhaseHeld, 7)
		d.fromClient(16, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
		if s := &d.shard.stats; s.WordsCutShort != 8 || s.HandshakesGivenUp != 1 || s.Dropped[DropTableFull] != 0 {
			t.Errorf("%d replies were cut short, %d handshakes gave way, %d SYNs found no room", s.WordsCutShort, s.HandshakesGivenUp,
				s.Dropped[DropTableFull])
		}
		d.shard.audit(t)
	})
}

// TestTableFull: a SYN that finds all records in use by open connections is dropped and counted. The client will repeat it.
func TestTableFull(t *testing.T) {
	d := newDriver(t, func(c *Config) { c.Limits.Flows = 1 })
	d.hold(1)
	d.shard.Drain()
	d.fromClient(2, wire.SYN, 1000, 0, "")
	if out := d.shard.Drain().Out; len(out) != 0 || d.shard.stats.Dropped[DropTableFull] != 1 {
		t.Errorf("%d frames were sent; dropped %v", len(out), d.shard.stats.Dropped)
	}
}
