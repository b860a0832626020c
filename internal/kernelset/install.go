package kernelset

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
)

// write tells the kernel what has changed in the entries. If it cannot, it undoes the change.
func (s *Set) write(c change) error {
	if len(c) == 0 {
		return nil
	}
	err := s.tell(c)
	if err != nil { // an entry has ended at this moment, or someone has changed the table
		err = s.install()
	}
	if err != nil {
		s.entries.undo(c)
		s.installed.generation = 0
	}
	return err
}

// told is what the kernel is told about one network.
type told struct {
	prefix netip.Prefix
	left   time.Duration
	gone   bool
}

// tell changes the entries in the table. If there is no set for a prefix length, it writes the whole table.
func (s *Set) tell(c change) error {
	var list []told
	now := s.now()
	for p, old := range c {
		switch x := s.entries.byPrefix[p]; {
		case x == nil && old != nil:
			list = append(list, told{p, old.left(now), true})
		case x == nil: // added, and removed to make room
		case !slices.Contains(s.installed.lengths, lengthOf(p)):
			return s.install()
		default:
			list = append(list, told{p, x.left(now), false})
		}
	}
	for piece := range slices.Chunk(list, max(1, s.kernel.atOnce/3)) {
		if err := s.replace(piece); err != nil {
			return err
		}
	}
	return nil
}

// replace writes changes as one transaction. The kernel refuses to remove an element that is not there, and before Linux 6.12 it
// does not change the time of one that is. So each element is added, removed, and added again unless it is to be gone.
func (s *Set) replace(list []told) error {
	all, fresh := elements{}, elements{}
	for _, t := range list {
		all.add(t.prefix, t.left)
		if !t.gone {
			fresh.add(t.prefix, t.left)
		}
	}
	k := s.kernel
	for _, step := range []struct {
		elements
		add func(*nftables.Set, []nftables.SetElement) error
	}{{all, k.SetAddElements}, {all, k.SetDeleteElements}, {fresh, k.SetAddElements}} {
		if err := step.each(step.add); err != nil {
			return err
		}
	}
	return s.commit()
}

// commit sends a transaction, and notes the generation that it makes. If others have changed nftables meanwhile, the next Repair
// compares the entries.
func (s *Set) commit() error {
	before := s.installed.generation
	if err := s.kernel.commit(); err != nil {
		return err
	}
	after, err := s.kernel.generation()
	if err != nil || after != before+1 {
		after = 0
	}
	s.installed.generation = after
	return nil
}

// install writes the whole table in place of what is there, in one transaction. In a user namespace, where messages are bounded,
// many entries follow in further ones. An interface that does not exist is left out until a Repair finds it.
func (s *Set) install() error {
	there, err := s.kernel.present(s.config.Interfaces)
	if err != nil {
		return err
	}
	counted, err := s.counted()
	if err != nil {
		counted = [2]uint64{} // the counters of a table that cannot be read are lost
	}
	now := s.now()
	s.entries.expire(now)
	list, lengths := s.entries.list(now), s.entries.lengths()
	first := min(len(list), s.kernel.atOnce)
	if err := s.kernel.layout(s.config, there, lengths); err != nil {
		return err
	}
	if err := s.fill(list[:first]); err != nil {
		return fmt.Errorf("install the %s: %w", tableText, err)
	}
	s.installed.interfaces, s.installed.lengths = there, lengths
	for i := range counted {
		s.dropped[i] += counted[i]
	}
	for piece := range slices.Chunk(list[first:], s.kernel.atOnce) {
		if err := s.fill(piece); err != nil {
			return fmt.Errorf("fill the %s: %w", tableText, err)
		}
	}
	return s.remember()
}

// fill adds entries to the transaction, and sends it.
func (s *Set) fill(list []Entry) error {
	fresh := elements{}
	for _, e := range list {
		fresh.add(e.Prefix, e.Left)
	}
	if err := fresh.each(s.kernel.SetAddElements); err != nil {
		return err
	}
	return s.commit()
}

// remember notes the handles of the rules.
func (s *Set) remember() error {
	handles, err := s.handles()
	if err == nil {
		s.installed.rules = handles
	}
	return err
}

// handles returns the handles of the rules by chain.
func (s *Set) handles() (map[string][]uint64, error) {
	chains := []string{families[0].name, families[1].name}
	for i := range s.installed.interfaces {
		chains = append(chains, ingress(i))
	}
	handles := map[string][]uint64{}
	for _, name := range chains {
		rules, err := s.rules(name)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			handles[name] = append(handles[name], r.Handle)
		}
	}
	return handles, nil
}

// rules returns the rules of a chain: none if it does not exist.
func (s *Set) rules(chain string) (rules []*nftables.Rule, err error) {
	err = s.kernel.do(func() (err error) {
		rules, err = s.kernel.GetRules(table, &nftables.Chain{Name: chain})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the chain %s of the %s: %w", chain, tableText, err)
	}
	return rules, nil
}
