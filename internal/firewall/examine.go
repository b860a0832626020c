package firewall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// State is what Examine finds of a plan.
type State struct {
	Wanted  int      // rules of the plan
	Missing []string // rules that are not in force, as in `iptables -A`
	Blind   []string // missing rules that look into the quotes of ICMP errors: a kernel without the match u32 cannot have them
	Before  []string // rules in raw PREROUTING before ours that may keep packets from them, as iptables-save shows them
}

// InForce reports whether every rule is in force that this kernel can have, with none before it that may keep packets away.
func (s *State) InForce() bool { return len(s.Missing) == 0 && len(s.Before) == 0 }

// Examine compares the plan with the rules of this machine, whichever process has installed them. It changes nothing.
func (f *Firewall) Examine(ctx context.Context) (s State, err error) {
	rules, err := f.look(ctx)
	if err != nil {
		return s, err
	}
	s.Wanted = len(f.plan)
	for _, k := range f.plan.chains() {
		if err := f.examine(ctx, k, rules[f.tools[k.v6]][k.table], &s); err != nil {
			return s, err
		}
	}
	return s, nil
}

// examine compares one chain. Of two generations the one counts that the kernel reaches first.
func (f *Firewall) examine(ctx context.Context, k chainKey, table map[string][]string, s *State) error {
	t, chain := f.tools[k.v6], ""
	at := slices.IndexFunc(table[k.hook], func(rule string) bool { return leadsTo(rule, k.chain(0)) || leadsTo(rule, k.chain(1)) })
	if at >= 0 {
		chain = k.chain(0)
		if leadsTo(table[k.hook][at], k.chain(1)) {
			chain = k.chain(1)
		}
		if k.table == "raw" {
			for _, rule := range slices.DeleteFunc(slices.Clone(table[k.hook][:at]), func(r string) bool { return !mayPass(r) }) {
				s.Before = append(s.Before, t.name+" -t raw "+rule)
			}
		}
	}
	for _, r := range f.plan.of(k) {
		there := false
		if chain != "" {
			var err error
			if there, err = t.has(ctx, k.table, chain, r); err != nil {
				return err
			}
		}
		switch text := fmt.Sprintf("%s -t %s -A %s %s", t.name, k.table, k.chain(0), strings.Join(r.Spec, " ")); {
		case there:
		case r.quotes:
			s.Blind = append(s.Blind, text)
		default:
			s.Missing = append(s.Missing, text)
		}
	}
	return nil
}

// has asks iptables whether a chain has a rule.
func (t *tool) has(ctx context.Context, table, chain string, r Rule) (bool, error) {
	_, err := run(ctx, t.name, slices.Concat([]string{"-w", "5", "-t", table, "-C", chain}, r.Spec)...)
	e := (*ProgramError)(nil)
	if errors.As(err, &e) && (e.Status == noSuchRule || r.quotes) {
		return false, nil
	}
	return err == nil, err
}
