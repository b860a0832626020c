package dnsbl

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
)

// Client asks lists. Any number of goroutines may use it.
type Client struct {
	config     Config
	zones      []*zone
	resolvers  *resolvers
	complaints complaints
	room       int // for queries of one zone, so that a dead list takes nothing from the others

	context context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	cache   *cache
	queries map[key]*query
	waiting int // asks
	stats   Stats
	closed  bool
}

// zone is what is asked in one query: the sites that share a name.
type zone struct {
	number   int
	domain   string
	name     string // to be shown
	sites    []int  // indices of Config.Sites
	up, down int    // the sums of the sites' positive and negative weights

	slots       chan struct{} // one for each query that has a socket
	outstanding int           // queries; guarded by Client.mu
	stats       ListStats     // guarded by Client.mu
}

// query is a question that is under way, and who waits for its answer.
type query struct{ asks []*ask }

// New returns a client. It opens nothing until the first Ask.
func New(config Config) (*Client, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("DNS lists: %w", err)
	}
	c := &Client{config: config, queries: map[key]*query{}}
	if c.cache, err = newCache(&c.config); err != nil {
		return nil, fmt.Errorf("DNS lists: %w", err)
	}
	c.resolvers = newResolvers(&c.config)
	c.complaints = complaints{log: config.Log, now: config.Now}
	c.context, c.cancel = context.WithCancel(context.Background())
	byDomain := map[string]*zone{}
	for i, s := range config.Sites {
		z := byDomain[s.Zone]
		if z == nil {
			z = &zone{number: len(c.zones), domain: s.Zone, name: s.Name}
			byDomain[s.Zone], c.zones = z, append(c.zones, z)
		}
		z.sites = append(z.sites, i)
		z.up, z.down = z.up+max(s.Weight, 0), z.down+min(s.Weight, 0)
	}
	for _, z := range c.zones {
		z.slots = make(chan struct{}, max(1, config.Sockets/len(c.zones)))
	}
	c.room = max(1, config.Queries/len(c.zones))
	return c, nil
}

// Close ends all queries and waits for their goroutines. No function that was given to Ask is called after it.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
	c.complaints.writing.Wait()
}

// Ask asks all zones about addr. If the verdict is known already it returns the answer and true, and done is not called.
// Otherwise done is called once, within Timeout, from another goroutine, which may wait in it; after Close it is not
// called any more. Ask itself never waits for the network.
func (c *Client) Ask(addr netip.Addr, done func(Answer)) (Answer, bool) {
	addr = addr.Unmap().WithZone("")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Asks++
	if !addr.IsValid() || c.closed {
		return Answer{Addr: addr}, true
	}
	a := &ask{client: c, addr: addr, test: testOf(addr), done: done, parts: make([]part, len(c.zones))}
	for _, z := range c.zones {
		a.up, a.down = a.up+z.up, a.down+z.down
	}
	a.open = len(c.zones)
	missing := c.fromCache(a)
	switch {
	case a.decided():
		c.stats.Cached++
		return a.answer(), true
	case c.waiting >= c.config.Asks:
		c.stats.Shed++
		c.complaints.note("", "too many clients wait")
		a.silent += a.open
		return a.answer(), true
	}
	c.waiting++
	for _, k := range missing {
		c.join(k, a)
	}
	if a.told {
		return a.answer(), true
	}
	return Answer{}, false
}

// fromCache gives a what is known, and returns what is not.
func (c *Client) fromCache(a *ask) (missing []key) {
	now := c.config.Now()
	for i := range c.zones {
		for _, addr := range []netip.Addr{a.test, a.addr} {
			k := key{i, addr}
			if o, ok := c.cache.get(k, now); ok {
				a.take(k, o)
			} else {
				missing = append(missing, k)
			}
		}
	}
	return missing
}

// join makes a wait for the query of k, and begins it if nobody has. Without room for it the zone is silent.
func (c *Client) join(k key, a *ask) {
	z := c.zones[k.zone]
	q := c.queries[k]
	if q == nil {
		if z.outstanding >= c.room && k.addr != a.test { // tests are two at most, and many depend on them
			z.stats.Shed++
			c.complaints.note(z.name, "too many queries are outstanding")
			c.give(k, a, outcome{})
			return
		}
		q = &query{}
		c.queries[k] = q
		z.outstanding++
		z.stats.Queries++
		c.running.Add(1)
		go c.run(k, z)
	}
	q.asks = append(q.asks, a)
}

// give gives a an outcome, and reports whether that decided it.
func (c *Client) give(k key, a *ask, o outcome) bool {
	if a.told {
		return false
	}
	a.take(k, o)
	if !a.decided() {
		return false
	}
	a.told = true
	c.waiting--
	return true
}

// run asks one question and gives the outcome to all who wait for it.
func (c *Client) run(k key, z *zone) {
	defer c.running.Done()
	ctx, cancel := context.WithTimeout(c.context, c.config.Timeout)
	defer cancel()
	began := c.config.Now()
	o := c.query(ctx, k, z)
	if c.config.Took != nil && c.context.Err() == nil {
		c.config.Took(z.name, c.config.Now().Sub(began))
	}
	c.mu.Lock()
	z.stats.count(o)
	c.cache.put(k, o, c.config.Now())
	q := c.queries[k]
	delete(c.queries, k)
	z.outstanding--
	var decided []*ask
	for _, a := range q.asks {
		if c.give(k, a, o) {
			decided = append(decided, a)
		}
	}
	if o.state == present && k.addr == testOf(k.addr) {
		c.complaints.note(z.name, "the list has "+k.addr.String()+", so it lists everybody")
	}
	closed := c.closed
	c.mu.Unlock()
	for _, a := range decided {
		if !closed {
			a.done(a.answer())
		}
	}
}

// query waits for a socket and asks.
func (c *Client) query(ctx context.Context, k key, z *zone) outcome {
	select {
	case z.slots <- struct{}{}:
		defer func() { <-z.slots }()
	case <-ctx.Done():
		if c.context.Err() == nil {
			c.complaints.note(z.name, "no socket free in time")
		}
		return outcome{}
	}
	o, ok := c.resolve(ctx, nameOf(k.addr, z.domain), func(one *resolver, err error) {
		if one == nil {
			c.complaints.note("", causeOf(err), "err", err)
			return
		}
		c.complaints.note(z.name, causeOf(err), "resolver", one.addr, "err", err)
	})
	if !ok {
		return outcome{}
	}
	return o
}
