package dnsbl

import "net/netip"

// Stats counts what was asked and answered since New.
type Stats struct {
	Asks      uint64 // calls of Ask
	Cached    uint64 // asks that the cache answered
	Shed      uint64 // asks that found no room
	Truncated uint64 // answers that were asked for again over TCP
	Strays    uint64 // messages that answer no question of ours

	Waiting      int // asks without an answer yet
	Outstanding  int // queries
	CacheEntries int

	Lists     []ListStats
	Resolvers []ResolverStats
}

// ListStats counts the queries of one zone. Queries is the sum of Listed, Absent, Silent and those that are outstanding.
type ListStats struct {
	Name    string // to be shown
	Queries uint64
	Listed  uint64
	Absent  uint64
	Silent  uint64 // no answer that counts
	Shed    uint64 // not asked for want of room
}

func (s *ListStats) count(o outcome) {
	switch o.state {
	case silent:
		s.Silent++
	case absent:
		s.Absent++
	case present:
		s.Listed++
	}
}

// ResolverStats counts what one resolver was asked, and how often it answered in time, whatever it said.
type ResolverStats struct {
	Addr            netip.AddrPort
	Asked, Answered uint64
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	s := c.stats
	s.Waiting, s.Outstanding, s.CacheEntries = c.waiting, len(c.queries), c.cache.kept.Len()
	for _, z := range c.zones {
		one := z.stats
		one.Name = z.name
		s.Lists = append(s.Lists, one)
	}
	c.mu.Unlock()
	s.Resolvers = c.resolvers.stats()
	return s
}

// Waiting returns how many asks have no answer yet.
func (c *Client) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

// count changes the counters.
func (c *Client) count(f func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.stats)
}

func (r *resolvers) stats() (all []ResolverStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.list {
		all = append(all, ResolverStats{one.addr, one.asked, one.ok})
	}
	return all
}
