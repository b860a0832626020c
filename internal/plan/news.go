package plan

import (
	"fmt"
	"slices"

	"hushgate/internal/netenv"
)

// News returns what must be said about a plan for the present network and was not said about the plan in force.
func (p *Plan) News(plan *Plan) (words []string) {
	for _, side := range []struct {
		name     string
		old, now []*netenv.Link
	}{{"outside", p.Chosen.Outside, plan.Chosen.Outside}, {"inside", p.Chosen.Inside, plan.Chosen.Inside}} {
		for _, name := range linkNames(side.now) {
			if !slices.Contains(linkNames(side.old), name) {
				words = append(words, fmt.Sprintf("%s now belongs to the %s (%s), but hushgate does not listen there: `hushgate "+
					"upgrade` adds it and keeps all connections", name, side.name, reasonOf(plan.Chosen, side.name, name)))
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

// reasonOf returns why an interface was chosen for a side.
func reasonOf(c *netenv.Chosen, side, name string) string {
	prefix := side + " " + name + ": "
	for _, r := range c.Reasons {
		if len(r) > len(prefix) && r[:len(prefix)] == prefix {
			return r[len(prefix):]
		}
	}
	return "by the configuration"
}
