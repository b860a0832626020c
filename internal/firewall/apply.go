package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"
)

// Firewall is a plan, and what of it is installed. It has no lock: one goroutine uses it at a time.
//
// go-iptables runs the iptables program once for each rule; it has no way to iptables-restore, which would replace a
// whole table at once. So each chain of ours has two generations, and is complete before anything jumps to it.
type Firewall struct {
	plan   Plan
	tools  map[bool]*tool // by family: true is IPv6. The one that the plan does not need may be missing
	placed map[chainKey]placed
}

// tool is iptables for one address family.
type tool struct {
	*iptables.IPTables
	name, version string
}

// placed is a chain of ours as it was installed, in iptables' own spelling.
type placed struct {
	generation int
	rules      []string
	jump       string
}

// lockWait is how long iptables waits for another iptables, in seconds.
const lockWait = 10

// New looks for iptables, for the families that the plan needs. It changes nothing.
func New(p Plan) (*Firewall, error) {
	f := &Firewall{plan: p, tools: map[bool]*tool{}}
	for v6, name := range map[bool]string{false: "iptables", true: "ip6tables"} {
		t, err := newTool(v6, name)
		switch {
		case err == nil:
			f.tools[v6] = t
		case slices.ContainsFunc(p, func(r Rule) bool { return r.V6 == v6 }):
			return nil, fmt.Errorf("look for %s: %w (Debian's package is iptables)", name, err)
		}
	}
	return f, nil
}

func newTool(v6 bool, name string) (*tool, error) {
	family := iptables.ProtocolIPv4
	if v6 {
		family = iptables.ProtocolIPv6
	}
	t, err := iptables.New(iptables.IPFamily(family), iptables.Timeout(lockWait))
	if err != nil {
		return nil, err
	}
	version, err := exec.Command(name, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", name, err)
	}
	return &tool{t, name, strings.TrimSpace(string(version))}, nil
}

// nft is whether iptables keeps its rules in nftables, and not in the kernel's older tables.
func (t *tool) nft() bool { return strings.Contains(t.version, "nf_tables") }

// loaded is whether the kernel has a table. An older one that it has not is best left alone: to look is to load it.
func (t *tool) loaded(table string) bool {
	if t.nft() {
		return true
	}
	file := "/proc/thread-self/net/ip_tables_names"
	if t.name == "ip6tables" {
		file = "/proc/thread-self/net/ip6_tables_names"
	}
	names, err := os.ReadFile(file)       // without the file there are none
	if errors.Is(err, fs.ErrPermission) { // only root may read it
		_, err = os.Stat("/sys/module/" + strings.TrimSuffix(t.name, "s") + "_" + table)
		return err == nil
	}
	return slices.Contains(strings.Fields(string(names)), table)
}

// list returns the rules of a chain as iptables -S spells them, nil if there is no such chain.
func (t *tool) list(table, chain string) ([]string, error) {
	lines, err := t.List(table, chain)
	if e := (*iptables.Error)(nil); errors.As(err, &e) && e.ExitStatus() == 1 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the chain %s of the %s table: %w", chain, table, tidy(err))
	}
	return slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "-A ") }), nil
}

// drop takes a chain of ours away, the jumps to it first. It is no error if there is none.
func (t *tool) drop(k chainKey, generation int) error {
	chain, jump := k.chain(generation), k.jumpSpec(generation)
	there, err := t.ChainExists(k.table, chain)
	if err != nil {
		return fmt.Errorf("look for the chain %s of the %s table: %w", chain, k.table, tidy(err))
	}
	if !there {
		return nil
	}
	for err == nil { // a jump may stand more than once
		if there, err = t.Exists(k.table, k.hook, jump...); err != nil || !there {
			break
		}
		err = t.Delete(k.table, k.hook, jump...)
	}
	if err != nil {
		return fmt.Errorf("remove the jump to %s from %s %s: %w", chain, k.table, k.hook, tidy(err))
	}
	if err := t.ClearAndDeleteChain(k.table, chain); err != nil {
		return fmt.Errorf("remove the chain %s of the %s table: %w", chain, k.table, tidy(err))
	}
	return nil
}

// oneLine is an error of iptables, which may have several lines, on one.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }
func (e oneLine) Unwrap() error { return e.error }

func tidy(err error) error { return oneLine{err} }

// Check finds out whether the rules could be installed: whether the tables can be read at all.
func (f *Firewall) Check() error {
	for _, k := range f.plan.chains() {
		if _, err := f.tools[k.v6].ListChains(k.table); err != nil {
			return fmt.Errorf("read the %s table: %w (needed: CAP_NET_ADMIN and, for iptables-legacy, its lock file /run/xtables.lock)",
				k.table, tidy(err))
		}
	}
	return nil
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

// Install puts the rules in place. Rules that a crashed process left are replaced, and there is no moment without a
// complete chain: the new one is in force before the old one goes. After an error everything is as it was before, but
// for an error in taking an old chain away: then old and new are both there, and do the same.
func (f *Firewall) Install() error {
	installed := map[chainKey]placed{}
	for _, k := range f.plan.chains() {
		p, err := f.place(k)
		if err != nil {
			for k, p := range installed {
				err = errors.Join(err, f.tools[k.v6].drop(k, p.generation))
			}
			return err
		}
		installed[k] = p
	}
	f.placed = installed
	return f.dropOthers()
}

// place makes a chain beside the one in force, and puts it in force.
func (f *Firewall) place(k chainKey) (placed, error) {
	t := f.tools[k.v6]
	generation, err := t.unused(k)
	if err != nil {
		return placed{}, err
	}
	if err := t.drop(k, generation); err != nil {
		return placed{}, err
	}
	p, err := t.build(k, generation, f.plan.of(k))
	if err != nil {
		return placed{}, errors.Join(err, t.drop(k, generation))
	}
	return p, nil
}

// unused is the generation of a chain that is not in force. Both are if a process died after the new one's jump and
// before the old one's end: then it is the one that the kernel comes to last.
func (t *tool) unused(k chainKey) (int, error) {
	hook, err := t.list(k.table, k.hook)
	if err != nil {
		return 0, err
	}
	zero, one := jumpTo(hook, k.chain(0)), jumpTo(hook, k.chain(1))
	if zero < 0 || (one >= 0 && one < zero) {
		return 0, nil
	}
	return 1, nil
}

func jumpTo(hook []string, chain string) int {
	return slices.IndexFunc(hook, func(rule string) bool { return strings.HasSuffix(rule, " -j "+chain) })
}

func (t *tool) build(k chainKey, generation int, rules []Rule) (p placed, err error) {
	chain := k.chain(generation)
	if err := t.NewChain(k.table, chain); err != nil {
		return p, fmt.Errorf("make the chain %s in the %s table: %w", chain, k.table, tidy(err))
	}
	for _, r := range rules {
		if err := t.Append(k.table, chain, r.Spec...); err != nil {
			return p, fmt.Errorf("install %s %s rule %q: %w", k.table, k.hook, strings.Join(r.Spec, " "), tidy(err))
		}
	}
	if err := t.Insert(k.table, k.hook, 1, k.jumpSpec(generation)...); err != nil {
		return p, fmt.Errorf("jump from %s %s to %s: %w", k.table, k.hook, chain, tidy(err))
	}
	p.generation = generation
	if p.rules, err = t.list(k.table, chain); err != nil {
		return p, err
	}
	hook, err := t.list(k.table, k.hook)
	if err != nil {
		return p, err
	}
	at := jumpTo(hook, chain)
	if at < 0 || len(p.rules) != len(rules) {
		return p, fmt.Errorf("install the chain %s in the %s table: something else changed it at the same time", chain, k.table)
	}
	p.jump = hook[at]
	return p, nil
}

// Verify reports whether everything is in place: our chains as they were installed, and no rule before our jump in raw
// PREROUTING that could take packets past it. The order in FORWARD and POSTROUTING is the administrator's affair.
func (f *Firewall) Verify() (bool, error) {
	for _, k := range f.plan.chains() {
		p, there := f.placed[k]
		if !there {
			return false, nil
		}
		rules, err := f.tools[k.v6].list(k.table, k.chain(p.generation))
		if err != nil || !slices.Equal(rules, p.rules) {
			return false, err
		}
		hook, err := f.tools[k.v6].list(k.table, k.hook)
		if err != nil {
			return false, err
		}
		at := slices.Index(hook, p.jump)
		if at < 0 || (k.table == "raw" && slices.ContainsFunc(hook[:at], mayPass)) {
			return false, nil
		}
	}
	return true, nil
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
func (f *Firewall) Replace(p Plan) error {
	for _, r := range p {
		if f.tools[r.V6] == nil {
			return fmt.Errorf("%s is needed, and was not found at the start", map[bool]string{false: "iptables", true: "ip6tables"}[r.V6])
		}
	}
	old := f.plan
	f.plan = p
	if err := f.Install(); err != nil {
		f.plan = old
		return err
	}
	return nil
}

// Repair puts back what someone has taken away or has put before ours; true if there was anything.
func (f *Firewall) Repair() (bool, error) {
	ok, err := f.Verify()
	if ok || err != nil {
		return false, err
	}
	return true, f.Install()
}

// Remove takes all our chains away, those too that another process or another plan left.
func (f *Firewall) Remove() error {
	f.placed = nil
	return f.dropOthers()
}

// dropOthers takes every chain of ours away that is not one of those placed.
func (f *Firewall) dropOthers() error {
	var errs []error
	for _, k := range f.everywhere() {
		for generation := range 2 {
			if p, there := f.placed[k]; !there || p.generation != generation {
				errs = append(errs, f.tools[k.v6].drop(k, generation))
			}
		}
	}
	return errors.Join(errs...)
}

// everywhere lists the places where chains of ours may be: those of the plan, and those of an earlier plan. A table that
// the plan does not need and that cannot be read has none of them.
func (f *Firewall) everywhere() (keys []chainKey) {
	for v6, t := range f.tools {
		for _, k := range []chainKey{{v6, "raw", "PREROUTING"}, {v6, "filter", "FORWARD"}, {v6, "mangle", "FORWARD"}, {v6, "nat", "PREROUTING"}, {v6, "nat", "POSTROUTING"}} {
			if len(f.plan.of(k)) == 0 {
				if !t.loaded(k.table) {
					continue
				}
				if _, err := t.list(k.table, k.hook); err != nil {
					continue
				}
			}
			keys = append(keys, k)
		}
	}
	return keys
}
