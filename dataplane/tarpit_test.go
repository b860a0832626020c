package dataplane

import (
	"testing"

	"hushgate/internal/wire"
)

// TestTarpitFull: beyond the tarpit's bound, of which each shard has its part, early talkers are reset and counted. A reload changes
// the bound.
func TestTarpitFull(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		for _, c := range []struct{ flows, tarpit, shards, room int }{
			{1000, 3, 1, 3}, {1000, 3, 2, 2}, {1000, 1, 4, 1}, {20, 0, 1, 5}, {20, 0, 2, 5}, {3, 0, 1, 1},
		} {
			d := newDriverOf(t, v6, func(cfg *Config) {
				cfg.Frontends[0].Action = ActionTarpit
				cfg.Limits.Flows, cfg.Limits.Tarpit, cfg.Shards = c.flows, c.tarpit, c.shards
			})
			talk := func(n int) wire.Flags {
				iss := d.hold(n)
				d.shard.Drain()
				d.fromClient(n, wire.ACK|wire.PSH, 1001, iss+1, "EHLO\r\n")
				return d.last().Flags
			}
			for n := range c.room {
				if got := talk(n); got != wire.ACK {
					t.Errorf("%+v: talker %d gets %v", c, n, got)
				}
			}
			if got := talk(100); got != wire.RST|wire.ACK || d.shard.stats.TarpitFull != 1 {
				t.Errorf("%+v: one talker more gets %v, %d counted", c, got, d.shard.stats.TarpitFull)
			}
			d.phase(PhaseTarpit, int64(c.room))
			cfg := *d.shard.cfg
			cfg.Limits.Tarpit = 100
			d.shard.Apply(Reload{&cfg})
			if got := talk(101); got != wire.ACK {
				t.Errorf("%+v: after a reload a talker gets %v", c, got)
			}
			d.shard.audit(t)
		}
	})
}
