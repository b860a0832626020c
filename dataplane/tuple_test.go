package dataplane

import (
	"testing"
	"time"

	"hushgate/internal/wire"
)

// TestTupleInUse: two connections of a client from the same port, to two service addresses, cannot be spliced to the same
// server. The second one gets 421, as if there were no server, and the log gives the reason.
func TestTupleInUse(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		vip2 := "198.18.0.2"
		if v6 {
			vip2 = "2001:db8:1::2"
		}
		d := newDriverOf(t, v6, func(c *Config) {
			c.Services = append(c.Services, Service{Addr: addr(vip2), Port: 25})
			c.Backends[0].Servers = c.Backends[0].Servers[:1]
			c.Backends[0].Queue = time.Hour // a client would wait for a server to come up, but waiting cannot help here
		})
		d.splice(0)
		d.now = d.now.Add(time.Second)
		d.to = 1
		iss2 := d.hold(0)
		d.shard.Drain()
		d.now = d.now.Add(31 * time.Second)
		d.shard.Advance(d.now)
		batch := d.shard.Drain()
		if len(batch.Out) != 1 || batch.Out[0].Side != wire.Outside || d.dec.Decode(batch.Out[0].Frame) != wire.KindTCP {
			t.Fatalf("%d frames, want only our reply", len(batch.Out))
		}
		text := d.shard.cfg.Frontends[0].NoServerText
		if s := &d.dec.Segment; string(s.Payload) != text || s.Flags != wire.ACK|wire.PSH|wire.FIN || s.Seq != iss2+1 {
			t.Errorf("the client gets %v %q with the number %d", s.Flags, s.Payload, s.Seq-iss2)
		}
		if len(batch.Events) != 1 || batch.Events[0].Cause != CauseTupleInUse || batch.Events[0].Verdict != VerdictNoServer ||
			batch.Events[0].BytesToClient != uint64(len(text)) || d.shard.stats.TuplesInUse != 1 {
			t.Errorf("events %+v", batch.Events)
		}
		d.phase(PhaseSpliced, 1)

		d.shard.audit(t)
	})
}
