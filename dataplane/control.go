package dataplane

import (
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// Control is a message from the rest of the gateway, applied between two batches.
type Control interface{ apply(s *Shard) }

// Apply applies a message.
func (s *Shard) Apply(c Control) { c.apply(s) }

// ServerState says that a server is up or down. A down server gets no new connection; what stands with it stays.
type ServerState struct {
	Server ServerID
	Up     bool
}

func (c ServerState) apply(s *Shard) {
	s.eachSlot(c.Server, func(p *pool, slot int) { p.SetUp(slot, c.Up) })
}

// ServerGrants says what a server's TCP was seen to grant, by a health check.
type ServerGrants struct {
	Server  ServerID
	Options ServerOptions
}

func (c ServerGrants) apply(s *Shard) {
	s.eachSlot(c.Server, func(p *pool, slot int) { p.SetOptions(slot, c.Options) })
}

// NewSecret replaces the secret of ISSs and cookies; cookies under the one before it stay good for their time.
type NewSecret [2]uint64

func (c NewSecret) apply(s *Shard) { s.oldSecret, s.secret = s.secret, tcpstate.Secret(c) }

// LocalAddresses replaces Config.Local.
type LocalAddresses []wire.Addr

func (c LocalAddresses) apply(s *Shard) {
	clear(s.local)
	for _, a := range c {
		s.local[a] = struct{}{}
	}
}

// eachSlot calls do for every place that a server has in a backend, and renews what the backend's clients are offered.
func (s *Shard) eachSlot(id ServerID, do func(*pool, int)) {
	for i := range s.pools {
		p := &s.pools[i]
		for slot, v := range p.backend.Servers {
			if v == id {
				do(p, slot)
				p.refreshOffer()
			}
		}
	}
}
