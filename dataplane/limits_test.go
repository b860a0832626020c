package dataplane

import (
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// TestLimiter: from half to one and a half times the number, never the same for long, the number on average.
func TestLimiter(t *testing.T) {
	l := limiter{perSecond: 1000, key: [2]uint64{1, 2}}
	seen := map[int]bool{}
	total := 0
	const seconds = 500
	for s := range seconds {
		n := 0
		for range 3000 {
			if l.allow(mono.Time(s) * mono.Time(time.Second)) {
				n++
			}
		}
		if n < 500 || n >= 1500 {
			t.Fatalf("%d in second %d", n, s)
		}
		seen[n] = true
		total += n
	}
	if len(seen) < seconds/3 || total < 950*seconds || total > 1050*seconds {
		t.Errorf("%d different budgets, %d in all", len(seen), total)
	}
}

// TestTableFull: a SYN that finds all records in use by connections that go on is dropped, counted, and comes again.
func TestTableFull(t *testing.T) {
	d := newDriver(t, func(c *Config) { c.Limits.Flows = 1 })
	d.hold(1)
	d.shard.Drain()
	d.fromClient(2, wire.SYN, 1000, 0, "")
	if out, _ := d.shard.Drain(); len(out) != 0 || d.shard.stats.Dropped[DropTableFull] != 1 {
		t.Errorf("%d frames; dropped %v", len(out), d.shard.stats.Dropped)
	}
}

// TestPatience: how long a splice may be silent depends on who has closed.
func TestPatience(t *testing.T) {
	closed, open := &tcpstate.Half{FIN: true}, &tcpstate.Half{}
	for _, c := range []struct {
		name           string
		times          Times
		client, server *tcpstate.Half
		want           time.Duration
	}{
		{"nobody, by default", Times{}, open, open, 2*time.Hour + 4*time.Minute},
		{"nobody", Times{Idle: time.Hour}, open, open, time.Hour},
		{"the client, by default", Times{Idle: time.Hour}, closed, open, time.Hour},
		{"the client", Times{ClientFIN: time.Second, ServerFIN: time.Minute}, closed, open, time.Minute},
		{"the server", Times{ClientFIN: time.Second, ServerFIN: time.Minute}, open, closed, time.Second},
		{"both, by default", Times{}, closed, closed, 4 * time.Minute},
		{"both", Times{ClientFIN: time.Second, ServerFIN: time.Minute}, closed, closed, time.Minute},
	} {
		times := c.times.withDefaults()
		if got := times.patience(c.client, c.server); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
