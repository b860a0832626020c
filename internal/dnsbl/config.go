package dnsbl

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"
)

// Site is a list, and what its answers are worth. Sites may share a zone, which is asked once then.
type Site struct {
	Zone   string // such as zen.example.org; not to be shown
	Name   string // what stands for the zone wherever it is shown; empty: the zone
	Filter Filter
	Weight int // added to the rank once, however many addresses match; negative in lists of good clients
}

// Config is what a Client is made of. A value of 0 stands for the default.
type Config struct {
	Sites          []Site
	Threshold      int           // the rank at which an address is listed, from 1 on; 1 by default
	AllowThreshold int           // the rank at which it is allowed, from -1 down; 0: none is
	Timeout        time.Duration // within which an ask is answered; 10 s by default

	Resolvers  []netip.AddrPort // whom to ask, in this order; empty: those of ResolvConf
	ResolvConf string           // read again when it changes; /etc/resolv.conf by default

	MinTTL, MaxTTL time.Duration // how long answers are kept; 60 s and 1 h by default, as in postscreen
	CacheEntries   int           // 100,000 by default
	Queries        int           // outstanding, queued ones included; the zones share them; 4096 by default
	Sockets        int           // open at the same time; 256 by default
	Asks           int           // that wait for an answer; 65,536 by default

	// Took, if not nil, is told how long each question to a list took, until it was answered or given up. It is called by many
	// goroutines at once, and must not block.
	Took func(list string, took time.Duration)

	Log *slog.Logger     // none by default
	Now func() time.Time // for what is kept and how often is logged; time.Now by default
}

// withDefaults returns c complete, or all that is wrong with it.
func (c Config) withDefaults() (Config, error) {
	c.Threshold = cmp.Or(c.Threshold, 1)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.ResolvConf = cmp.Or(c.ResolvConf, "/etc/resolv.conf")
	c.MinTTL, c.MaxTTL = cmp.Or(c.MinTTL, time.Minute), cmp.Or(c.MaxTTL, max(time.Hour, c.MinTTL))
	c.CacheEntries, c.Queries = cmp.Or(c.CacheEntries, 100_000), cmp.Or(c.Queries, 4096)
	c.Sockets, c.Asks = cmp.Or(c.Sockets, 256), cmp.Or(c.Asks, 65_536)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	errs := []error{c.check()}
	sites := make([]Site, len(c.Sites))
	for i, s := range c.Sites {
		s.Zone = canonical(s.Zone)
		s.Name = cmp.Or(s.Name, s.Zone)
		if !zoneValid(s.Zone) {
			errs = append(errs, fmt.Errorf("site %d: %w", i+1, errZone))
		}
		if s.Weight < -maxWeight || s.Weight > maxWeight {
			errs = append(errs, fmt.Errorf("site %d, %s: expected a weight from %d to %d, found %d", i+1, s.Name, -maxWeight, maxWeight, s.Weight))
		}
		if len(s.Name) > 253 || strings.IndexFunc(s.Name, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
			errs = append(errs, fmt.Errorf("site %d: expected a name of at most 253 printable ASCII characters without blanks, found %s", i+1, quote(s.Name)))
		}
		sites[i] = s
	}
	c.Sites = sites
	errs = append(errs, c.reachable())
	return c, errors.Join(errs...)
}

// reachable returns an error if no answers could ever make a difference: such a client would never ask.
func (c *Config) reachable() error {
	up, down := 0, 0
	for _, s := range c.Sites {
		up, down = up+max(s.Weight, 0), down+min(s.Weight, 0)
	}
	if c.verdict(up) != Neutral || c.verdict(down) != Neutral {
		return nil
	}
	return fmt.Errorf("expected weights that reach a threshold, found %d for a threshold of %d, and %d for an allow threshold of %d",
		up, c.Threshold, down, c.AllowThreshold)
}

// check looks at the numbers.
func (c *Config) check() error {
	var errs []error
	for _, n := range []struct {
		ok    bool
		want  string
		found any
	}{
		{len(c.Sites) > 0 && len(c.Sites) <= maxSites, fmt.Sprintf("1 to %d sites", maxSites), len(c.Sites)},
		{c.Threshold > 0, "a threshold from 1 on", c.Threshold},
		{c.AllowThreshold <= 0, "an allow threshold from -1 down, or 0 for none", c.AllowThreshold},
		{c.Timeout >= 100*time.Millisecond && c.Timeout <= time.Minute, "a timeout from 100ms to 1m", c.Timeout},
		{c.MinTTL > 0 && c.MinTTL <= c.MaxTTL, "a least TTL above 0 and not above the greatest", c.MinTTL},
		{c.MaxTTL <= 7*24*time.Hour, "a greatest TTL of at most 7 days", c.MaxTTL},
		{c.CacheEntries > 0 && c.CacheEntries <= 10_000_000, "a cache of 1 to 10,000,000 entries", c.CacheEntries},
		{c.Queries > 0 && c.Queries <= 100_000, "1 to 100,000 queries", c.Queries},
		{c.Sockets > 0 && c.Sockets <= 10_000, "1 to 10,000 sockets", c.Sockets},
		{c.Asks > 0, "room for at least one ask", c.Asks},
		{len(c.Resolvers) <= maxResolvers, fmt.Sprintf("at most %d resolvers", maxResolvers), len(c.Resolvers)},
	} {
		if !n.ok {
			errs = append(errs, fmt.Errorf("expected %s, found %v", n.want, n.found))
		}
	}
	for _, r := range c.Resolvers {
		if !r.IsValid() || r.Port() == 0 {
			errs = append(errs, fmt.Errorf("expected the address and port of a resolver, found %v", r))
		}
	}
	return errors.Join(errs...)
}
