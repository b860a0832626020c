package lists

import (
	"fmt"
	"net/netip"

	"github.com/gaissmai/bart"
)

// Action is what an entry says of the addresses that it matches.
type Action uint8

// The actions. The words are those of Postfix's postscreen_access_list.
const (
	Listed Action = iota // the address is in a plain list; what follows from it is not the list's to say
	Permit
	Reject
	Dunno // stop searching this table, as if nothing had matched
)

// String returns the word that stands for a in a file.
func (a Action) String() string {
	switch a {
	case Listed:
		return "listed"
	case Permit:
		return "permit"
	case Reject:
		return "reject"
	case Dunno:
		return "dunno"
	}
	return fmt.Sprintf("Action(%d)", a)
}

// Entry is one rule of a file.
type Entry struct {
	Line   int // of the file, from 1; 0 in a table that was made by Of
	Action Action
	Reply  string // Reject: the reply line without CRLF, such as "554 5.7.1 go away"; empty if the file has none
}

// Table answers which entry of a list matches an address. It never changes, and any number of goroutines may use it.
type Table struct {
	name     string
	networks bart.Table[uint32] // values are indices of entries
	entries  []entry
	results  []result // the distinct results: a million lines share few

	unreachable int
	firstLine   int // of the first unreachable entry
}

type entry struct{ line, result uint32 }

type result struct {
	action Action
	reply  string
}

// Name returns the name of the file.
func (t *Table) Name() string { return t.name }

// Len returns the number of entries; Lookup's answers are below it.
func (t *Table) Len() int { return len(t.entries) }

// Lookup returns the number of the first entry that matches a, from 0. An IPv4 address may be in its mapped form; a zone
// is ignored. It allocates nothing.
func (t *Table) Lookup(a netip.Addr) (int, bool) {
	if a = a.Unmap(); a.Zone() != "" {
		a = a.WithZone("")
	}
	i, ok := t.networks.Lookup(a)
	return int(i), ok
}

// Overlaps reports whether an entry matches an address of a network.
func (t *Table) Overlaps(p netip.Prefix) bool { return t.networks.OverlapsPrefix(p.Masked()) }

// Entry returns the entry with the number i.
func (t *Table) Entry(i int) Entry {
	e := t.entries[i]
	r := t.results[e.result]
	return Entry{Line: int(e.line), Action: r.action, Reply: r.reply}
}

// Unreachable returns how many entries can never match, because entries before them take all their addresses or because
// they contradict the if around them, and the line of the first of these.
func (t *Table) Unreachable() (count, firstLine int) { return t.unreachable, t.firstLine }

// Of returns a table of networks that stand in no file of their own; entry i is networks[i]. Host bits are ignored.
func Of(name string, networks ...netip.Prefix) (*Table, error) {
	b := newBuilder(name)
	for _, p := range networks {
		if !p.IsValid() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("%s: %v is no network of IPv4 or IPv6 addresses", name, p)
		}
		if err := b.add(0, result{}, []netip.Prefix{p.Masked()}); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return b.table, nil
}

// builder fills a table. An entry that comes later never takes an address from one that came earlier, so a prefix is left
// out if a prefix that contains it is there already. Then the longest prefix that contains an address, which is what the
// table finds, belongs to the first entry that matches it: any shorter one was added later.
type builder struct {
	table    *Table
	interned map[result]uint32
	pieces   int
}

// maxPieces bounds the prefixes that all entries together are made of. A negated entry has up to 128 of them.
const maxPieces = 8_000_000

func newBuilder(name string) *builder {
	return &builder{table: &Table{name: name}, interned: map[result]uint32{}}
}

// add appends an entry that matches the addresses of the given prefixes.
func (b *builder) add(line int, r result, prefixes []netip.Prefix) error {
	if b.pieces += len(prefixes); b.pieces > maxPieces {
		return fmt.Errorf("the negated patterns up to here come to more than %d networks", maxPieces)
	}
	t := b.table
	id, known := b.interned[r]
	if !known {
		id = uint32(len(t.results))
		b.interned[r], t.results = id, append(t.results, r)
	}
	number := uint32(len(t.entries))
	t.entries = append(t.entries, entry{uint32(line), id})
	reached := false
	for _, p := range prefixes {
		if _, taken := t.networks.LookupPrefix(p); !taken {
			t.networks.Insert(p, number)
			reached = true
		}
	}
	if !reached {
		if t.unreachable++; t.unreachable == 1 {
			t.firstLine = line
		}
	}
	return nil
}

// Result is what an entry says of the addresses that it matches, without the line where it says so.
type Result struct {
	Action Action
	Reply  string // as in Entry
}

// Results returns the distinct results of the entries. There are few of them, however many entries there are.
func (t *Table) Results() []Result {
	out := make([]Result, len(t.results))
	for i, r := range t.results {
		out[i] = Result{r.action, r.reply}
	}
	return out
}

// LookupResult returns the number, in Results, of what the first entry that matches a says. It allocates nothing.
func (t *Table) LookupResult(a netip.Addr) (int, bool) {
	i, ok := t.Lookup(a)
	if !ok {
		return 0, false
	}
	return int(t.entries[i].result), true
}
