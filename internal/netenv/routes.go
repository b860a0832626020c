package netenv

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// network is a snapshot of links, routes and the policy rules that choose among routing tables.
type network struct {
	links  map[int]*Link
	tables map[int]*bart.Table[route]
	rules  [2][]rule             // by family, in the kernel's order
	only   [2]*bart.Table[route] // the only table that applies, for a family with just one rule
	ways   map[way]int           // with the lowest metric
	unread []string              // rules that are not followed
}

// way says that a table sends packets by an interface to a router, or to all destinations without a router.
type way struct {
	table, ifindex int
	v6, everywhere bool // everywhere: it is a default route
}

// kind is what a route does with a packet.
type kind uint8

const (
	unicast kind = iota
	own          // the destination is this machine
	forbid       // blackhole, unreachable, prohibit; or a broadcast address, which is never a TCP peer
	throw        // the next rule decides
)

type route struct {
	ifindex int
	gateway netip.Addr // invalid: on link
	metric  int
	kind    kind
	bits    uint8 // length of the prefix
}

// rule is a policy rule, as far as it concerns TCP packets without a mark.
type rule struct {
	from, to netip.Prefix // invalid: any
	invert   bool
	table    *bart.Table[route]
	id       int // of the table
	suppress int // routes with a prefix of at most this length are ignored; -1: none is
}

func (r *rule) matches(src, dst netip.Addr) bool {
	match := (!r.from.IsValid() || r.from.Contains(src)) && (!r.to.IsValid() || r.to.Contains(dst))
	return match != r.invert
}

// lookup finds the route from src, which may be unspecified, to dst.
func (n *network) lookup(src, dst netip.Addr) (route, bool) {
	if table := n.only[family(dst)]; table != nil {
		v, ok := table.Lookup(dst)
		return v, ok && v.kind != throw
	}
	rules := n.rules[family(dst)]
	for i := range rules {
		r := &rules[i]
		if !r.matches(src, dst) {
			continue
		}
		if v, ok := r.table.Lookup(dst); ok && v.kind != throw && int(v.bits) > r.suppress {
			return v, true
		}
	}
	return route{}, false
}

// family is an index: 0 is IPv4, 1 is IPv6.
func family(a netip.Addr) int {
	if a.Is6() {
		return 1
	}
	return 0
}

// add adds a route. Among several routes for one prefix the one with the lowest metric counts; of a multipath route, the
// first next hop whose link is up.
func (n *network) add(r *netlink.Route, v6 bool) {
	k, ok := kindOf(r.Type)
	if !ok {
		return
	}
	prefix := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if v6 {
		prefix = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if r.Dst != nil {
		prefix = prefixOf(r.Dst).Masked()
	}
	v := route{ifindex: r.LinkIndex, gateway: gatewayOf(r.Gw, r.Via), metric: r.Priority, kind: k, bits: uint8(prefix.Bits())}
	hops := r.MultiPath
	if len(hops) == 0 {
		hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via}}
	}
	up := func(h *netlink.NexthopInfo) bool { l := n.links[h.LinkIndex]; return l != nil && l.Up }
	if at := slices.IndexFunc(hops, up); len(r.MultiPath) > 0 {
		h := hops[max(0, at)]
		v.ifindex, v.gateway = h.LinkIndex, gatewayOf(h.Gw, h.Via)
	}
	table := n.tables[r.Table]
	if table == nil {
		table = &bart.Table[route]{}
		n.tables[r.Table] = table
	}
	if old, known := table.Get(prefix); !known || v.metric < old.metric {
		table.Insert(prefix, v)
	}
	for _, h := range hops {
		if k == unicast && (prefix.Bits() == 0 || gatewayOf(h.Gw, h.Via).IsValid()) {
			w := way{r.Table, h.LinkIndex, v6, prefix.Bits() == 0}
			if metric, known := n.ways[w]; !known || r.Priority < metric {
				n.ways[w] = r.Priority
			}
		}
	}
}

func kindOf(kernel int) (k kind, known bool) {
	switch kernel {
	case unix.RTN_UNICAST, unix.RTN_UNSPEC:
		return unicast, true
	case unix.RTN_LOCAL, unix.RTN_ANYCAST:
		return own, true
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_BROADCAST:
		return forbid, true
	case unix.RTN_THROW:
		return throw, true
	}
	return unicast, false
}

// gatewayOf returns a route's next hop. For IPv4 it may be an IPv6 address (RFC 5549).
func gatewayOf(gw []byte, via netlink.Destination) netip.Addr {
	if v, ok := via.(*netlink.Via); ok && v != nil {
		gw = v.Addr
	}
	a, ok := netip.AddrFromSlice(gw)
	if !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a.Unmap()
}

// addOwn puts this machine's addresses, and broadcast addresses, into every table, because the kernel looks for them before
// any other rule. Other routes to these addresses stay in the table.
func (n *network) addOwn() {
	first := n.tables[unix.RT_TABLE_LOCAL]
	if first == nil {
		return
	}
	for id, table := range n.tables {
		if id == unix.RT_TABLE_LOCAL {
			continue
		}
		for prefix, v := range first.All() {
			if under, ok := table.Lookup(prefix.Addr()); ok {
				v.ifindex, v.gateway = under.ifindex, under.gateway
			}
			table.Insert(prefix, v)
		}
	}
}

// addRules adds the policy rules of a family. addOwn does the work of the rule for the local table.
func (n *network) addRules(list []netlink.Rule, at int) {
	slices.SortStableFunc(list, func(a, b netlink.Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	for i := range list {
		k := &list[i]
		r := rule{invert: k.Invert, id: k.Table, suppress: k.SuppressPrefixlen, table: n.tables[k.Table]}
		switch {
		case k.Table == unix.RT_TABLE_LOCAL:
			continue
		case !k.Invert && !concerns(k):
			continue
		case k.Invert && !concerns(k): // it excludes packets that hushgate never sends, so it applies to all
			r.invert = false
		default:
			if k.Sport != nil || k.Dport != nil || k.UIDRange != nil || k.Goto > 0 || k.Table == 0 && (k.Src != nil || k.Dst != nil) {
				n.unread = append(n.unread, fmt.Sprintf("the policy rule of priority %d (ip rule) is not followed: hushgate only follows rules "+
					"that choose a table by addresses", k.Priority))
				continue
			}
			if k.Src != nil {
				r.from = prefixOf(k.Src)
			}
			if k.Dst != nil {
				r.to = prefixOf(k.Dst)
			}
		}
		if r.table != nil { // otherwise the table has no routes
			n.rules[at] = append(n.rules[at], r)
		}
	}
	if all := n.rules[at]; len(all) == 1 && !all[0].from.IsValid() && !all[0].to.IsValid() && !all[0].invert && all[0].suppress < 0 {
		n.only[at] = all[0].table
	}
}

// concerns reports whether a rule's conditions hold for what hushgate sends: TCP from this machine, without a mark or a type
// of service. Conditions about addresses, ports and users are not considered.
func concerns(k *netlink.Rule) bool {
	mask := ^uint32(0)
	if k.Mask != nil {
		mask = *k.Mask
	}
	return k.Mark&mask == 0 && k.Tos == 0 && k.TunID == 0 && (k.IifName == "" || k.IifName == "lo") && k.OifName == "" &&
		(k.IPProto == 0 || k.IPProto == unix.IPPROTO_TCP)
}

// waysFrom lists the interfaces by which packets from src go to routers: those of default routes first, the lowest metric
// first. defaults is the number of those with a default route of that metric.
func (n *network) waysFrom(src netip.Addr) (list []*Link, defaults int) {
	type candidate struct {
		*Link
		rank   int // 0: default route
		metric int
	}
	var all []candidate
	found := false
	for _, r := range n.rules[family(src)] {
		if found || !r.matches(src, r.to.Addr()) {
			continue
		}
		for w, metric := range n.ways {
			if l := n.links[w.ifindex]; w.table == r.id && w.v6 == src.Is6() && l != nil {
				c := candidate{l, 1, metric}
				if w.everywhere && !r.to.IsValid() && r.suppress < 0 {
					c.rank, found = 0, true
				}
				all = append(all, c)
			}
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.metric, b.metric), cmp.Compare(a.Index, b.Index))
	})
	for _, c := range all {
		list = add(list, c.Link)
		if c.rank == 0 && c.metric == all[0].metric {
			defaults = len(list)
		}
	}
	return list, defaults
}
