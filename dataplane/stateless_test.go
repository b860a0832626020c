package dataplane

import (
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// flooded returns a driver whose half-open records are used up.
func flooded(tb testing.TB) *driver { return floodedOf(tb, false) }

func floodedOf(tb testing.TB, v6 bool) *driver {
	d := newDriverOf(tb, v6, func(c *Config) { c.Limits.HalfOpen = 10 })
	for n := range 10 {
		d.fromClient(n, wire.SYN, 1000, 0, "")
	}
	d.shard.Drain()
	d.phase(PhaseHalfOpen, 10)
	return d
}

// TestStateless: in a flood, a client costs no record until its ACK returns the cookie. From then on it is treated like any
// other: held, rejected if it talks early, spliced with the options that were negotiated.
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
		t.Errorf("an early talker got %v, want an RST", s.Flags)
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
		t.Errorf("the SYN to the server has the options %+v", syn.Options)
	}
}

// TestStatelessTalkInTheLastACK: payload in the ACK that returns a cookie is early talk.
func TestStatelessTalkInTheLastACK(t *testing.T) {
	d := flooded(t)
	d.fromClient(100, wire.SYN, 1000, 0, "")
	iss := d.last().Seq
	d.fromClient(100, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
	if s := d.last(); !s.Flags.Has(wire.RST) {
		t.Errorf("an early talker got %v, want an RST", s.Flags)
	}
	d.phase(PhaseHeld, 0)
}

// TestStatelessThenRecord: a SYN is answered with a cookie, and its repetition finds room for a record. The client acknowledges
// the first SYN-ACK and is accepted.
func TestStatelessThenRecord(t *testing.T) {
	d := flooded(t)
	d.fromClient(100, wire.SYN, 1000, 0, "")
	iss := d.last().Seq
	d.shard.halfOpen = 100
	d.fromClient(100, wire.SYN, 1000, 0, "")
	if again := d.last().Seq; again == iss {
		t.Fatal("the record's ISS is the cookie")
	}
	d.fromClient(100, wire.ACK, 1001, iss+1, "")
	if out := d.shard.Drain().Out; len(out) > 0 {
		t.Errorf("a valid ACK was answered with %d segments", len(out))
	}
	d.phase(PhaseHeld, 1)
	d.phase(PhaseHalfOpen, 10)
	d.fromClient(100, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
	if s := d.last(); !s.Flags.Has(wire.RST) || s.Seq != iss+1 {
		t.Errorf("an early talker got %v, want an RST", s.Flags)
	}
}

// TestForgedACKs: an ACK opens no connection if its cookie is wrong or too old, or if there was no flood.
func TestForgedACKs(t *testing.T) {
	d := flooded(t)
	d.fromClient(100, wire.SYN, 1000, 0, "")
	iss := d.last().Seq
	for _, forged := range []struct {
		what     string
		seq, ack wire.Seq
		later    time.Duration
	}{
		{what: "one acknowledged too many", seq: 1001, ack: iss + 2},
		{what: "the next number of the client", seq: 1002, ack: iss + 1},
		{what: "the number of its SYN", seq: 1000, ack: iss + 1},
		{what: "a guess", seq: 1001, ack: 77},
		{what: "too late", seq: 1001, ack: iss + 1, later: 2 * time.Minute},
	} {
		now := d.now
		d.now = now.Add(forged.later)
		d.fromClient(100, wire.ACK, forged.seq, forged.ack, "")
		if s := d.last(); !s.Flags.Has(wire.RST) {
			t.Errorf("%s: got %v", forged.what, s.Flags)
		}
	}
	d.phase(PhaseHeld, 0)

	// The ISS of a connection that had a record and was rejected is no cookie.
	d = flooded(t)
	d.fromClient(100, wire.SYN, 1000, 0, "") // begins a flood
	d.shard.Drain()
	d.shard.halfOpen = 100
	iss = d.hold(200)
	d.fromClient(200, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
	d.fromClient(200, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
	if n := d.shard.stats.Verdict[VerdictEarlyTalker]; n != 1 {
		t.Errorf("rejected %d times, want once", n)
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

// BenchmarkFlood measures SYNs of unknown clients when all half-open records are used up.
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
		t.Errorf("%v allocations per SYN", a)
	}
	if d.shard.NextDeadline() == mono.Never {
		t.Error("the half-open records have no deadline")
	}
	if a := testing.AllocsPerRun(1000, func() { // the first call allocates the table of used cookies
		n++
		iss := d.hold(n)
		d.fromClient(n, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
		d.fromClient(n, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
		d.shard.Drain()
	}); a != 0 || d.shard.stats.CookiesReplayed == 0 {
		t.Errorf("%v allocations per connection opened by a cookie", a)
	}
}

// TestCookieOpensOnce: a cookie opens one connection. Its repeated ACK opens no other, however the connection ended, not even
// after a change of the secret or a takeover by another process.
func TestCookieOpensOnce(t *testing.T) {
	const client = 100
	for _, end := range []struct {
		name string
		end  func(d *driver, iss wire.Seq)
	}{
		{"rejected", func(d *driver, iss wire.Seq) { d.fromClient(client, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n") }},
		{"reset by the client", func(d *driver, iss wire.Seq) { d.fromClient(client, wire.RST, 1001, 0, "") }},
		{"closed by the client", func(d *driver, iss wire.Seq) {
			d.fromClient(client, wire.FIN|wire.ACK, 1001, iss+1, "")
			d.fromClient(client, wire.ACK, 1002, iss+2, "")
		}},
		{"finished, and gave way", func(d *driver, iss wire.Seq) {
			d.now = d.now.Add(31 * time.Second)
			d.shard.Advance(d.now)
			server := d.last().Dst
			d.fromServer(client, server, wire.SYN|wire.ACK, 5000, 1001, "")
			d.fromServer(client, server, wire.ACK|wire.PSH, 5001, 1001, "220 ready\r\n")
			d.fromClient(client, wire.FIN|wire.ACK, 1001, iss+12, "")
			d.fromServer(client, server, wire.FIN|wire.ACK, 5012, 1002, "")
			d.fromClient(client, wire.ACK, 1002, iss+13, "")
			d.phase(PhaseLingering, 1)
			if !d.shard.giveUp(finished) {
				d.tb.Fatal("no finished connection gave way")
			}
		}},
	} {
		t.Run(end.name, func(t *testing.T) {
			eachFamily(t, func(t *testing.T, v6 bool) {
				d := floodedOf(t, v6)
				d.fromClient(client, wire.SYN, 1000, 0, "")
				iss := d.last().Seq
				d.fromClient(client, wire.ACK, 1001, iss+1, "")
				d.phase(PhaseHeld, 1)
				end.end(d, iss)
				d.phase(PhaseHeld, 0)
				replayed := uint64(0)
				refused := func() {
					t.Helper()
					d.shard.Drain()
					for _, payload := range []string{"", "EHLO bot\r\n"} {
						d.fromClient(client, wire.ACK, 1001, iss+1, payload)
						if r := d.last(); r.Flags != wire.RST || r.Seq != iss+1 {
							t.Errorf("the repeated ACK gets %v with %d, want an RST with %d", r.Flags, r.Seq, iss+1)
						}
					}
					if replayed += 2; d.shard.stats.CookiesReplayed != replayed || d.shard.stats.Opened != 1 {
						t.Errorf("counted %d replays, want %d; %d connections were opened", d.shard.stats.CookiesReplayed, replayed,
							d.shard.stats.Opened)
					}
				}
				refused()
				d.shard.Apply(NewSecret{5, 6})
				refused()
				v, err := save(d.shard)
				if err != nil {
					t.Fatal(err)
				}
				cfg := *d.shard.cfg
				cfg.HashKey, cfg.CookieKey = [2]uint64{9, 9}, [2]uint64{8, 8}
				if d.shard, err = resume(&cfg, []saved{v}, nil); err != nil {
					t.Fatal(err)
				}
				refused()
				// The repeated SYN gets a record with another ISS. The cookie still opens nothing.
				d.shard.halfOpen = 100
				d.fromClient(client, wire.SYN, 1000, 0, "")
				refused()
				d.fromClient(client, wire.RST, 1001, 0, "")
				// A new handshake is a new connection.
				d.fromClient(client, wire.SYN, 500000, 0, "")
				iss = d.last().Seq
				d.fromClient(client, wire.ACK, 500001, iss+1, "")
				d.phase(PhaseHeld, 1)
			})
		})
	}
}

// TestUsedCookies: a cookie that was added is found, in another shard too, until its bucket overflows. No other is found.
func TestUsedCookies(t *testing.T) {
	a, b := New(testConfig(false)), New(testConfig(false))
	if a.used.has(7) || a.used.save() != nil || b.Remember(nil) != nil || b.used != nil {
		t.Fatal("a new table is not empty")
	}
	hash := func(n uint64) uint64 { return n*0x9e3779b97f4a7c15 ^ n<<17 }
	const few = 20_000
	for n := range uint64(few) {
		a.used.add(hash(n))
	}
	if err := b.Remember(a.used.save()); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(2 * few) {
		if was := n < few; a.used.has(hash(n)) != was || b.used.has(hash(n)) != was {
			t.Fatalf("cookie %d is found: %v, and in the other shard: %v, want %v", n, a.used.has(hash(n)), b.used.has(hash(n)), was)
		}
	}
	for n := range uint64(usedMarks) { // fill one bucket
		a.used.add(77<<32 | n + 1)
		a.used.add(78 << 32) // its mark would be 0, which means free
	}
	if !a.used.has(77<<32|1) || !a.used.has(78<<32) {
		t.Error("a full bucket has lost its first mark")
	}
	if a.used.add(77<<32 | 99); a.used.has(77<<32|1) || !a.used.has(77<<32|2) || !a.used.has(77<<32|99) {
		t.Error("the mark that was discarded is not the oldest")
	}
	good := a.used.save()
	for name, bad := range map[string][]byte{
		"cut": good[:len(good)-1], "too long": append(good[:len(good):len(good)], 0), "a bucket too full": append([]byte{17}, good[1:]...),
	} {
		if err := b.Remember(bad); err == nil {
			t.Errorf("%s: accepted a bad table", name)
		}
	}
}
