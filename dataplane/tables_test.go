package dataplane

import (
	"testing"

	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// fill checks how full a table is.
func (d *driver) fill(of Table, entries, room int64) {
	d.tb.Helper()
	if t := d.shard.Tables(); t.Entries[of] != entries || t.Room[of] != room {
		d.tb.Errorf("%v: %d of %d, want %d of %d", of, t.Entries[of], t.Room[of], entries, room)
	}
}

// TestTables: each table's entries and room are what the shard itself goes by, also after a takeover.
func TestTables(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		d := newDriverOf(t, v6, func(c *Config) {
			withPolicy(t, func(p *policy.Config) {
				p.Frontends[0].Limits = policy.Limits{Connections: 9, Over: policy.Outcome{Kind: policy.OutcomeReject}}
			})(c)
			c.Limits.Flows, c.Limits.HalfOpen, c.Bounds = 40, 2, policy.Bounds{Passes: 50, Clients: 60, Offenders: 70, Signatures: 80}
		})
		a, _ := d.peer(0)
		d.shard.memory.Passed(a, d.now)
		d.hold(0)
		d.fromClient(1, wire.SYN, 1000, 0, "")
		d.fromClient(2, wire.SYN, 1000, 0, "")
		d.fromClient(3, wire.SYN, 1000, 0, "") // beyond HalfOpen: a cookie
		iss := d.last().Seq
		d.fromClient(3, wire.ACK, 1001, iss+1, "")
		check := func() {
			t.Helper()
			d.fill(TableConnections, 4, 40)
			d.fill(TableHalfOpen, 2, 2)
			d.fill(TableTarpit, 0, 10)
			d.fill(TablePasses, 1, 50)
			d.fill(TableClients, 1, 40) // no more than there are connections
			d.fill(TableOffenders, 0, 70)
			d.fill(TableSignatures, 0, 80)
			d.fill(TableUsedCookies, 1, usedBuckets*usedMarks)
		}
		check()
		passes := d.shard.memory
		d.takeOver()
		d.shard.memory.RestorePasses(passes.Passes(d.now), d.now)
		check()
	})
	d := newDriver(t, nil)
	if n := d.shard.Tables(); n.Room[TablePasses] != 0 || n.Room[TableConnections] == 0 {
		t.Errorf("without a policy: %+v", n)
	}
	for i := range tables {
		if i.String() == "unknown" {
			t.Errorf("table %d has no name", i)
		}
	}
}

// TestCountDrops: a dropped frame is counted by its reason, and once more where the frames come from.
func TestCountDrops(t *testing.T) {
	d := newDriver(t, nil)
	var a, b [Drops]uint64
	short := make([]byte, 3)
	for _, at := range []*[Drops]uint64{&a, &a, &b, nil} {
		d.shard.CountDrops(at)
		d.shard.Input(d.now, wire.Outside, short)
	}
	if n := d.shard.Stats().Dropped[DropShort]; n != 4 || a[DropShort] != 2 || b[DropShort] != 1 {
		t.Errorf("%d dropped: %v, %v", n, a, b)
	}
	d.shard.CountDrops(&a)
	if n := testing.AllocsPerRun(100, func() { d.shard.Input(d.now, wire.Outside, short) }); n != 0 {
		t.Errorf("%v allocations for a dropped frame", n)
	}
}

// TestUsedCookiesAreCounted: what is overwritten, and what was there, is not one more.
func TestUsedCookiesAreCounted(t *testing.T) {
	a, b := New(testConfig(false)), New(testConfig(false))
	for n := range uint64(usedMarks + 3) {
		a.usedLen += a.used.add(77<<32 | n + 1)
		a.usedLen += a.used.add(78 << 32)
	}
	for range 2 {
		if err := b.Remember(a.used.save()); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*Shard{a, b} {
			if n := s.Tables().Entries[TableUsedCookies]; n != usedMarks+1 {
				t.Errorf("%d entries, want %d", n, usedMarks+1)
			}
		}
	}
}
