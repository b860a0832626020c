package dataplane

import (
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// Control is a message from the rest of the gateway, applied between two batches.
type Control interface{ apply(s *Shard) }

// Apply applies a message.
func (s *Shard) Apply(c Control) { c.apply(s) }

// ServerState says that a server is up or down. A server that is down gets no new connections; existing ones go on.
type ServerState struct {
	Server ServerID
	Up     bool
}

func (c ServerState) apply(s *Shard) {
	s.eachSlot(c.Server, func(p *pool, slot int) { p.SetUp(slot, c.Up) })
}

// ServerByHand says what an administrator has set for a server, in the place of what the configuration says. It holds until the next
// such message, over reloads and takeovers, and says nothing about the server's health.
type ServerByHand struct {
	Server ServerID
	Out    bool // the server gets no new connections; existing ones go on
	Weight int  // 0 to 256; negative: the configuration's
}

func (c ServerByHand) apply(s *Shard) {
	s.eachSlot(c.Server, func(p *pool, slot int) { p.setHand(slot, hand{c.Out, c.Weight}, s.cfg) })
}

// ServerGrants carries the TCP options that a server was seen to grant to a health check.
type ServerGrants struct {
	Server  ServerID
	Options ServerOptions
}

func (c ServerGrants) apply(s *Shard) {
	s.eachSlot(c.Server, func(p *pool, slot int) { p.SetOptions(slot, c.Options) })
}

// NewSecret replaces the secret of ISSs and cookies. Cookies made with the previous secret stay valid for their usual time.
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

// eachSlot calls do for each slot of a server in a backend, and refreshes what the clients of that backend are offered.
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
