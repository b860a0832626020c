package firewall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Firewall is a plan, and what of it is installed. It has no lock: one goroutine uses it at a time. Every program that it
// runs ends with the context that a method was given; to undo what could not be finished takes a few seconds more.
//
// go-iptables runs iptables once for each rule; it has no way to iptables-restore, which would replace a whole table at once.
// So each chain of ours has two generations: the new one is complete before anything jumps to it, and in force everywhere
// before the old one goes.
type Firewall struct {
	plan   Plan
	tools  map[bool]*tool // by family: true is IPv6. The one that the plan does not need may be missing
	placed map[chainKey]placed
	blind  error // why rules that look into quotes are left out
}

// placed is a chain of ours as it was installed, in iptables' own spelling.
type placed struct {
	generation int
	rules      []string
	jump       string
}

// ErrChanged reports that something else changed the rules while they were installed.
var ErrChanged = errors.New("something else changed it at the same time")

// undoPatience is how long it may take to undo what could not be finished.
const undoPatience = 5 * time.Second

// New looks for iptables, for the families that the plan needs. It changes nothing.
func New(ctx context.Context, p Plan) (*Firewall, error) {
	f := &Firewall{plan: p, tools: map[bool]*tool{}}
	for v6, name := range names {
		t, err := newTool(ctx, v6, name)
		switch {
		case err == nil:
			f.tools[v6] = t
		case slices.ContainsFunc(p, func(r Rule) bool { return r.V6 == v6 }):
			return nil, fmt.Errorf("look for %s: %w (Debian's package is iptables)", name, err)
		}
	}
	return f, nil
}

// Versions names the programs found, with the variant of each: iptables v1.8.9 (nf_tables).
func (f *Firewall) Versions() (versions []string) {
	for _, v6 := range []bool{false, true} {
		if t := f.tools[v6]; t != nil {
			versions = append(versions, t.version)
		}
	}
	return versions
}

// Blind tells why the rules about ICMP errors are not installed; nil if they are.
func (f *Firewall) Blind() error { return f.blind }

// wanted is the plan, without what this machine is not able to install.
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

// Check finds out whether the rules could be installed: whether the tables can be read at all.
func (f *Firewall) Check(ctx context.Context) error {
	if _, err := f.look(ctx); err != nil {
		return fmt.Errorf("%w (needed: CAP_NET_ADMIN and, for iptables-legacy, its lock file /run/xtables.lock)", err)
	}
	return nil
}

// Install puts the rules in place. Rules that a crashed process left are replaced, and there is no moment without a
// complete chain: the new one is in force before the old one goes. After an error everything is as it was before, but
// for an error in taking an old chain away: then old and new are both there, and do the same.
func (f *Firewall) Install(ctx context.Context) error {
	rules, err := f.look(ctx)
	if err != nil {
		return err
	}
	return f.install(ctx, rules)
}

// install is Install when the rules have just been read.
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

// installBlind tries whether all is well without the rules that look into quotes; why is what happened with them.
func (f *Firewall) installBlind(ctx context.Context, next map[chainKey]int, why error) error {
	rules, err := f.look(ctx) // one family may have been done
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

// next chooses the generation of each chain that is not in force. Both are if a process died after the new one's jump and
// before the old one's end: then it is the one that the kernel comes to last.
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

// find looks what became of the chains that were made.
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

// undo takes chains away that were to be installed, in a time of its own: that of the context may be over. It returns why,
// and what happened meanwhile.
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

// dropOthers takes every chain of ours away that is not one of those placed.
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

// removeTries is how often a removal begins that something else overtakes.
const removeTries = 3

// remove takes chains of ours away that are chosen. That something else took them at the same time is no error.
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
// PREROUTING that could take packets past it. The order in FORWARD and POSTROUTING is the administrator's affair.
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

// mayPass is whether a rule could end a packet's way through the chain with the packet still alive: not the targets that
// only note something, and not DROP, whose packets the capture has seen already.
func mayPass(rule string) bool {
	words := strings.Fields(rule)
	at := slices.IndexFunc(words, func(w string) bool { return w == "-j" || w == "-g" })
	if at < 0 || at+1 == len(words) {
		return false
	}
	harmless := []string{"CONNMARK", "CT", "DROP", "LOG", "MARK", "NFLOG", "NOTRACK", "TRACE"}
	return !slices.Contains(harmless, words[at+1])
}

// Replace puts the rules of another plan in the place of those that are installed. After an error the old ones are in
// force, and stay the plan.
func (f *Firewall) Replace(ctx context.Context, p Plan) error {
	for _, r := range p {
		if f.tools[r.V6] == nil {
			return fmt.Errorf("%s is needed, and was not found at the start", names[r.V6])
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

// Repair puts back what someone has taken away or has put before ours; true if there was anything.
func (f *Firewall) Repair(ctx context.Context) (bool, error) {
	rules, err := f.look(ctx)
	if err != nil || f.verify(rules) {
		return false, err
	}
	return true, f.install(ctx, rules)
}

// Remove takes all our chains away, those too that another process or another plan left. An error names those that stay.
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

// left names the chains that were installed: iptables raw HUSHGATE-PRE-0.
func (f *Firewall) left() (chains []string) {
	for k, p := range f.placed {
		chains = append(chains, fmt.Sprintf("%s %s %s", names[k.v6], k.table, k.chain(p.generation)))
	}
	slices.Sort(chains)
	return chains
}

// RemoveAll takes away all chains that any hushgate has left in this network namespace, by their names alone: those of both
// families, and of both variants of iptables, for the one that the system uses may have been the other before. It returns
// what it took away, as Remove names it.
func RemoveAll(ctx context.Context) (removed []string, err error) {
	var errs []error
	for _, v6 := range []bool{false, true} {
		variants := map[bool]bool{} // those done
		for _, suffix := range []string{"", "-nft", "-legacy"} {
			t, err := newTool(ctx, v6, names[v6]+suffix)
			if err != nil {
				if suffix == "" {
					errs = append(errs, fmt.Errorf("look for %s: %w", names[v6], err))
				}
				continue
			}
			if variants[t.nft()] {
				continue
			}
			variants[t.nft()] = true
			chains, err := t.removeAll(ctx)
			removed = append(removed, chains...)
			if suffix == "" || ctx.Err() != nil { // else the kernel may lack that variant
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
