package dnsbl

import (
	"net/netip"
	"slices"
	"time"
)

// Kept is an answer of a list about an address that is kept.
type Kept struct {
	Name   string // the list's, to be shown
	Sites  []int  // indices of Config.Sites: those that share the list
	Hits   []Hit  // of the sites that list the address
	Silent bool   // it gave no answer that counts
	Codes  []netip.Addr
	Left   time.Duration // how long it is kept
}

// Peek returns what is kept of the lists' answers about an address. It asks nobody, and leaves everything as it is. A list that has
// the address is left out while it is not known whether it has everybody.
func (c *Client) Peek(addr netip.Addr) (list []Kept) {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.config.Now()
	for i, z := range c.zones {
		about, until, ok := c.cache.peek(key{i, addr}, now)
		if !ok {
			continue
		}
		k := Kept{Name: z.name, Sites: slices.Clone(z.sites), Silent: about.state == silent, Left: until.Sub(now)}
		if about.state == present {
			test, tested, ok := c.cache.peek(key{i, testOf(addr)}, now)
			if !ok {
				continue
			}
			k.Left = min(k.Left, tested.Sub(now))
			k.Codes = slices.Clone(about.codes)
			a := ask{client: c}
			if k.Silent = test.state == present; !k.Silent {
				a.count(z, k.Codes)
			}
			k.Hits = a.hits
		}
		list = append(list, k)
	}
	return list
}

// peek is get, and leaves everything as it is.
func (c *cache) peek(k key, now time.Time) (o outcome, until time.Time, ok bool) {
	e, ok := c.kept.Peek(k)
	return e.outcome, e.until, ok && now.Before(e.until)
}
