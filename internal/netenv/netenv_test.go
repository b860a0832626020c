package netenv

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"hushgate/internal/lab"
	"hushgate/internal/needroot"
	"hushgate/internal/wire"
)

// fake is a machine for Choose.
type fake struct {
	links    []*Link
	routes   map[string]string // destination network to interface
	defaults []string
	routers  []string // interfaces of further routes to routers
}

func (f fake) Links() map[string]*Link {
	m := map[string]*Link{}
	for _, l := range f.links {
		m[l.Name] = l
	}
	return m
}

func (f fake) RouteTo(a netip.Addr) (*Link, netip.Addr, bool) {
	for n, name := range f.routes {
		if netip.MustParsePrefix(n).Contains(a) {
			return f.Links()[name], netip.Addr{}, true
		}
	}
	if defaults, _ := f.Ways(a); len(defaults) > 0 {
		return defaults[0], netip.MustParseAddr("192.0.2.254"), true
	}
	return nil, netip.Addr{}, false
}

func (f fake) Ways(netip.Addr) (defaults, others []*Link) {
	for _, d := range f.defaults {
		defaults = append(defaults, f.Links()[d])
	}
	for _, o := range f.routers {
		others = append(others, f.Links()[o])
	}
	return defaults, others
}

func (f fake) Unread() []string { return nil }

func link(index int, name string, addrs ...string) *Link {
	l := &Link{Name: name, Index: index, Up: true, Ethernet: true, MTU: 1500}
	for _, a := range addrs {
		l.Addrs = append(l.Addrs, netip.MustParsePrefix(a))
	}
	return l
}

func TestChoose(t *testing.T) {
	lo := &Link{Name: "lo", Index: 9, Up: true, Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}
	out := link(1, "out", "192.0.2.25/24", "fe80::1/64", "2001:db8:1::25/64")
	in := link(2, "in", "10.0.0.1/24")
	two := fake{links: []*Link{lo, out, in}, routes: map[string]string{"10.0.0.0/24": "in", "192.0.2.0/24": "out"}, defaults: []string{"out"}}
	any4, any6 := netip.MustParseAddrPort("0.0.0.0:25"), netip.MustParseAddrPort("[::]:25")
	server := []netip.Addr{netip.MustParseAddr("10.0.0.11")}
	down := *in
	down.Up = false
	tun := *out
	tun.Ethernet = false
	for _, c := range []struct {
		name             string
		on               fake
		w                Wanted
		outside, inside  string
		services, warned string
		err              string
	}{
		{"two arms", two, Wanted{Services: []netip.AddrPort{any4}, Servers: server}, "out", "in", "192.0.2.25:25", "", ""},
		{
			"both families", two,
			Wanted{Services: []netip.AddrPort{any4, any6}, Servers: server},
			"out", "in",
			"192.0.2.25:25 [2001:db8:1::25]:25", "", "",
		},
		{
			"an address that is there", two,
			Wanted{Services: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.25:25")}, Servers: server},
			"out", "in", "192.0.2.25:25", "", "",
		},
		{
			"an address that is nowhere", two,
			Wanted{Services: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:25")}, Servers: server},
			"out", "in", "203.0.113.1:25", "", "",
		},
		{
			"no default route",
			fake{links: two.links, routes: two.routes},
			Wanted{Services: []netip.AddrPort{any4}, Servers: server},
			"out", "in", "192.0.2.25:25", "", "",
		},
		{
			"one arm",
			fake{links: []*Link{lo, out}, routes: map[string]string{"192.0.2.0/24": "out"}, defaults: []string{"out"}},
			Wanted{Services: []netip.AddrPort{any4}, Servers: []netip.Addr{netip.MustParseAddr("192.0.2.11")}},
			"out", "out", "192.0.2.25:25",
			"one interface", "",
		},
		{
			"a router before the server", two,
			Wanted{Services: []netip.AddrPort{any4}, Servers: []netip.Addr{netip.MustParseAddr("10.9.0.11")}, Inside: []string{"in"}},
			"out", "in", "192.0.2.25:25", "not the inside", "",
		},
		{"unknown name", two, Wanted{Outside: []string{"eth7"}, Services: []netip.AddrPort{any4}, Servers: server}, "", "", "", "", "no interface eth7"},
		{
			"down",
			fake{links: []*Link{lo, out, &down}, routes: two.routes, defaults: two.defaults},
			Wanted{Services: []netip.AddrPort{any4}, Servers: server},
			"", "", "", "", "interface in: the link is down",
		},
		{
			"no Ethernet",
			fake{links: []*Link{lo, &tun, in}, routes: two.routes, defaults: two.defaults},
			Wanted{Services: []netip.AddrPort{any4}, Servers: server},
			"", "", "", "", "out is not Ethernet",
		},
		{"no route", fake{links: two.links}, Wanted{Services: []netip.AddrPort{any4}, Servers: server}, "", "", "", "", "no route to the server 10.0.0.11"},
	} {
		got, err := Choose(c.on, c.w)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(c.err, "down") != errors.Is(err, ErrDown) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var services []string
		for _, s := range got.Services {
			services = append(services, s.String())
		}
		if names(got.Outside) != c.outside || names(got.Inside) != c.inside || strings.Join(services, " ") != c.services ||
			(len(got.Warnings) > 0) != (c.warned != "") || !strings.Contains(strings.Join(got.Warnings, "|"), c.warned) {
			t.Errorf("%s: outside %s, inside %s, services %v, warnings %q", c.name, names(got.Outside), names(got.Inside), services, got.Warnings)
		}
	}
}

// anySource is a source address that matches no policy rule.
var anySource = wire.AddrFrom(netip.IPv4Unspecified())

// pair is a machine with a mirror, and its neighbour.
type pair struct {
	here, there *lab.Host
	mirror      *Mirror
	changed     chan struct{}
}

func newPair(t *testing.T) *pair {
	t.Helper()
	needroot.Skip(t, "network namespaces")
	p := &pair{changed: make(chan struct{}, 1)}
	for _, h := range []struct {
		host **lab.Host
		name string
	}{{&p.here, "here"}, {&p.there, "there"}} {
		var err error
		if *h.host, err = lab.NewHost(h.name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = (*h.host).Close() })
	}
	must(t, lab.Connect(p.here, "eth0", p.there, "eth0", 1400))
	for _, a := range []struct {
		h    *lab.Host
		addr string
	}{{p.here, "10.0.0.1/24"}, {p.here, "2001:db8:2::1/64"}, {p.there, "10.0.0.11/24"}, {p.there, "2001:db8:2::11/64"}} {
		must(t, a.h.Addr("eth0", a.addr))
	}
	must(t, p.here.WaitUp("eth0"))
	must(t, p.there.WaitUp("eth0"))
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	// The mirror's subscriptions are made on this thread, and keep its namespace. Its later requests must be made there too,
	// so that all of it runs in the namespace.
	must(t, p.here.Do(func() (err error) {
		p.mirror, err = NewMirror(ctx, slog.New(slog.DiscardHandler), func() {
			select {
			case p.changed <- struct{}{}:
			default:
			}
		})
		return err
	}))
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits until the mirror has reached a state. It checks at each change, and now and then.
func (p *pair) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-p.changed:
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

func (p *pair) resolved(dst string) (Hop, bool) {
	hop, state := p.mirror.Resolve(anySource, wire.AddrFrom(netip.MustParseAddr(dst)))
	return hop, state == Resolved
}

func macOf(t *testing.T, h *lab.Host) (mac [6]byte) {
	t.Helper()
	must(t, h.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err == nil {
			mac = [6]byte(ifi.HardwareAddr)
		}
		return err
	}))
	return mac
}

func TestMirror(t *testing.T) {
	p := newPair(t)
	for _, dst := range []string{"10.0.0.11", "2001:db8:2::11"} {
		a := wire.AddrFrom(netip.MustParseAddr(dst))
		if _, state := p.mirror.Resolve(anySource, a); state != Unresolved {
			t.Errorf("%s is %v before any question", dst, state)
		}
		p.until(t, dst+" to be resolved", func() bool {
			p.mirror.Probe(anySource, a)
			hop, ok := p.resolved(dst)
			return ok && hop.Dst == macOf(t, p.there) && hop.Src == macOf(t, p.here) && hop.MTU == 1400
		})
	}
	if _, state := p.mirror.Resolve(anySource, wire.AddrFrom(netip.MustParseAddr("192.0.2.7"))); state != NoRoute {
		t.Errorf("without a route: %v", state)
	}
	ip := func(h *lab.Host, args ...string) {
		t.Helper()
		_, err := h.Run(t.Context(), "ip", args...)
		must(t, err)
	}
	ip(p.here, "route", "add", "default", "via", "10.0.0.11")
	p.until(t, "the default route", func() bool { _, ok := p.resolved("192.0.2.7"); return ok })
	if list, _ := p.mirror.Ways(netip.IPv4Unspecified()); len(list) != 1 || list[0].Name != "eth0" {
		t.Errorf("default routes %v", list)
	}
	ip(p.here, "route", "add", "blackhole", "192.0.2.0/25")
	ip(p.here, "route", "replace", "default", "via", "10.0.0.12")
	p.until(t, "the new gateway", func() bool {
		_, state := p.mirror.Resolve(anySource, wire.AddrFrom(netip.MustParseAddr("192.0.2.200")))
		return state == Unresolved
	})

	// The neighbour gets another link address.
	ip(p.there, "link", "set", "eth0", "address", "02:00:00:00:00:77")
	ip(p.here, "neigh", "replace", "10.0.0.11", "lladdr", "02:00:00:00:00:77", "dev", "eth0", "nud", "stale")
	p.until(t, "the new link address", func() bool {
		hop, ok := p.resolved("10.0.0.11")
		return ok && hop.Dst == [6]byte{2, 0, 0, 0, 0, 0x77}
	})
	p.until(t, "the kernel to be told that the entry is used", func() bool { // otherwise the kernel would make the entry again
		out, err := p.here.Run(t.Context(), "ip", "neigh", "show", "10.0.0.11")
		must(t, err)
		return !strings.Contains(out, "STALE")
	})
	ip(p.here, "neigh", "del", "10.0.0.11", "dev", "eth0")
	p.until(t, "the entry to go", func() bool { _, ok := p.resolved("10.0.0.11"); return !ok })

	ip(p.there, "link", "set", "eth0", "down")
	p.until(t, "the link to go down", func() bool {
		_, state := p.mirror.Resolve(anySource, wire.AddrFrom(netip.MustParseAddr("10.0.0.11")))
		return state == LinkDown
	})
	ip(p.there, "link", "set", "eth0", "up")
	p.until(t, "the link to come back", func() bool {
		p.mirror.Probe(anySource, wire.AddrFrom(netip.MustParseAddr("10.0.0.11")))
		_, ok := p.resolved("10.0.0.11")
		return ok
	})
	if a := p.mirror.Addresses(); len(a) < 4 {
		t.Errorf("addresses %v", a)
	}
	dst := wire.AddrFrom(netip.MustParseAddr("10.0.0.11"))
	if n := testing.AllocsPerRun(1000, func() { p.mirror.Resolve(anySource, dst) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSysctls(t *testing.T) {
	c := &Chosen{
		Outside: []*Link{link(1, "eth0")}, Inside: []*Link{link(1, "eth0")},
		Services: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:25")},
	}
	list := Sysctls(c)
	if len(list) != 4 || list[0].Name() != "net.ipv4.ip_forward" {
		t.Errorf("%+v", list)
	}
	bad := Sysctl{Path: "net/nonexistent", Want: "1"}
	if w := Warnings([]Sysctl{bad}); len(w) != 1 {
		t.Errorf("%q", w)
	}
}
