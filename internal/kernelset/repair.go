package kernelset

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
)

// slack is how much earlier than we count the kernel may let an entry end.
const slack = time.Second

const (
	// tries is how often the entries are read until they do not change meanwhile, and pause is how long to wait in between.
	tries = 8
	pause = 20 * time.Millisecond
)

// Repair looks whether the table is as it was made, and makes it anew if it is not: if it was removed, a rule or an entry was
// removed or changed, or an interface came or went. Entries that others added with nft stay, and are in the List from now on;
// times that others changed are kept. To let a client in for good, use Remove. If nothing has changed, Repair only exchanges a
// few messages with the kernel.
func (s *Set) Repair() (repaired bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kernel == nil {
		return false, ErrClosed
	}
	exists, whole, err := s.look()
	if err != nil {
		return false, fmt.Errorf("look for changes: %w", err)
	}
	missing, generation := 0, uint32(0)
	if exists {
		if whole {
			if generation, err = s.kernel.generation(); err != nil || generation == s.installed.generation {
				return false, err
			}
		}
		if missing, generation, err = s.compare(); err != nil {
			return false, fmt.Errorf("look for changes: %w", err)
		}
	}
	if whole && missing == 0 {
		s.installed.generation = generation
		return false, nil
	}
	if err := s.install(); err != nil {
		return false, fmt.Errorf("repair: %w", err)
	}
	return true, nil
}

// look returns whether the table exists, and whether it is whole but for its entries.
func (s *Set) look() (exists, whole bool, err error) {
	exists, active, err := s.kernel.table()
	if err != nil || !exists {
		return exists, false, err
	}
	there, err := s.kernel.present(s.config.Interfaces)
	if err != nil {
		return exists, false, err
	}
	handles, err := s.handles()
	if err != nil {
		return exists, false, err
	}
	whole = active && slices.Equal(there, s.installed.interfaces) && maps.EqualFunc(handles, s.installed.rules, slices.Equal)
	return exists, whole, nil
}

// compare reads the entries that are in the kernel, and takes over what differs from ours. It returns how many of ours are
// missing there, and the generation that it has read.
func (s *Set) compare() (missing int, generation uint32, err error) {
	for range tries {
		if generation, err = s.kernel.generation(); err != nil {
			return 0, 0, err
		}
		kernel, steady, err := s.read()
		if err != nil {
			return 0, 0, err
		}
		after, err := s.kernel.generation()
		if err != nil {
			return 0, 0, err
		}
		if steady && after == generation {
			return s.merge(kernel), generation, nil
		}
		time.Sleep(pause)
	}
	return 0, 0, fmt.Errorf("read the entries of the %s: they change all the time", tableText)
}

// merge takes over what is in the kernel, and counts what is missing there.
func (s *Set) merge(kernel map[netip.Prefix]time.Duration) (missing int) {
	now := s.now()
	s.entries.expire(now)
	for p, x := range s.entries.byPrefix {
		if _, there := kernel[p]; !there && (x.ends.IsZero() || x.ends.Sub(now) > slack) {
			missing++
		}
	}
	for p, left := range kernel {
		ends := time.Time{}
		if left > 0 {
			ends = now.Add(left)
		}
		s.entries.put(change{}, p, ends)
	}
	evicted := s.entries.bound(change{})
	s.evicted += evicted
	if evicted > 0 {
		missing++ // the kernel has some that it should not have
	}
	return missing
}

// read returns the entries in the kernel with the time that is left, which is 0 for those that never end. It is not steady if the
// kernel has listed an entry twice: it then leaves out another one. It does so while it moves a set that has grown to a larger
// table, which it begins some time after the growth.
func (s *Set) read() (all map[netip.Prefix]time.Duration, steady bool, err error) {
	all, steady = map[netip.Prefix]time.Duration{}, true
	err = s.kernel.do(func() error {
		sets, err := s.kernel.GetSets(table)
		if err != nil {
			return err
		}
		for _, set := range sets {
			l, ok := parseLength(set)
			if !ok {
				continue
			}
			list, err := s.kernel.GetSetElements(set)
			if err != nil {
				return fmt.Errorf("set %s: %w", set.Name, err)
			}
			steady = l.collect(list, all) && steady
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("read the entries of the %s: %w", tableText, err)
	}
	return all, steady, nil
}

// collect adds the elements of a set, except those that are ending, and those with host bits, which match no packet. It reports
// whether none was there twice.
func (l length) collect(list []nftables.SetElement, all map[netip.Prefix]time.Duration) (steady bool) {
	steady = true
	for _, e := range list {
		a, ok := netip.AddrFromSlice(e.Key)
		if !ok || a.BitLen() != l.bits || e.Timeout > 0 && e.Expires == 0 {
			continue
		}
		if p, err := network(netip.PrefixFrom(a, l.prefix)); err == nil && p.Addr() == a {
			_, twice := all[p]
			all[p] = min(e.Expires, MaxTime)
			steady = steady && !twice
		}
	}
	return steady
}
