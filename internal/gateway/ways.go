package gateway

import (
	"errors"
	"fmt"
	"slices"

	"hushgate/internal/netenv"
)

// tellWays warns when the network has changed so that the interfaces that were chosen at the start are no longer all, or
// that something else is not as the configuration needs it: an address that VRRP has brought or taken, a card that came
// later, another default route. What was told is told again when it had been over meanwhile.
func (g *gateway) tellWays() {
	version := g.mirror.Version()
	if version == g.waysOf {
		return
	}
	g.waysOf = version
	now := map[string]bool{}
	for _, w := range g.newWays() {
		now[w] = true
		if !g.waysTold[w] {
			g.log.Warn("network", "warning", w)
		}
	}
	g.waysTold = now
}

// newWays is what is to be said of the network as it is, and was not said at the start.
func (g *gateway) newWays() (words []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	plan, err := NewPlan(g.cfg, g.mirror)
	switch {
	case errors.Is(err, netenv.ErrDown): // told where links are followed
		return nil
	case err != nil:
		return []string{fmt.Sprintf("as the network is now, hushgate would not start: %v", err)}
	}
	for _, side := range []struct {
		name     string
		old, now []*netenv.Link
	}{{"outside", g.plan.Chosen.Outside, plan.Chosen.Outside}, {"inside", g.plan.Chosen.Inside, plan.Chosen.Inside}} {
		for _, name := range linkNames(side.now) {
			if !slices.Contains(linkNames(side.old), name) {
				words = append(words, fmt.Sprintf("%s belongs to the %s now (%s), and hushgate does not listen there: `hushgate "+
					"upgrade` takes it in, and no connection ends", name, side.name, reasonOf(plan.Chosen, side.name, name)))
			}
		}
	}
	for _, w := range plan.Warnings {
		if !slices.Contains(g.plan.Warnings, w) {
			words = append(words, w)
		}
	}
	return words
}

// reasonOf is why an interface was chosen for a side.
func reasonOf(c *netenv.Chosen, side, name string) string {
	prefix := side + " " + name + ": "
	for _, r := range c.Reasons {
		if len(r) > len(prefix) && r[:len(prefix)] == prefix {
			return r[len(prefix):]
		}
	}
	return "by the configuration"
}
