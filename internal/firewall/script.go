package firewall

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"
	"github.com/vishvananda/netns"
)

// change is one change to a chain.
type change struct {
	command string // iptables' option: -N and -F leave an empty chain, -I puts a rule first
	chain   string
	spec    []string
}

func (c change) String() string {
	return strings.TrimSpace(c.command + " " + c.chain + " " + strings.Join(c.spec, " "))
}

// purpose describes the change for messages.
func (c change) purpose() string {
	if c.command == "-A" || c.command == "-I" || c.command == "-N" {
		return "install"
	}
	return "remove"
}

func (c change) do(ipt *iptables.IPTables, table string) error {
	switch c.command {
	case "-N", "-F":
		return ipt.ClearChain(table, c.chain)
	case "-A":
		return ipt.Append(table, c.chain, c.spec...)
	case "-I":
		return ipt.Insert(table, c.chain, 1, c.spec...)
	case "-D":
		return ipt.Delete(table, c.chain, c.spec...)
	case "-X":
		return ipt.DeleteChain(table, c.chain)
	}
	panic("no such change: " + c.command)
}

// script lists the changes to each table, in order.
type script map[string][]change

// changeError is a change that failed.
type changeError struct {
	tool  *tool
	table string
	change
	err error
}

func (e *changeError) Error() string {
	return fmt.Sprintf("%s %s %v: %v", e.purpose(), e.table, e.change, words(e.err.Error()))
}

func (e *changeError) Unwrap() error { return e.err }

// overtaken reports whether a change failed because another program had removed its object, which was there before.
func overtaken(err error, rules map[*tool]ruleset) bool {
	e := (*changeError)(nil)
	if !errors.As(err, &e) {
		return false
	}
	chains := rules[e.tool][e.table]
	switch e.command {
	case "-A", "-F", "-X":
		return chains[e.chain] == nil
	case "-I":
		return chains[e.spec[len(e.spec)-1]] == nil
	case "-D":
		return jumpTo(chains[e.chain], e.spec[len(e.spec)-1]) < 0
	}
	return false
}

// apply runs the scripts of several tools at the same time. Each stops at its first error.
func apply(ctx context.Context, scripts map[*tool]script) error {
	ns, err := here()
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	results := make(chan error, len(scripts))
	for t, s := range scripts {
		go func() { results <- t.apply(ctx, ns, s) }()
	}
	var errs []error
	for range scripts {
		errs = append(errs, <-results)
	}
	return join(errs...)
}

func (t *tool) apply(ctx context.Context, ns netns.NsHandle, s script) error {
	for _, table := range tables {
		for _, c := range s[table] {
			ipt := t.patient(ctx)
			if err := supervise(ctx, ns, t.path, func() error { return c.do(ipt, table) }); err != nil {
				return &changeError{t, table, c, err}
			}
		}
	}
	return nil
}

// additions makes each chain new, whatever is left of an old one, and puts it in force.
func (f *Firewall) additions(rules map[*tool]ruleset, next map[chainKey]int) map[*tool]script {
	scripts := map[*tool]script{}
	for _, k := range f.wanted().chains() {
		t, chain := f.tools[k.v6], k.chain(next[k])
		if scripts[t] == nil {
			scripts[t] = script{}
		}
		changes := append(jumps(rules[t][k.table], chain), change{"-N", chain, nil})
		for _, r := range f.wanted().of(k) {
			changes = append(changes, change{"-A", chain, r.Spec})
		}
		changes = append(changes, change{"-I", k.hook, k.jumpSpec(next[k])})
		scripts[t][k.table] = append(scripts[t][k.table], changes...)
	}
	return scripts
}

// jumps removes the rules of a table that lead to a chain.
func jumps(chains map[string][]string, to string) (changes []change) {
	for _, chain := range slices.Sorted(maps.Keys(chains)) {
		for _, rule := range chains[chain] {
			if leadsTo(rule, to) {
				changes = append(changes, change{"-D", chain, split(rule)[2:]})
			}
		}
	}
	return changes
}

// split splits a rule in iptables-save's syntax into words. A word with a space is in double quotes, and a backslash
// protects special characters.
func split(rule string) (words []string) {
	var word strings.Builder
	begun, quoted := false, false
	for i := 0; i < len(rule); i++ {
		switch c := rule[i]; {
		case c == '"':
			begun, quoted = true, !quoted
		case c == ' ' && !quoted:
			if begun {
				words = append(words, word.String())
				word.Reset()
			}
			begun = false
		case c == '\\' && quoted && i+1 < len(rule):
			i++
			word.WriteByte(rule[i])
		default:
			begun = true
			word.WriteByte(c)
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}

// chainName matches the names of our chains.
var chainName = regexp.MustCompile(`^HUSHGATE-(PRE|FWD|POST)-([01])$`)

// hooks maps the short names to the built-in chains.
var hooks = map[string]string{"PRE": "PREROUTING", "FWD": "FORWARD", "POST": "POSTROUTING"}

// removals removes the chosen chains of ours, and all rules that lead to them.
func (f *Firewall) removals(rules map[*tool]ruleset, chosen func(k chainKey, generation int) bool) map[*tool]script {
	scripts := map[*tool]script{}
	for t, set := range rules {
		scripts[t] = set.removals(func(table, hook string, generation int) bool { return chosen(chainKey{t.v6, table, hook}, generation) })
	}
	return scripts
}

func (s ruleset) removals(chosen func(table, hook string, generation int) bool) script {
	removals := script{}
	for table, chains := range s {
		var ours []string
		others := maps.Clone(chains)
		for chain := range chains {
			if m := chainName.FindStringSubmatch(chain); m != nil && chosen(table, hooks[m[1]], int(m[2][0]-'0')) {
				ours = append(ours, chain)
				delete(others, chain)
			}
		}
		slices.Sort(ours)
		for _, chain := range ours {
			removals[table] = append(removals[table], jumps(others, chain)...)
			removals[table] = append(removals[table], change{"-F", chain, nil})
		}
		for _, chain := range ours {
			removals[table] = append(removals[table], change{"-X", chain, nil})
		}
	}
	return removals
}
