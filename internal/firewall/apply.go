package firewall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Firewall is a plan and the chains that are installed for it. It has no lock: only one goroutine may use it at a time.
// Every program that it runs ends with the context of the method. Undoing an unfinished change takes a few seconds more.
//
// go-iptables runs iptables once for each rule. It cannot use iptables-restore, which would replace a whole table at once.
// So each chain has two generations. The new one is complete before anything jumps to it, and in force everywhere before the
// old one is removed.
type Firewall struct {
	plan   Plan
	tools  map[bool]*tool // by family: true is IPv6. A tool that the plan does not need may be missing
	placed map[chainKey]placed
	blind  error // why rules that look into quoted packets are left out
}

// placed is a chain of ours as it was installed, in iptables' own spelling.
type placed struct {
	generation int
	rules      []string
	jump       string
}

// ErrChanged reports that another program changed the rules during the installation.
var ErrChanged = errors.New("another program changed the rules at the same time")

// undoPatience limits the time for undoing an unfinished change.
const undoPatience = 5 * time.Second

// New finds iptables for the families that the plan needs. It changes nothing.
func New(ctx context.Context, p Plan) (*Firewall, error) {
	f := &Firewall{plan: p, tools: map[bool]*tool{}}
	for v6, name := range names {
		t, err := newTool(ctx, v6, name)
		switch {
		case err == nil:
			f.tools[v6] = t
		case slices.ContainsFunc(p, func(r Rule) bool { return r.V6 == v6 }):
			return nil, fmt.Errorf("find the program %s: %w (in Debian's package iptables)", name, err)
		}
	}
	return f, nil
}

// Versions returns the name and version of each program found, with its variant: iptables v1.8.9 (nf_tables).
func (f *Firewall) Versions() (versions []string) {
	for _, v6 := range []bool{false, true} {
		if t := f.tools[v6]; t != nil {
			versions = append(versions, t.version)
		}
	}
	return versions
}

// Blind returns why the rules about ICMP errors are not installed, or nil if they are.
func (f *Firewall) Blind() error { return f.blind }

// wanted is the plan without the rules that this machine cannot install.
func (f *Firewall) wanted() Plan {
	if f.blind == nil {
		return f.plan
	}
	return slices.DeleteFunc(slices.Clone(f.plan), func(r Rule) bool { return r.quotes })
}

// look reads the rules of both families.
func (f *Firewall) look(ctx context.Context) (map[*tool]ruleset, error) {
	list := map[*tool][]string{}
	for v6, t := range f.tools {
		list[t] = nil
		for _, k := range f.plan.chains() {
			if k.v6 == v6 {
				list[t] = append(list[t], k.table)
			}
		}
	}
	return look(ctx, list)
}

// Check finds out whether the rules could be installed, by reading the tables.
func (f *Firewall) Check(ctx context.Context) error {
	if _, err := f.look(ctx); err != nil {
		return fmt.Errorf("%w (needed: CAP_NET_ADMIN and, for iptables-legacy, its lock file /run/xtables.lock)", err)
	}
	return nil
}

// Install puts the rules in place, and replaces rules that a crashed process left. A complete chain is in force at every
// moment, because the new one is in force before the old one is removed. After an error everything is as it was before,
// unless removing an old chain failed: then both chains are there, and do the same.
func (f *Firewall) Install(ctx context.Context) error {
	rules, err := f.look(ctx)
	if err != nil {
		return err
	}
	return f.install(ctx, rules)
}

// install is Install with the rules that were just read.
func (f *Firewall) install(ctx context.Context, rules map[*tool]ruleset) error {
	next := f.next(rules)
	err := apply(ctx, f.additions(rules, next))
	if err != nil && ctx.Err() == nil && slices.ContainsFunc(f.wanted(), func(r Rule) bool { return r.quotes }) {
		err = f.installBlind(ctx, next, err)
	}
	if err != nil {
		return f.undo(ctx, next, err)
	}
	after, err := f.look(ctx)
	if err != nil {
		return f.undo(ctx, next, err)
	}
	found, err := f.find(after, next)
	if err != nil {
		return f.undo(ctx, next, err)
	}
	f.placed = found
	return f.dropOthers(ctx, after)
}

// installBlind tries again without the rules that look into quoted packets. why is the error with them.
func (f *Firewall) installBlind(ctx context.Context, next map[chainKey]int, why error) error {
	rules, err := f.look(ctx) // the other family may have been completed
	if err != nil {
		return join(why, err)
	}
	f.blind = why
	if apply(ctx, f.additions(rules, next)) != nil {
		f.blind = nil
		return why
	}
	return nil
}

// next chooses the generation of each chain that is not in force. Both are in force if a process died between adding the
// jump to the new one and removing the old one. Then it chooses the one that the kernel reaches last.
func (f *Firewall) next(rules map[*tool]ruleset) map[chainKey]int {
	next := map[chainKey]int{}
	for _, k := range f.plan.chains() {
		hook := rules[f.tools[k.v6]][k.table][k.hook]
		zero, one := jumpTo(hook, k.chain(0)), jumpTo(hook, k.chain(1))
		if zero >= 0 && (one < 0 || one > zero) {
			next[k] = 1
		} else {
			next[k] = 0
		}
	}
	return next
}

func jumpTo(hook []string, chain string) int {
	return slices.IndexFunc(hook, func(rule string) bool { return leadsTo(rule, chain) })
}

func leadsTo(rule, chain string) bool {
	return strings.HasSuffix(rule, " -j "+chain) || strings.HasSuffix(rule, " -g "+chain)
}

// find finds the chains that were installed in the rules.
func (f *Firewall) find(rules map[*tool]ruleset, next map[chainKey]int) (map[chainKey]placed, error) {
	found := map[chainKey]placed{}
	for _, k := range f.wanted().chains() {
		table, chain := rules[f.tools[k.v6]][k.table], k.chain(next[k])
		p := placed{generation: next[k], rules: table[chain]}
		at := jumpTo(table[k.hook], chain)
		if at < 0 || len(p.rules) != len(f.wanted().of(k)) {
			return nil, fmt.Errorf("install the chain %s in the %s table: %w", chain, k.table, ErrChanged)
		}
		p.jump = table[k.hook][at]
		found[k] = p
	}
	return found, nil
}

// undo removes chains of a failed installation. It has its own time limit, because that of the context may be over. It
// returns why, and what failed meanwhile.
func (f *Firewall) undo(ctx context.Context, next map[chainKey]int, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoPatience)
	defer cancel()
	rules, err := f.look(ctx)
	if err == nil {
		if overtaken(why, rules) {
			why = fmt.Errorf("%w: %w", ErrChanged, why)
		}
		err = f.remove(ctx, rules, func(k chainKey, generation int) bool {
			g, chosen := next[k]
			return chosen && g == generation
		})
	}
	if err != nil {
		return join(why, fmt.Errorf("undo what was installed: %w", err))
	}
	return why
}

// dropOthers removes every chain of ours that is not in placed.
func (f *Firewall) dropOthers(ctx context.Context, rules map[*tool]ruleset) error {
	err := f.remove(ctx, rules, func(k chainKey, generation int) bool {
		p, there := f.placed[k]
		return !there || p.generation != generation
	})
	if err != nil {
		return fmt.Errorf("remove rules that are not needed any more: %w", err)
	}
	return nil
}

// removeTries is how often a removal is started again if another program changes the rules meanwhile.
const removeTries = 3

// remove removes the chosen chains of ours. It is no error if another program removes them at the same time.
func (f *Firewall) remove(ctx context.Context, rules map[*tool]ruleset, chosen func(k chainKey, generation int) bool) (err error) {
	for range removeTries {
		if err = apply(ctx, f.removals(rules, chosen)); err == nil {
			return nil
		}
		again, failed := f.look(ctx)
		if failed != nil || !overtaken(err, again) {
			return err
		}
		rules = again
	}
	return err
}

// Verify reports whether everything is in place: our chains as they were installed, and no rule before our jump in raw
// PREROUTING that could let packets bypass it. The administrator decides the order in FORWARD and POSTROUTING.
func (f *Firewall) Verify(ctx context.Context) (bool, error) {
	rules, err := f.look(ctx)
	if err != nil {
		return false, err
	}
	return f.verify(rules), nil
}

func (f *Firewall) verify(rules map[*tool]ruleset) bool {
	for _, k := range f.wanted().chains() {
		p, there := f.placed[k]
		if !there {
			return false
		}
		table := rules[f.tools[k.v6]][k.table]
		if !slices.Equal(table[k.chain(p.generation)], p.rules) {
			return false
		}
		hook := table[k.hook]
		at := slices.Index(hook, p.jump)
		if at < 0 || (k.table == "raw" && slices.ContainsFunc(hook[:at], mayPass)) {
			return false
		}
	}
	return true
}

// mayPass reports whether a rule could end a packet's way through the chain without dropping it. Targets that only record
// something do not, and DROP does not matter, because the capture has already seen the packet.
func mayPass(rule string) bool {
	words := strings.Fields(rule)
	at := slices.IndexFunc(words, func(w string) bool { return w == "-j" || w == "-g" })
	if at < 0 || at+1 == len(words) {
		return false
	}
	harmless := []string{"CONNMARK", "CT", "DROP", "LOG", "MARK", "NFLOG", "NOTRACK", "TRACE"}
	return !slices.Contains(harmless, words[at+1])
}

// Replace replaces the installed rules with those of another plan. After an error the old rules are in force, and the old
// plan stays.
func (f *Firewall) Replace(ctx context.Context, p Plan) error {
	for _, r := range p {
		if f.tools[r.V6] == nil {
			return fmt.Errorf("%s is needed, but was not found at the start", names[r.V6])
		}
	}
	old := f.plan
	f.plan = p
	if err := f.Install(ctx); err != nil {
		f.plan = old
		return err
	}
	return nil
}

// Repair restores rules of ours that were removed, or that other rules were put before. It returns true if it had to.
func (f *Firewall) Repair(ctx context.Context) (bool, error) {
	rules, err := f.look(ctx)
	if err != nil || f.verify(rules) {
		return false, err
	}
	return true, f.install(ctx, rules)
}

// Remove removes all chains of ours, including those of another process or another plan. An error names those that stay.
func (f *Firewall) Remove(ctx context.Context) error {
	left := f.left()
	f.placed = nil
	rules, err := f.look(ctx)
	if err == nil {
		err = f.dropOthers(ctx, rules)
	}
	if err != nil && len(left) > 0 {
		return fmt.Errorf("%w; left in place: %s", err, strings.Join(left, ", "))
	}
	return err
}

// left names the chains that are installed: iptables raw HUSHGATE-PRE-0.
func (f *Firewall) left() (chains []string) {
	for k, p := range f.placed {
		chains = append(chains, fmt.Sprintf("%s %s %s", names[k.v6], k.table, k.chain(p.generation)))
	}
	slices.Sort(chains)
	return chains
}

// RemoveAll removes all chains that any hushgate has left in this network namespace. It finds them by name, in both families
// and in both variants of iptables, because the system may have used the other variant before. It returns what it removed,
// named as in Remove.
func RemoveAll(ctx context.Context) (removed []string, err error) {
	var errs []error
	for _, v6 := range []bool{false, true} {
		variants := map[bool]bool{} // variants that are done
		for _, suffix := range []string{"", "-nft", "-legacy"} {
			t, err := newTool(ctx, v6, names[v6]+suffix)
			if err != nil {
				if suffix == "" {
					errs = append(errs, fmt.Errorf("find the program %s: %w", names[v6], err))
				}
				continue
			}
			if variants[t.nft()] {
				continue
			}
			variants[t.nft()] = true
			chains, err := t.removeAll(ctx)
			removed = append(removed, chains...)
			if suffix == "" || ctx.Err() != nil { // otherwise the kernel may lack that variant
				errs = append(errs, err)
			}
		}
	}
	return removed, join(errs...)
}

func (t *tool) removeAll(ctx context.Context) (removed []string, err error) {
	rules, err := look(ctx, map[*tool][]string{t: nil})
	if err != nil {
		return nil, err
	}
	for table, chains := range rules[t] {
		for chain := range chains {
			if chainName.MatchString(chain) {
				removed = append(removed, fmt.Sprintf("%s %s %s", t.name, table, chain))
			}
		}
	}
	slices.Sort(removed)
	all := rules[t].removals(func(string, string, int) bool { return true })
	if err := apply(ctx, map[*tool]script{t: all}); err != nil {
		return nil, fmt.Errorf("remove %s: %w", strings.Join(removed, ", "), err)
	}
	return removed, nil
}
