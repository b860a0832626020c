package firewall

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"
)

// Firewall is a plan that is, or was, installed.
type Firewall struct {
	plan       Plan
	generation int
	tables     map[bool]*iptables.IPTables // by family: true is IPv6
}

// lockWait is how long iptables waits for another iptables, in seconds.
const lockWait = 10

// New looks for iptables, for the families that the plan needs. It changes nothing.
func New(p Plan) (*Firewall, error) {
	f := &Firewall{plan: p, tables: map[bool]*iptables.IPTables{}}
	needed := map[bool]bool{}
	for _, k := range p.chains() {
		needed[k.v6] = true
	}
	for v6, c := range map[bool]struct {
		proto iptables.Protocol
		name  string
	}{false: {iptables.ProtocolIPv4, "iptables"}, true: {iptables.ProtocolIPv6, "ip6tables"}} {
		t, err := iptables.New(iptables.IPFamily(c.proto), iptables.Timeout(lockWait))
		switch {
		case err == nil:
			f.tables[v6] = t
		case needed[v6]:
			return nil, fmt.Errorf("look for %s: %w (Debian's package is iptables)", c.name, err)
		}
	}
	return f, nil
}

// everywhere lists the places where chains of ours may be: those of the plan, and those that an earlier plan had. A table
// of the old iptables that the kernel has not loaded is left alone: looking into it would load it.
func (f *Firewall) everywhere() (keys []chainKey) {
	for v6 := range f.tables {
		loaded := loadedTables(v6)
		for _, k := range []chainKey{{v6, "raw", "PREROUTING"}, {v6, "filter", "FORWARD"}, {v6, "nat", "POSTROUTING"}} {
			if loaded == nil || slices.Contains(loaded, k.table) || len(f.plan.of(k)) > 0 {
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// loadedTables lists the tables that the kernel has for the old iptables, nil if iptables speaks to nftables.
func loadedTables(v6 bool) []string {
	name, file := "iptables", "/proc/net/ip_tables_names"
	if v6 {
		name, file = "ip6tables", "/proc/net/ip6_tables_names"
	}
	if out, err := exec.Command(name, "--version").Output(); err == nil && bytes.Contains(out, []byte("nf_tables")) {
		return nil
	}
	text, _ := os.ReadFile(file) // without the file there are none
	return append([]string{""}, strings.Fields(string(text))...)
}

// Check finds out whether the rules could be installed: whether the tables can be read at all.
func (f *Firewall) Check() error {
	for _, k := range f.plan.chains() {
		if _, err := f.tables[k.v6].ListChains(k.table); err != nil {
			return fmt.Errorf("read the %s table: %w (CAP_NET_ADMIN is needed)", k.table, tidy(err))
		}
	}
	return nil
}

// tidy puts an error of iptables, which may have several lines, on one.
func tidy(err error) error { return fmt.Errorf("%s", strings.Join(strings.Fields(err.Error()), " ")) }

// Install puts the rules in place. Rules that a crashed process left are replaced, and there is no moment without a
// complete set: the new one is in force before the old one goes. After an error everything is as it was before.
func (f *Firewall) Install() error {
	f.generation = f.unusedGeneration()
	for _, k := range f.plan.chains() {
		if err := f.installChain(k); err != nil {
			return errors.Join(err, f.removeGeneration(f.generation))
		}
	}
	return f.removeGeneration(1 - f.generation)
}

// unusedGeneration is 0 unless a chain of that generation exists.
func (f *Firewall) unusedGeneration() int {
	for _, k := range f.everywhere() {
		if there, err := f.tables[k.v6].ChainExists(k.table, k.chain(0)); err == nil && there {
			return 1
		}
	}
	return 0
}

func (f *Firewall) installChain(k chainKey) error {
	t, chain := f.tables[k.v6], k.chain(f.generation)
	if err := t.ClearChain(k.table, chain); err != nil { // makes it, or empties it
		return fmt.Errorf("make the chain %s in the %s table: %w", chain, k.table, tidy(err))
	}
	for _, r := range f.plan.of(k) {
		if err := t.Append(k.table, chain, r.Spec...); err != nil {
			return fmt.Errorf("install %s %s rule %q: %w", k.table, k.hook, strings.Join(r.Spec, " "), tidy(err))
		}
	}
	if err := t.InsertUnique(k.table, k.hook, 1, k.jumpSpec(f.generation)...); err != nil {
		return fmt.Errorf("jump from %s %s to %s: %w", k.table, k.hook, chain, tidy(err))
	}
	return nil
}

// Verify reports whether everything is in place.
func (f *Firewall) Verify() (bool, error) {
	for _, k := range f.plan.chains() {
		t, chain := f.tables[k.v6], k.chain(f.generation)
		there, err := t.ChainExists(k.table, chain)
		if err != nil {
			return false, fmt.Errorf("look for the chain %s: %w", chain, tidy(err))
		}
		if !there {
			return false, nil
		}
		if there, err = t.Exists(k.table, k.hook, k.jumpSpec(f.generation)...); err != nil || !there {
			return false, err
		}
		for _, r := range f.plan.of(k) {
			if there, err = t.Exists(k.table, chain, r.Spec...); err != nil || !there {
				return false, err
			}
		}
	}
	return true, nil
}

// Repair puts back what someone has taken away; true if there was anything.
func (f *Firewall) Repair() (bool, error) {
	ok, err := f.Verify()
	if ok || err != nil {
		return false, err
	}
	return true, f.Install()
}

// Remove takes all our chains away, of either generation.
func (f *Firewall) Remove() error {
	return errors.Join(f.removeGeneration(0), f.removeGeneration(1))
}

func (f *Firewall) removeGeneration(g int) error {
	var errs []error
	for _, k := range f.everywhere() {
		t, chain := f.tables[k.v6], k.chain(g)
		there, err := t.ChainExists(k.table, chain)
		if err != nil || !there {
			continue
		}
		for { // a jump may stand more than once
			if there, err := t.Exists(k.table, k.hook, k.jumpSpec(g)...); err != nil || !there {
				break
			}
			if err := t.Delete(k.table, k.hook, k.jumpSpec(g)...); err != nil {
				errs = append(errs, fmt.Errorf("remove the jump to %s: %w", chain, tidy(err)))
				break
			}
		}
		if err := t.ClearAndDeleteChain(k.table, chain); err != nil {
			errs = append(errs, fmt.Errorf("remove the chain %s: %w", chain, tidy(err)))
		}
	}
	return errors.Join(errs...)
}
