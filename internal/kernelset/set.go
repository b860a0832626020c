package kernelset

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// ErrClosed is returned by a Set after Close or Leave.
var ErrClosed = errors.New("the set of clients that are kept out is closed")

// Set is the clients that the kernel keeps out. Its methods may be called from any goroutine. They wait for the kernel: Add for less
// than a millisecond, a Repair, or a New that takes over many entries, for up to some seconds. A method that returns an error has
// changed nothing, unless it says otherwise.
type Set struct {
	mu      sync.Mutex
	kernel  *kernel // nil when closed
	now     func() time.Time
	config  Config
	entries *entries

	installed installed
	dropped   [2]uint64 // by families, in tables that were replaced
	evicted   uint64
}

// installed is how the table was when we last saw it whole.
type installed struct {
	interfaces []string
	lengths    []length
	rules      map[string][]uint64 // handles by chain: a rule that was replaced has a new one
	generation uint32              // 0 if entries may differ from ours
}

// Stats counts what a Set did.
type Stats struct {
	Entries     int    `name:"entries" help:"offenders whose SYNs the kernel drops"`
	Room        int    `name:"capacity" help:"offenders that the kernel's set has room for"`
	Evicted     uint64 `name:"evicted" help:"offenders that left the kernel's set early, to make room for later ones"`
	DroppedIPv4 uint64 `name:"dropped" label:"family=ipv4" help:"SYNs of offenders that the kernel has dropped"`
	DroppedIPv6 uint64 `name:"dropped" label:"family=ipv6"`
}

// New makes the table, and takes over the entries of one that a process before left. It fails if the kernel has no nftables, or
// an interface does not exist.
func New(c Config) (*Set, error) { return open(c, time.Now) }

func open(c Config, now func() time.Time, options ...nftables.ConnOption) (*Set, error) {
	c, err := c.valid()
	if err != nil {
		return nil, fmt.Errorf("keep clients out: %w", err)
	}
	s := &Set{now: now, config: c, entries: newEntries(c.Max)}
	if s.kernel, err = openKernel(options...); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.kernel.close())
	}
	return s, nil
}

func (s *Set) start() error {
	exists, _, err := s.kernel.table()
	if err != nil {
		return err
	}
	if err := s.kernel.allPresent(s.config.Interfaces); err != nil {
		return err
	}
	if exists {
		if _, _, err := s.compare(); err != nil { // it takes over what it finds
			return fmt.Errorf("%w (if this table is not from hushgate, remove it: nft delete %s)", err, tableText)
		}
	}
	err = s.install()
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) { // nftables, but not for interfaces
		err = fmt.Errorf("%w: %w", errNone, err)
	}
	return err
}

// allPresent returns an error that names an interface that does not exist. A recent kernel would wait for it.
func (k *kernel) allPresent(names []string) error {
	there, err := k.present(names)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains(there, name) {
			return fmt.Errorf("keep clients out at the interface %s: it does not exist", name)
		}
	}
	return nil
}

// Add keeps a network out for some time from now on. If it is kept out already, the time is set anew. Host bits are ignored. If
// the Set is full, the entry that ends first gives way.
func (s *Set) Add(p netip.Prefix, d time.Duration) error { return s.AddAll([]Entry{{p, d}}) }

// AddAll is Add for several networks in one step, of which all are added or none.
func (s *Set) AddAll(list []Entry) error {
	list, err := checked(list)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kernel == nil {
		return ErrClosed
	}
	now, c := s.now(), change{}
	s.entries.expire(now)
	for _, e := range list {
		s.entries.put(c, e.Prefix, now.Add(e.Left))
	}
	evicted := s.entries.bound(c)
	if err := s.write(c); err != nil {
		return fmt.Errorf("keep %s out: %w", named(list), err)
	}
	s.evicted += evicted
	return nil
}

// named names the networks of a list for an error.
func named(list []Entry) string {
	if len(list) == 1 {
		return list[0].Prefix.String()
	}
	return fmt.Sprintf("%d networks", len(list))
}

// Remove lets a network in again. found is false if it is not kept out under exactly this prefix.
func (s *Set) Remove(p netip.Prefix) (found bool, err error) {
	p, err = network(p)
	if err != nil {
		return false, fmt.Errorf("let %s in: %w", p, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kernel == nil {
		return false, ErrClosed
	}
	s.entries.expire(s.now())
	if s.entries.byPrefix[p] == nil {
		return false, nil
	}
	c := change{}
	s.entries.drop(c, p)
	if err := s.write(c); err != nil {
		return false, fmt.Errorf("let %s in: %w", p, err)
	}
	return true, nil
}

// Flush lets all in again.
func (s *Set) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kernel == nil {
		return ErrClosed
	}
	before := s.entries
	s.entries = newEntries(s.config.Max)
	if err := s.install(); err != nil {
		s.entries = before
		return fmt.Errorf("let all clients in: %w", err)
	}
	return nil
}

// List returns the entries in order of their addresses. What an administrator added with nft is listed after the next Repair.
func (s *Set) List() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.entries.expire(now)
	return s.entries.list(now)
}

// Update replaces the configuration, and keeps the entries. If they are more than the new bound, those that end first are removed.
func (s *Set) Update(c Config) error {
	c, err := c.valid()
	if err != nil {
		return fmt.Errorf("keep clients out: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kernel == nil {
		return ErrClosed
	}
	if err := s.kernel.allPresent(c.Interfaces); err != nil {
		return err
	}
	before, ch := s.config, change{}
	s.config, s.entries.max = c, c.Max
	evicted := s.entries.bound(ch)
	if err := s.install(); err != nil {
		s.config, s.entries.max = before, before.Max
		s.entries.undo(ch)
		return err
	}
	s.evicted += evicted
	return nil
}

// Stats returns the counters. Without the table, for example before a Repair, it returns what was counted before.
func (s *Set) Stats() (Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kernel == nil {
		return Stats{}, ErrClosed
	}
	s.entries.expire(s.now())
	st := Stats{Entries: len(s.entries.byPrefix), Room: s.entries.max, Evicted: s.evicted}
	counted, err := s.counted()
	st.DroppedIPv4, st.DroppedIPv6 = s.dropped[0]+counted[0], s.dropped[1]+counted[1]
	return st, err
}

// counted returns what the rules in the kernel have counted.
func (s *Set) counted() (n [2]uint64, err error) {
	for i, f := range families {
		rules, err := s.rules(f.name)
		if err != nil {
			return n, err
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				if c, ok := e.(*expr.Counter); ok {
					n[i] += c.Packets
				}
			}
		}
	}
	return n, nil
}

// Close removes the table, so that all clients are let in again. After an error the table may still be there.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kernel == nil {
		return nil
	}
	k := s.kernel
	s.kernel = nil
	k.AddTable(table) // otherwise there could be nothing to remove
	k.DelTable(table)
	err := k.commit()
	if err != nil {
		err = fmt.Errorf("remove the %s: %w", tableText, err)
	}
	return errors.Join(err, k.close())
}

// Check finds out whether New could make the table. It leaves the kernel as it is: what it makes, it removes in the same transaction.
func Check(c Config) (err error) {
	c, err = c.valid()
	if err != nil {
		return fmt.Errorf("keep clients out: %w", err)
	}
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	if _, _, err := k.table(); err != nil {
		return err
	}
	if err := k.allPresent(c.Interfaces); err != nil {
		return err
	}
	trial := &nftables.Table{Name: TableName + "-check", Family: nftables.TableFamilyNetdev}
	k.AddTable(trial)
	for i, name := range c.Interfaces {
		k.AddChain(&nftables.Chain{
			Name: ingress(i), Table: trial, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityRef(priority), Device: name,
		})
	}
	k.DelTable(trial)
	if err := k.commit(); err != nil {
		return fmt.Errorf("keep clients out at %s: %w", strings.Join(c.Interfaces, ", "), explain(err))
	}
	return nil
}

// Clear removes the table that a process has left, so that all clients are let in again. It reports whether there was one. On a
// kernel without nftables there is none.
func Clear() (removed bool, err error) {
	k, err := openKernel()
	if err != nil {
		if errors.Is(err, errNone) {
			err = nil
		}
		return false, err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	exists, _, err := k.table()
	switch {
	case errors.Is(err, errNone):
		return false, nil
	case err != nil || !exists:
		return false, err
	}
	k.DelTable(table)
	if err := k.commit(); err != nil {
		return false, fmt.Errorf("remove the %s: %w", tableText, err)
	}
	return true, nil
}

// Leave ends the Set and leaves the table to the process that takes over.
func (s *Set) Leave() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kernel == nil {
		return nil
	}
	k := s.kernel
	s.kernel = nil
	return k.close()
}
