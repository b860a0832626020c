package gateway

import (
	"hushgate/dataplane/port"
	"hushgate/internal/config"
	"hushgate/internal/plan"
)

// spreading returns how clients are distributed among the shards.
func (g *gateway) spreading() port.Spread { return port.NewSpread(g.spread, g.prefix) }

// adoptPrefix decides how many bits of a client's address select its shard after a takeover: as many as are configured now,
// unless connections would then have to move that cannot. The port of a connection with a server-side address belongs to its
// shard (dataplane.Source).
func (g *gateway) adoptPrefix(h *successor) {
	if h.old.HasSources() {
		g.prefix = h.head.Prefix
	}
}

// apart returns a warning if the addresses that a configuration counts as one client may belong to different shards: the
// number of bits that select the shard cannot change while the process runs.
func (g *gateway) apart(cfg *config.Config) string {
	if g.shards == 1 || g.prefix.Keeps(plan.Prefix(cfg)) {
		return ""
	}
	return "prefix-length is shorter than at the start: the addresses of one client may belong to several shards, and each has passes " +
		"and limits of its own, until hushgate is restarted (without a `source`, `hushgate upgrade` is enough)"
}
