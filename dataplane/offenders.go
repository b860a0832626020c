package dataplane

import (
	"hushgate/internal/mono"
	"hushgate/internal/policy"
)

// Offenders become known by the shard's own clients, by other shards, and by hand.

// ListOffenders makes clients offenders for the time that each has Left. A client that has a pass, or is an offender for longer,
// stays what it is. By hand, it loses its pass and gets just that time. Answer hears for each client whether it has kept a pass.
type ListOffenders struct {
	Offenders []policy.Offender
	ByHand    bool
	Now       mono.Time
	Answer    func(client int, hasPass bool)
}

func (c ListOffenders) apply(s *Shard) {
	now := max(s.now, c.Now)
	for i := range c.Offenders {
		o := &c.Offenders[i]
		switch {
		case s.memory == nil:
			c.Answer(i, false)
			continue
		case c.ByHand:
			if s.memory.Forget(o.Addr, now) {
				s.stats.PassesLost++
			}
			s.memory.List(o.Addr, o.Left, now)
		case !s.memory.HasPass(o.Addr, now):
			s.memory.Prolong(o.Addr, o.Left, now)
		}
		c.Answer(i, s.memory.HasPass(o.Addr, now))
	}
}

// UnlistOffender forgets all offences of the client that an address belongs to. Answer hears whether there were any.
type UnlistOffender struct {
	Client policy.Network
	Answer func(found bool)
}

func (c UnlistOffender) apply(s *Shard) { c.Answer(s.memory != nil && s.memory.Unlist(c.Client.Addr)) }
