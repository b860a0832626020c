package runtimeapi

import (
	"context"
	"encoding/json"
	"sync"
)

// Cleared remembers what the counters of `show stat` were when they were cleared. All other views of the gateway count on: their
// readers expect counters that never go back. Its JSON is for the next process.
type Cleared struct {
	mu   sync.Mutex
	rows map[string]map[string]uint64 // by proxy and object, then by column
}

// MarshalJSON implements json.Marshaler.
func (c *Cleared) MarshalJSON() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return json.Marshal(c.rows)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Cleared) UnmarshalJSON(text []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return json.Unmarshal(text, &c.rows)
}

func (r *row) key() string { return r.v["pxname"].(string) + "/" + r.v["svname"].(string) }

// clear has all counters of the rows begin at 0.
func (c *Cleared) clear(all []row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows = map[string]map[string]uint64{}
	for i := range all {
		was := map[string]uint64{}
		for _, f := range statFields {
			if n, ok := count(all[i].v[f.name]); ok && f.counts() {
				was[f.name] = n
			}
		}
		c.rows[all[i].key()] = was
	}
}

// apply takes from the counters of a row what they were. A counter that is lower by now has begun anew.
func (c *Cleared) apply(r *row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, was := range c.rows[r.key()] {
		if n, ok := count(r.v[name]); ok && n >= was {
			r.v[name] = n - was
		}
	}
}

// counts reports whether a column is a counter.
func (f *field) counts() bool { return f.tags != "" && f.tags[1] == 'C' }

// count returns a number that is not negative.
func count(x any) (uint64, bool) {
	switch n := x.(type) {
	case uint64:
		return n, true
	case int:
		return uint64(n), n >= 0
	}
	return 0, false
}

// clearCounters clears all counters, or only the maxima, of which hushgate shows none.
func clearCounters(ctx context.Context, c *client, args []string) (string, error) {
	if len(args) == 0 || args[0] != "all" {
		return "", nil
	}
	if c.level < Admin {
		return "", denied
	}
	v, err := c.server.look(ctx)
	if err != nil {
		return "", err
	}
	c.server.Cleared.clear(v.rows(c.server.now()))
	c.server.Log.Info("stats socket", "asked", "clear counters all")
	return "", nil
}
