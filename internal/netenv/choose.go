package netenv

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ErrDown reports that an interface which the gateway needs is down.
var ErrDown = errors.New("the link is down")

// Wanted is what the configuration says about interfaces and addresses.
type Wanted struct {
	Outside, Inside []string         // interfaces named; empty: to be found
	Services        []netip.AddrPort // addresses that clients connect to; unspecified: every address of the outside
	Servers         []netip.Addr
	Answering       []netip.Addr // those of Servers that answer this machine, whatever their routes to clients are
	Announce        bool         // service addresses on no interface are answered for
}

// routed lists the servers that answer clients, by way of this machine.
func (w *Wanted) routed() []netip.Addr {
	return slices.DeleteFunc(slices.Clone(w.Servers), func(s netip.Addr) bool { return slices.Contains(w.Answering, s) })
}

// Chosen is what came of it.
type Chosen struct {
	Outside, Inside []*Link
	Services        []netip.AddrPort // none unspecified
	Reasons         []string         // why each interface, in words, for the log
	Warnings        []string
}

// neighbourhood is what Choose needs to know of the machine; Mirror is one.
type neighbourhood interface {
	Links() map[string]*Link
	RouteTo(netip.Addr) (*Link, netip.Addr, bool)
	DefaultRoutes() []*Link
}

// Choose finds out which interface is the outside and which the inside. The inside is where the routes to the servers
// lead; the outside carries the service addresses or, if they are on none, the default route.
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
		case !l.Ethernet:
			return nil, fmt.Errorf("interface %s is not Ethernet", l.Name)
		case !l.Up:
			return nil, fmt.Errorf("interface %s: %w", l.Name, ErrDown)
		}
	}
	if err := c.expand(w); err != nil {
		return nil, err
	}
	c.warn(n, w)
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
	if slices.ContainsFunc(list, func(k *Link) bool { return k.Index == l.Index }) {
		return list
	}
	return append(list, l)
}

func (c *Chosen) findInside(n neighbourhood, w Wanted) (err error) {
	if len(w.Inside) > 0 {
		c.Inside, err = named(n, w.Inside)
		c.Reasons = append(c.Reasons, "inside "+strings.Join(w.Inside, ", ")+": named in the configuration")
		return err
	}
	for _, s := range w.Servers {
		l, _, ok := n.RouteTo(s)
		if !ok {
			return fmt.Errorf("there is no route to the server %v", s)
		}
		if before := len(c.Inside); len(add(c.Inside, l)) > before {
			c.Inside = add(c.Inside, l)
			c.Reasons = append(c.Reasons, fmt.Sprintf("inside %s: the route to the server %v goes there", l.Name, s))
		}
	}
	return nil
}

func (c *Chosen) findOutside(n neighbourhood, w Wanted) (err error) {
	if len(w.Outside) > 0 {
		c.Outside, err = named(n, w.Outside)
		c.Reasons = append(c.Reasons, "outside "+strings.Join(w.Outside, ", ")+": named in the configuration")
		return err
	}
	take := func(l *Link, why string) {
		if before := len(c.Outside); len(add(c.Outside, l)) > before {
			c.Outside = add(c.Outside, l)
			c.Reasons = append(c.Reasons, fmt.Sprintf("outside %s: %s", l.Name, why))
		}
	}
	for _, s := range w.Services {
		if l := holder(n, s.Addr()); l != nil {
			take(l, fmt.Sprintf("it has the service address %v", s.Addr()))
		}
	}
	if len(c.Outside) > 0 {
		return nil
	}
	for _, l := range n.DefaultRoutes() {
		take(l, "the default route goes there")
	}
	if len(c.Outside) > 0 {
		return nil
	}
	// No default route: whatever Ethernet interface with an address is not the inside, if there is just one.
	var rest []*Link
	for _, l := range n.Links() {
		if l.Ethernet && len(global(l)) > 0 && !slices.ContainsFunc(c.Inside, func(k *Link) bool { return k.Index == l.Index }) {
			rest = append(rest, l)
		}
	}
	if len(rest) == 1 {
		take(rest[0], "it is the only other interface with an address")
		return nil
	}
	return fmt.Errorf("cannot tell which interface is the outside (no service address on any, no default route): name it")
}

func holder(n neighbourhood, a netip.Addr) *Link {
	if a.IsUnspecified() {
		return nil
	}
	for _, l := range n.Links() {
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

// expand replaces the unspecified address by every address of the outside, of its family.
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
		for _, l := range c.Outside {
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
	oneArm := slices.ContainsFunc(c.Outside, func(o *Link) bool {
		return slices.ContainsFunc(c.Inside, func(i *Link) bool { return i.Index == o.Index })
	})
	if oneArm && len(w.routed()) > 0 {
		c.Warnings = append(c.Warnings, "outside and inside are one interface: the servers need this machine as their "+
			"default gateway, and send_redirects must be off")
	}
	for _, s := range w.Servers {
		l, gw, ok := n.RouteTo(s)
		switch {
		case !ok:
			c.Warnings = append(c.Warnings, fmt.Sprintf("there is no route to the server %v", s))
		case !slices.ContainsFunc(c.Inside, func(k *Link) bool { return k.Index == l.Index }):
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
					"it get the servers' answers past this machine", p.Masked()))
			}
		}
	}
}
