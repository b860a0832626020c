package dataplane

import (
	"cmp"
	"slices"

	"hushgate/internal/flowtab"
	"hushgate/internal/wire"
	"hushgate/nat"
	"hushgate/tcpstate"
)

// pool is a backend with the current health and options of its servers, and what its clients may be offered.
type pool struct {
	*nat.Pool
	backend *Backend
	foreign [2]nat.Set // servers of the other address family: [0] for an IPv4 client, [1] for an IPv6 client
	offer   nat.Options
	members uint64            // which servers these are, see membersOf
	untimed nat.Set           // the servers known to grant no timestamps
	connect []flowtab.QueueID // how long to wait after each of our SYNs
	hands   []hand            // what was set by hand, by slot
}

// hand is what an administrator has set for a server, in the place of what the configuration says.
type hand struct {
	out    bool
	weight int // the configuration's if it is negative
}

// asConfigured is the hand of a server for which nothing was set.
var asConfigured = hand{weight: -1}

// setHand applies what was set by hand for the server in a slot.
func (p *pool) setHand(slot int, h hand, cfg *Config) {
	p.hands[slot] = h
	p.SetOut(slot, h.out)
	if h.weight < 0 {
		h.weight = cfg.Servers[p.backend.Servers[slot]].Weight
	}
	p.SetWeight(slot, h.weight)
}

func newPools(q *flowtab.Queues, cfg *Config) []pool {
	pools := make([]pool, len(cfg.Backends))
	for i := range cfg.Backends {
		b := &cfg.Backends[i]
		pools[i] = pool{backend: b, members: membersOf(b, cfg), connect: backoff(q, living, firstRTO, cmp.Or(b.Connect, defaultConnect))}
		members := make([]nat.Member, len(b.Servers))
		for j, id := range b.Servers {
			v := &cfg.Servers[id]
			members[j] = nat.Member{Weight: v.Weight, Backup: v.Backup, Up: v.Up, Options: v.Options}
			other := family(!v.Addr.Is4())
			pools[i].foreign[other] = pools[i].foreign[other].With(j)
		}
		pools[i].Pool = nat.NewPool(members)
		pools[i].hands = slices.Repeat([]hand{asConfigured}, len(members))
		for range cfg.Turn {
			pools[i].Pick(nat.Set{})
		}
		pools[i].refreshOffer()
	}
	return pools
}

// family is the index into pool.foreign.
func family(is4 bool) int {
	if is4 {
		return 0
	}
	return 1
}

// refreshOffer recomputes what depends on the servers' options.
func (p *pool) refreshOffer() {
	p.offer, p.untimed = p.Offer(), nat.Set{}
	for slot := range p.backend.Servers {
		if o := p.Options(slot); o.Known && !o.Timestamps {
			p.untimed = p.untimed.With(slot)
		}
	}
}

// pick chooses a server for a flow. If the flow has timestamps, servers known to grant none are chosen last: we would have to
// leave them again as soon as they answer.
func (p *pool) pick(f *flow, without nat.Set) (slot int, ok bool) {
	if f.conn.Timestamps() {
		if slot, ok := p.Pick(without.Union(p.untimed)); ok {
			return slot, ok
		}
	}
	return p.Pick(without)
}

func (s *Shard) pool(f *flow) *pool { return &s.pools[s.frontend(f).Backend] }

// learn stores the options that a server grants, except those that the client did not offer and our SYN therefore did not
// ask for. If nothing is known of the server yet, an incomplete answer is not stored; the next health check tells more.
func (s *Shard) learn(f *flow, x *splice, seg *wire.Segment) {
	p, c := s.pool(f), &f.conn
	if s.renew(x, p); x.slot == noSlot {
		return
	}
	known := p.Options(int(x.slot))
	if !known.Known && !(c.Timestamps() && c.SACK() && c.ClientScale() != wire.NoScale) {
		return
	}
	got := optionsOf(seg)
	if !c.Timestamps() {
		got.Timestamps = known.Timestamps
	}
	if !c.SACK() {
		got.SACK = known.SACK
	}
	if c.ClientScale() == wire.NoScale {
		got.WindowScale = known.WindowScale
	}
	if got == known {
		return
	}
	p.SetOptions(int(x.slot), got)
	p.refreshOffer()
	s.event(f, EventServerOptions, CauseNone).ServerOptions = got
}

func optionsOf(seg *wire.Segment) ServerOptions {
	o := &seg.Options
	return ServerOptions{
		MSS: tcpstate.PeerMSS(seg), WindowScale: o.WindowScale, SACK: o.SACKPermitted, Timestamps: o.Timestamps, Known: true,
	}
}
