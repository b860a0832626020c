package dnsbl

import (
	"net/netip"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// key is a question: which zone, about whom.
type key struct {
	zone int
	addr netip.Addr
}

// cache keeps outcomes until they are too old, or the least recently used when it is full.
type cache struct {
	config *Config
	kept   *simplelru.LRU[key, kept]
}

type kept struct {
	outcome outcome
	until   time.Time
}

func newCache(c *Config) (*cache, error) {
	lru, err := simplelru.NewLRU[key, kept](c.CacheEntries, nil)
	return &cache{c, lru}, err
}

// failureTTL is how long a zone that did not answer is not asked again about the same address (RFC 9520 section 3.2).
const failureTTL = 5 * time.Second

func (c *cache) get(k key, now time.Time) (outcome, bool) {
	e, ok := c.kept.Get(k)
	if ok && !now.Before(e.until) {
		c.kept.Remove(k)
		ok = false
	}
	return e.outcome, ok
}

func (c *cache) put(k key, o outcome, now time.Time) {
	ttl := c.config.MinTTL
	switch {
	case o.state == silent:
		ttl = failureTTL
	case o.keep:
		ttl = min(max(o.ttl, c.config.MinTTL), c.config.MaxTTL)
	}
	c.kept.Add(k, kept{o, now.Add(ttl)})
}
