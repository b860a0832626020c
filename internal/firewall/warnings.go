package firewall

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Warnings returns what else in the kernel's packet filter affects this plan: rules of the other variant of iptables, which
// neither this package nor a listing by iptables shows; a FORWARD chain that drops the servers' other traffic; and nftables
// tables that also decide on forwarding. What cannot be read is skipped.
func (f *Firewall) Warnings(ctx context.Context) (warnings []string) {
	for _, v6 := range []bool{false, true} {
		t := f.tools[v6]
		if t == nil {
			continue
		}
		if w := t.otherVariant(ctx); w != "" {
			warnings = append(warnings, w)
		}
		used := slices.ContainsFunc(f.plan, func(r Rule) bool { return r.V6 == v6 })
		if used && !f.forwards(v6) && t.policy(ctx, "filter", "FORWARD") == "DROP" {
			warnings = append(warnings, fmt.Sprintf("the policy of %s's FORWARD chain is DROP: the servers' other traffic is dropped "+
				"unless rules of your own accept it (firewall: {forward: true} does)", t.name))
		}
	}
	return append(warnings, f.otherTables(ctx)...)
}

// forwards reports whether the plan accepts the servers' other traffic of a family.
func (f *Firewall) forwards(v6 bool) bool {
	return len(f.plan.of(chainKey{v6, "filter", "FORWARD"})) > 0
}

func (t *tool) otherVariant(ctx context.Context) string {
	other := t.name + "-nft"
	if t.nft() {
		other = t.name + "-legacy"
	}
	rules, err := run(ctx, other+"-save")
	n := strings.Count(rules, "\n-A ")
	if err != nil || n == 0 {
		return ""
	}
	return fmt.Sprintf("%d rules of %s are in force beside those of %s: %s-save shows them", n, other, t.version, other)
}

// policy returns the policy of a built-in chain, or "" if it is not known.
func (t *tool) policy(ctx context.Context, table, chain string) string {
	if !t.loaded(table) {
		return ""
	}
	text, err := run(ctx, t.name+"-save", "-t", table)
	if err != nil {
		return ""
	}
	return policies(text)[chain]
}

// nftChain is a chain in the output of `nft --json list chains`.
type nftChain struct {
	Family, Table, Name, Hook, Policy string
}

// otherTables returns warnings about other tables of nftables, such as firewalld's: another table may still drop what one
// accepts.
func (f *Firewall) otherTables(ctx context.Context) (warnings []string) {
	out, err := run(ctx, "nft", "--json", "list", "chains")
	if err != nil {
		return nil
	}
	var list struct{ Nftables []struct{ Chain *nftChain } }
	if json.Unmarshal([]byte(out), &list) != nil {
		return nil
	}
	for _, e := range list.Nftables {
		c := e.Chain
		if c == nil || c.Hook != "forward" || (c.Family != "inet" && c.Family != "ip" && c.Family != "ip6") || c.ofIPTables() {
			continue
		}
		if c.Policy == "drop" || f.forwards(false) || f.forwards(true) {
			warnings = append(warnings, fmt.Sprintf("the nftables table %s %s decides on forwarding too (chain %s, policy %s): the "+
				"servers' other traffic needs its consent as well, whatever hushgate's rules accept", c.Family, c.Table, c.Name, c.Policy))
		}
	}
	return warnings
}

// ofIPTables reports whether iptables, in its nft variant, has made the chain.
func (c *nftChain) ofIPTables() bool {
	return c.Family != "inet" && c.Name == "FORWARD" && slices.Contains([]string{"filter", "mangle", "security"}, c.Table)
}
