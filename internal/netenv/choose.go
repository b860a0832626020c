package netenv

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ErrDown reports that an interface that the gateway needs is down.
var ErrDown = errors.New("the link is down")

// Wanted is what the configuration says about interfaces and addresses.
type Wanted struct {
	Outside, Inside []string         // names of interfaces; empty: to be found
	Services        []netip.AddrPort // addresses that clients connect to; unspecified: every address of the outside
	Servers         []netip.Addr
	Answering       []netip.Addr // those of Servers that answer this machine, whatever their routes to clients
	Announce        bool         // hushgate answers for service addresses that are on no interface
	AnyWay          bool         // answers to clients may also leave by the inside
}

// routed lists the servers that answer clients through this machine.
func (w *Wanted) routed() []netip.Addr {
	return slices.DeleteFunc(slices.Clone(w.Servers), func(s netip.Addr) bool { return slices.Contains(w.Answering, s) })
}

// Chosen is the result of Choose.
type Chosen struct {
	Outside, Inside []*Link
	Services        []netip.AddrPort // none is unspecified
	Reasons         []string         // why each interface was chosen, in words, for the log
	Warnings        []string

	// first are the outside interfaces that were named, or that have the service addresses. An unspecified service address
	// stands for their addresses.
	first []*Link
	// spare are interfaces that clients or answers can use but do not need. They may be down.
	spare []*Link
}

// neighbourhood is what Choose needs to know about the machine. Mirror implements it.
type neighbourhood interface {
	Links() map[string]*Link
	RouteTo(netip.Addr) (*Link, netip.Addr, bool)
	Ways(src netip.Addr) (defaults, others []*Link)
	Unread() []string
}

// Choose finds out which interfaces are the outside and which the inside. The inside is where the routes to the servers
// lead. The outside is where clients reach the service addresses or, if those are on no interface, where the default route
// leads. Interfaces by which answers to clients leave belong to the outside too, whatever the route.
func Choose(n neighbourhood, w Wanted) (*Chosen, error) {
	c := &Chosen{}
	if err := c.findInside(n, w); err != nil {
		return nil, err
	}
	if err := c.findOutside(n, w); err != nil {
		return nil, err
	}
	for _, l := range slices.Concat(c.Outside, c.Inside) {
		switch {
		case l.Nowhere:
			return nil, fmt.Errorf("interface %s receives no packets from other machines: leave the interface out, or name the interfaces by "+
				"which clients and servers are reached", l.Name)
		case !l.Ethernet:
			return nil, fmt.Errorf("interface %s is not Ethernet, which hushgate needs", l.Name)
		case !l.Up && !among(c.spare, l):
			return nil, fmt.Errorf("interface %s: %w", l.Name, ErrDown)
		}
	}
	if err := c.expand(w); err != nil {
		return nil, err
	}
	c.warn(n, w)
	c.warnOfWays(n, w)
	c.Warnings = append(c.Warnings, n.Unread()...)
	return c, nil
}

func named(n neighbourhood, names []string) ([]*Link, error) {
	var list []*Link
	for _, name := range names {
		l := n.Links()[name]
		if l == nil {
			return nil, fmt.Errorf("there is no interface %s", name)
		}
		list = append(list, l)
	}
	return list, nil
}

func add(list []*Link, l *Link) []*Link {
	if among(list, l) {
		return list
	}
	return append(list, l)
}

func among(links []*Link, l *Link) bool {
	return slices.ContainsFunc(links, func(k *Link) bool { return k.Index == l.Index })
}

// take adds an interface to a side, with the reason.
func (c *Chosen) take(side *[]*Link, name string, l *Link, why string) {
	if !among(*side, l) {
		*side = append(*side, l)
		c.Reasons = append(c.Reasons, fmt.Sprintf("%s %s: %s", name, l.Name, why))
	}
}

func (c *Chosen) findInside(n neighbourhood, w Wanted) (err error) {
	if len(w.Inside) > 0 {
		c.Inside, err = named(n, w.Inside)
		c.Reasons = append(c.Reasons, "inside "+strings.Join(w.Inside, ", ")+": named in the configuration")
	} else {
		for _, s := range w.Servers {
			l, _, ok := n.RouteTo(s)
			if !ok {
				return fmt.Errorf("there is no route to the server %v", s)
			}
			c.take(&c.Inside, "inside", l, fmt.Sprintf("the route to the server %v goes there", s))
		}
	}
	c.widen(n, &c.Inside, "inside")
	return err
}

// widen adds to a side the macvlans above its interfaces, and the interfaces below its macvlans. keepalived (use_vmac) puts
// addresses on a macvlan, so frames to them come in there, while the routes still leave by the interface below.
func (c *Chosen) widen(n neighbourhood, side *[]*Link, name string) {
	for i := 0; i < len(*side); i++ { // the list grows meanwhile
		l := (*side)[i]
		for _, k := range byIndex(n) {
			switch {
			case k.MAC == l.MAC || !k.Ethernet: // both would receive the same frames
				continue
			case l.Parent == k.Index:
				c.take(side, name, k, "it is below "+l.Name)
			case k.Parent == l.Index:
				c.take(side, name, k, "it is a macvlan above "+l.Name)
			default:
				continue
			}
			c.spare = add(c.spare, k)
		}
	}
}

func byIndex(n neighbourhood) (list []*Link) {
	for _, l := range n.Links() {
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b *Link) int { return a.Index - b.Index })
	return list
}

func (c *Chosen) findOutside(n neighbourhood, w Wanted) (err error) {
	if len(w.Outside) > 0 {
		if c.Outside, err = named(n, w.Outside); err != nil {
			return err
		}
		c.Reasons = append(c.Reasons, "outside "+strings.Join(w.Outside, ", ")+": named in the configuration")
		c.widen(n, &c.Outside, "outside")
		c.first = c.Outside
		return nil
	}
	for _, s := range w.Services {
		switch l := holder(n, s.Addr()); {
		case l == nil:
		case l.Nowhere:
			c.everywhere(n, s.Addr(), l)
		default:
			c.take(&c.Outside, "outside", l, fmt.Sprintf("it has the service address %v", s.Addr()))
		}
	}
	if len(c.Outside) == 0 {
		if err := c.byDefault(n, w); err != nil {
			return err
		}
	}
	c.widen(n, &c.Outside, "outside")
	c.first = slices.Clone(c.Outside)
	c.addWays(n, w)
	return nil
}

// byDefault takes the interfaces of the default routes, or the only interface that is not the inside.
func (c *Chosen) byDefault(n neighbourhood, w Wanted) error {
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	var families []netip.Addr
	for _, s := range w.Services {
		families = append(families, unspecified(s.Addr()))
	}
	for _, try := range [][]netip.Addr{families, {any4, any6}} {
		for _, a := range try {
			defaults, _ := n.Ways(a)
			for _, l := range defaults {
				c.take(&c.Outside, "outside", l, "the default route goes there")
			}
		}
		if len(c.Outside) > 0 {
			return nil
		}
	}
	var rest []*Link
	for _, l := range byIndex(n) {
		if l.Ethernet && !l.Nowhere && len(global(l)) > 0 && !among(c.Inside, l) {
			rest = append(rest, l)
		}
	}
	if len(rest) == 1 {
		c.take(&c.Outside, "outside", rest[0], "it is the only other interface with an address")
		return nil
	}
	return fmt.Errorf("the outside interface cannot be found (no interface has a service address, and there is no default route): name it")
}

// everywhere is for a service address on the loopback or a dummy, which clients reach by any interface. It takes all
// interfaces with an address except the inside, and the interface of the default route.
func (c *Chosen) everywhere(n neighbourhood, a netip.Addr, on *Link) {
	why := fmt.Sprintf("the service address %v is on %s, and clients reach it by any interface", a, on.Name)
	defaults, _ := n.Ways(a)
	for _, l := range byIndex(n) {
		usable := l.Ethernet && !l.Nowhere && !l.Enslaved
		if usable && (among(defaults, l) || len(global(l)) > 0 && !among(c.Inside, l)) {
			c.take(&c.Outside, "outside", l, why)
			if !among(defaults, l) {
				c.spare = add(c.spare, l)
			}
		}
	}
}

// addWays adds the interfaces by which answers may leave, because clients behind the routers there may come in by them too.
// It does not add the inside, where no answer to a client belongs.
func (c *Chosen) addWays(n neighbourhood, w Wanted) {
	for _, s := range w.Services {
		defaults, others := n.Ways(s.Addr())
		for _, l := range slices.Concat(defaults, others) {
			if l.Ethernet && !l.Nowhere && !among(c.Inside, l) && !among(c.Outside, l) {
				c.take(&c.Outside, "outside", l, "there are routes to clients that leave by it")
				c.spare = add(c.spare, l)
			}
		}
	}
}

func holder(n neighbourhood, a netip.Addr) *Link {
	if a.IsUnspecified() {
		return nil
	}
	for _, l := range byIndex(n) {
		for _, p := range l.Addrs {
			if p.Addr() == a {
				return l
			}
		}
	}
	return nil
}

// global returns the addresses of an interface that clients can reach.
func global(l *Link) (list []netip.Addr) {
	for _, p := range l.Addrs {
		if a := p.Addr(); !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

// expand replaces an unspecified address with every outside address of its family.
func (c *Chosen) expand(w Wanted) error {
	put := func(a netip.AddrPort) {
		if !slices.Contains(c.Services, a) {
			c.Services = append(c.Services, a)
		}
	}
	for _, s := range w.Services {
		if !s.Addr().IsUnspecified() {
			put(s)
			continue
		}
		for _, l := range c.first {
			for _, a := range global(l) {
				if a.Is4() == s.Addr().Is4() && !slices.Contains(w.Servers, a) {
					put(netip.AddrPortFrom(a, s.Port()))
				}
			}
		}
	}
	if len(c.Services) == 0 {
		return fmt.Errorf("no service address: the outside has none, and the configuration names none")
	}
	return nil
}

func (c *Chosen) warn(n neighbourhood, w Wanted) {
	oneArm := c.OneArm()
	if oneArm && len(w.routed()) > 0 {
		c.Warnings = append(c.Warnings, "outside and inside are one interface: the servers need this machine as their "+
			"default gateway, and send_redirects must be off")
	}
	for _, s := range w.Servers {
		l, gw, ok := n.RouteTo(s)
		switch {
		case !ok:
			c.Warnings = append(c.Warnings, fmt.Sprintf("there is no route to the server %v", s))
		case !among(c.Inside, l):
			c.Warnings = append(c.Warnings, fmt.Sprintf("the route to the server %v leaves by %s, which is not the inside", s, l.Name))
		case gw.IsValid() && !slices.Contains(w.Answering, s):
			c.Warnings = append(c.Warnings, fmt.Sprintf("the server %v is behind the router %v: its replies must come back "+
				"through this machine", s, gw))
		}
	}
	for _, l := range c.Inside {
		for _, p := range l.Addrs {
			if !oneArm && slices.ContainsFunc(w.routed(), p.Masked().Contains) && slices.ContainsFunc(c.Services, func(a netip.AddrPort) bool {
				return p.Masked().Contains(a.Addr())
			}) {
				c.Warnings = append(c.Warnings, fmt.Sprintf("servers and a service address share the network %v: clients in "+
					"it get the servers' answers directly, not through this machine", p.Masked()))
			}
		}
	}
}

// OneArm reports whether an interface belongs to both sides.
func (c *Chosen) OneArm() bool {
	return slices.ContainsFunc(c.Outside, func(o *Link) bool { return among(c.Inside, o) })
}

// warnOfWays warns of service addresses whose answers leave by another interface than the one where their clients come in.
func (c *Chosen) warnOfWays(n neighbourhood, w Wanted) {
	told := map[netip.Addr]bool{}
	for _, s := range c.Services {
		if told[s.Addr()] {
			continue
		}
		told[s.Addr()] = true
		defaults, _ := n.Ways(s.Addr())
		for _, l := range defaults {
			if words := c.wayOf(n, w, s.Addr(), l); words != "" {
				c.Warnings = append(c.Warnings, words)
			}
		}
	}
}

// wayOf returns a warning about answers from a service address that leave by an interface, or "".
func (c *Chosen) wayOf(n neighbourhood, w Wanted, a netip.Addr, leave *Link) string {
	come := holder(n, a)
	switch {
	case among(c.Outside, leave):
		if come == nil || come.Nowhere || come.Index == leave.Index || come.Parent == leave.Index || !among(c.Outside, come) {
			return ""
		}
		if defaults, _ := n.Ways(a); among(defaults, come) {
			return ""
		}
		return fmt.Sprintf("clients of %v come in by %s, and the default route leaves by %s: answers go that way, and a provider "+
			"there may drop them for their address. To have them leave by %s: ip rule add from %v lookup 100, with a default route "+
			"in that table", a, come.Name, leave.Name, come.Name, a)
	case among(c.Inside, leave) && w.AnyWay:
		return ""
	case among(c.Inside, leave):
		return fmt.Sprintf("the default route for answers from %v leaves by %s, which is the inside: clients beyond the outside's own "+
			"networks (%s) get no answer. Give it a default route by the outside; or name %s as an outside too (`outside` in YAML); "+
			"or set `reverse-path: loose`", a, leave.Name, names(c.Outside), leave.Name)
	case !leave.Ethernet || leave.Nowhere:
		return fmt.Sprintf("the default route for answers from %v leaves by %s, which is not Ethernet: clients there get no answer",
			a, leave.Name)
	}
	return fmt.Sprintf("the default route for answers from %v leaves by %s, which is not an outside interface: clients beyond the "+
		"networks of %s get no answer. Name both (in YAML `outside: [%s]`), or none (no `outside`, no `interface` after "+
		"`bind`): hushgate finds them", a, leave.Name, names(c.Outside), strings.ReplaceAll(names(c.Outside)+" "+leave.Name, " ", ", "))
}

func names(links []*Link) string {
	var list []string
	for _, l := range links {
		list = append(list, l.Name)
	}
	return strings.Join(list, " ")
}
