package dnsbl

import "net/netip"

// Stats counts what was asked and answered since New.
type Stats struct {
	Asks      uint64 `name:"lookups" help:"clients that were looked up in DNS lists"`
	Cached    uint64 `name:"lookups_cached" help:"clients that were looked up in DNS lists and that the cache knew"`
	Shed      uint64 `name:"lookups_shed" help:"clients that were looked up in DNS lists and found no room: they are treated as if no list had answered"`
	Truncated uint64 `name:"truncated" help:"answers of resolvers that were asked for again over TCP"`
	Strays    uint64 `name:"strays" help:"messages from resolvers' addresses that answered no question"`

	Waiting      int `name:"lookups_waiting" help:"clients of which DNS lists have not said all yet"`
	AsksRoom     int `name:"lookups_capacity" help:"clients that can wait for DNS lists at one time"`
	Outstanding  int `name:"queries_outstanding" help:"questions to resolvers without an answer yet"`
	QueriesRoom  int `name:"queries_capacity" help:"questions to resolvers that can be without an answer at one time"`
	CacheEntries int `name:"cache_entries" help:"answers of DNS lists that are kept"`
	CacheRoom    int `name:"cache_capacity" help:"answers of DNS lists that there is room for"`

	Lists     []ListStats
	Resolvers []ResolverStats
}

// ListStats counts the queries of one zone. Queries is the sum of Listed, Absent, Silent and those that are outstanding.
type ListStats struct {
	Name    string // to be shown
	Queries uint64 `name:"queries" help:"questions to a DNS list"`
	Listed  uint64 `name:"answers" label:"result=listed" help:"what came of questions to a DNS list; silent: no answer that counts"`
	Absent  uint64 `name:"answers" label:"result=absent"`
	Silent  uint64 `name:"answers" label:"result=silent"`
	Shed    uint64 `name:"shed" help:"questions that a DNS list was not asked because there was no room"`
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
	Addr     netip.AddrPort
	Asked    uint64 `name:"queries" help:"questions to a resolver"`
	Answered uint64 `name:"answers" help:"questions that a resolver answered in time, whatever it said"`
	Resting  bool   `name:"resting" help:"1 while a resolver is asked last because it did not answer"`
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	s := c.stats
	s.Waiting, s.Outstanding, s.CacheEntries = c.waiting, len(c.queries), c.cache.kept.Len()
	s.AsksRoom, s.QueriesRoom, s.CacheRoom = c.config.Asks, c.room*len(c.zones), c.config.CacheEntries
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
	now := r.now()
	for _, one := range r.list {
		all = append(all, ResolverStats{one.addr, one.asked, one.ok, one.rests.After(now)})
	}
	return all
}
