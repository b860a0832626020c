package plan

import (
	"fmt"
	"slices"

	"hushgate/internal/netenv"
)

// News is what is to be said of a plan for the network as it is now, and was not said of the one in force.
func (p *Plan) News(plan *Plan) (words []string) {
	for _, side := range []struct {
		name     string
		old, now []*netenv.Link
	}{{"outside", p.Chosen.Outside, plan.Chosen.Outside}, {"inside", p.Chosen.Inside, plan.Chosen.Inside}} {
		for _, name := range linkNames(side.now) {
			if !slices.Contains(linkNames(side.old), name) {
				words = append(words, fmt.Sprintf("%s belongs to the %s now (%s), and hushgate does not listen there: `hushgate "+
					"upgrade` takes it in, and no connection ends", name, side.name, reasonOf(plan.Chosen, side.name, name)))
			}
		}
	}
	for _, w := range plan.Warnings {
		if !slices.Contains(p.Warnings, w) {
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
