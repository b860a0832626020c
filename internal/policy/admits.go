package policy

import (
	"net/netip"

	"hushgate/internal/wire"
)

// Network is an address with the length of its prefix, up to 32 for IPv4.
type Network struct {
	Addr wire.Addr
	Bits uint8
}

// String returns the address, or the network in CIDR notation.
func (n Network) String() string {
	if n.Whole() {
		return n.Addr.String()
	}
	return netip.PrefixFrom(n.Addr.Netip(), int(n.Bits)).String()
}

// Client returns the client that an address belongs to.
func (t *Table) Client(a wire.Addr) Network {
	return Network{t.prefixes.cut(a), t.prefixes.bits(a)}
}

// Whole reports whether the network is one address.
func (n *Network) Whole() bool { return n.Bits == 128 || n.Addr.Is4() && n.Bits == 32 }

// Favours reports whether a rule lets an address of a network in, or has its early talk observed, in any frontend. Such a network must
// not be kept out as a whole. Where that depends on more than the address, it is assumed.
func (t *Table) Favours(n Network) bool {
	for i := range t.frontends {
		if t.favoured(t.frontends[i].access, &n) {
			return true
		}
	}
	return false
}

// favoured goes through the rules as access does. For one address the first rule that surely holds decides.
func (t *Table) favoured(rules []rule, n *Network) bool {
	for i := range rules {
		r := &rules[i]
		may, surely := t.may(r.when, n)
		if !may {
			continue
		}
		if r.kind == OutcomeByList {
			if favours, decides := t.listFavours(r, n); favours {
				return true
			} else if !decides {
				continue
			}
		}
		switch {
		case r.kind == OutcomeAccept, r.kind == OutcomeTalk && t.observes(r):
			return true
		case surely:
			return false
		}
	}
	return false
}

// observes reports whether a rule has early talk observed alone.
func (t *Table) observes(r *rule) bool {
	return t.treatments[r.base.normal.pick(PassUnused, false, false)].Talk == TalkObserve
}

// listFavours reports whether a list lets an address of a network in, and otherwise whether it says what becomes of all of them.
func (t *Table) listFavours(r *rule, n *Network) (favours, decides bool) {
	list := t.lists[r.list].List
	if n.Whole() {
		answer, in := list.Lookup(n.Addr)
		return in && r.answers[answer].kind == OutcomeAccept, in
	}
	if !list.Overlaps(n.Addr, n.Bits) {
		return false, false
	}
	for i := range r.answers {
		favours = favours || r.answers[i].kind == OutcomeAccept
	}
	return favours, false
}

// may reports whether a condition may hold for an address of a network, and whether it surely holds for all of them.
func (t *Table) may(c Condition, n *Network) (may, surely bool) {
	if len(c) == 0 {
		return true, true
	}
	for _, and := range c {
		all, sure := true, true
		for i := range and {
			m, s := t.termMay(&and[i], n)
			all, sure = all && m, sure && s
		}
		may, surely = may || all, surely || all && sure
	}
	return may, surely
}

func (t *Table) termMay(term *Term, n *Network) (may, surely bool) {
	for _, test := range term.Any {
		if test.Kind != TestList {
			may = true // it depends on the connection
			continue
		}
		list := t.lists[test.List].List
		if n.Whole() {
			_, in := list.Lookup(n.Addr)
			may, surely = may || in, surely || in
		} else {
			may = may || list.Overlaps(n.Addr, n.Bits)
		}
	}
	if term.Not {
		return !surely, !may
	}
	return may, surely
}
