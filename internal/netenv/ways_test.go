package netenv

import (
	"net/netip"
	"strings"
	"testing"

	"hushgate/internal/wire"
)

// TestChooseWays: sites where clients come in by one interface and the routes to them leave by another.
func TestChooseWays(t *testing.T) {
	const vip = "203.0.113.25"
	lo := func(addrs ...string) *Link {
		l := link(9, "lo", append(addrs, "127.0.0.1/8")...)
		l.Ethernet, l.Nowhere = false, true
		return l
	}
	eth := func(index int, name string, addrs ...string) *Link {
		l := link(index, name, addrs...)
		l.MAC = [6]byte{2, 0, 0, 0, 0, byte(index)}
		return l
	}
	above := func(parent int, l *Link) *Link { l.Parent = parent; return l }
	down := func(l *Link) *Link { l.Up = false; return l }
	in := eth(2, "in", "10.0.0.1/24")
	routes := map[string]string{"10.0.0.0/24": "in"}
	services := []netip.AddrPort{netip.MustParseAddrPort(vip + ":25")}
	anyone := []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:25")}
	for _, tt := range []struct {
		name            string
		on              fake
		services        []netip.AddrPort
		named           []string
		anyWay          bool
		outside, inside string
		served          string // if it is not vip
		warned, err     string
	}{
		{
			name: "a macvlan above the outside", outside: "vrrp eth0", inside: "in",
			on: fake{links: []*Link{lo(), eth(1, "eth0", "192.0.2.2/24"), in, above(1, eth(5, "vrrp", vip+"/32"))}, defaults: []string{"eth0"}},
		},
		{
			name: "a macvlan of which another router has the address now", outside: "eth0 vrrp", inside: "in",
			on: fake{links: []*Link{lo(), eth(1, "eth0", "192.0.2.2/24"), in, above(1, eth(5, "vrrp"))}, defaults: []string{"eth0"}},
		},
		{
			name: "a macvlan beside the macvlan", outside: "vrrp eth0 vrrp3", inside: "in",
			on: fake{links: []*Link{lo(), eth(1, "eth0", "192.0.2.2/24"), in, above(1, eth(5, "vrrp", vip+"/32")), down(above(1, eth(6, "vrrp3")))}, defaults: []string{"eth0"}},
		},
		{
			name: "a macvlan is named", named: []string{"vrrp"}, outside: "vrrp eth0", inside: "in",
			on: fake{links: []*Link{lo(), eth(1, "eth0", "192.0.2.2/24"), in, above(1, eth(5, "vrrp", vip+"/32"))}, defaults: []string{"eth0"}},
		},
		{
			name: "a macvlan above the inside", outside: "eth0", inside: "in vrrp2",
			on: fake{links: []*Link{lo(), eth(1, "eth0", vip+"/24"), in, above(2, eth(5, "vrrp2", "10.0.0.254/32"))}, defaults: []string{"eth0"}},
		},
		{
			name: "all addresses, a macvlan's too", services: anyone, outside: "eth0 vrrp", inside: "in", served: "192.0.2.2:25 " + vip + ":25",
			on: fake{links: []*Link{lo(), eth(1, "eth0", "192.0.2.2/24"), in, above(1, eth(5, "vrrp", vip+"/32"))}, defaults: []string{"eth0"}},
		},
		{
			name: "a second card", outside: "eth3 eth0", inside: "in",
			warned: "clients of " + vip + " come in by eth3, and the default route leaves by eth0",
			on:     fake{links: []*Link{lo(), eth(1, "eth0", "192.0.2.2/24"), in, eth(3, "eth3", vip+"/24")}, defaults: []string{"eth0"}},
		},
		{
			name: "a second card that is named", named: []string{"eth3"}, outside: "eth3", inside: "in", warned: "Name both (in YAML `outside: [eth3, eth0]`)",
			on: fake{links: []*Link{lo(), eth(1, "eth0", "192.0.2.2/24"), in, eth(3, "eth3", vip+"/24")}, defaults: []string{"eth0"}},
		},
		{
			name: "all addresses are the default route's interface's alone", services: anyone, outside: "eth0 eth3", inside: "in", served: "192.0.2.2:25",
			on: fake{links: []*Link{lo(), eth(1, "eth0", "192.0.2.2/24"), in, eth(3, "eth3", "198.51.100.2/24")}, defaults: []string{"eth0"}, routers: []string{"eth3"}},
		},
		{
			name: "a spare way that is down", outside: "eth0 eth3", inside: "in",
			on: fake{links: []*Link{lo(), eth(1, "eth0", vip+"/24"), in, down(eth(3, "eth3"))}, defaults: []string{"eth0"}, routers: []string{"eth3"}},
		},
		{
			name: "the default route leaves by the inside", outside: "eth0", inside: "in", warned: "leaves by in, which is the inside: clients beyond the outside's own networks",
			on: fake{links: []*Link{lo(), eth(1, "eth0", vip+"/24"), in}, defaults: []string{"in"}},
		},
		{
			name: "which is meant", anyWay: true, outside: "eth0", inside: "in",
			on: fake{links: []*Link{lo(), eth(1, "eth0", vip+"/24"), in}, defaults: []string{"in"}},
		},
		{
			name: "anycast", outside: "eth0 eth3", inside: "in",
			on: fake{links: []*Link{lo(vip + "/32"), eth(1, "eth0", "192.0.2.2/24"), in, eth(3, "eth3", "198.51.100.2/24")}, defaults: []string{"eth0"}},
		},
		{
			name: "anycast on one arm", outside: "in", inside: "in", warned: "one interface",
			on: fake{links: []*Link{lo(vip + "/32"), in}, defaults: []string{"in"}},
		},
		{
			name: "the loopback is named", named: []string{"lo"}, err: "interface lo receives no packets from other machines",
			on: fake{links: []*Link{lo(vip + "/32"), eth(1, "eth0", "192.0.2.2/24"), in}, defaults: []string{"eth0"}},
		},
		{
			name: "a tunnel", err: "interface tun0 is not Ethernet",
			on: fake{links: []*Link{lo(), {Name: "tun0", Index: 4, Up: true, Addrs: []netip.Prefix{netip.MustParsePrefix(vip + "/32")}}, in}, defaults: []string{"tun0"}},
		},
		{
			name: "answers into a tunnel", outside: "eth0", inside: "in", warned: "leaves by tun0, which is not Ethernet",
			on: fake{links: []*Link{lo(), {Name: "tun0", Index: 4, Up: true}, eth(1, "eth0", vip+"/24"), in}, defaults: []string{"tun0"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.on.routes = routes
			w := Wanted{Outside: tt.named, Services: services, Servers: []netip.Addr{netip.MustParseAddr("10.0.0.11")}, AnyWay: tt.anyWay}
			served := vip + ":25"
			if tt.services != nil {
				w.Services, served = tt.services, tt.served
			}
			c, err := Choose(tt.on, w)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range c.Services {
				got = append(got, s.String())
			}
			said := strings.Join(c.Warnings, "\n")
			if names(c.Outside) != tt.outside || names(c.Inside) != tt.inside || strings.Join(got, " ") != served ||
				!strings.Contains(said, tt.warned) || (said != "") != (tt.warned != "") {
				t.Errorf("outside %s, inside %s, services %v, warnings %q", names(c.Outside), names(c.Inside), got, said)
			}
		})
	}
}

// TestPolicyRules: the mirror finds the kernel's routes, whatever the policy rules, in both families.
func TestPolicyRules(t *testing.T) {
	p := newPair(t)
	for _, f := range []struct{ ip, src, other, there, dst, own, bcast string }{
		{"ip", "10.0.0.7", "10.0.0.8", "10.0.0.11", "192.0.2.7", "10.0.0.1", "10.0.0.255"},
		{"ip -6", "2001:db8:2::7", "2001:db8:2::8", "2001:db8:2::11", "2001:db8:f::7", "2001:db8:2::1", ""},
	} {
		at := func(src, dst string) State {
			_, s := p.mirror.Resolve(wire.AddrFrom(netip.MustParseAddr(src)), wire.AddrFrom(netip.MustParseAddr(dst)))
			return s
		}
		sh := func(script string) {
			t.Helper()
			_, err := p.here.Run(t.Context(), "sh", "-ec", strings.ReplaceAll(script, "ip ", f.ip+" "))
			must(t, err)
		}
		known := func(s State) bool { return s == Resolved || s == Unresolved }
		if s := at(f.src, f.own); s != OwnAddress {
			t.Errorf("this machine's own address: %v", s)
		}
		if f.bcast != "" && at(f.src, f.bcast) != NoRoute {
			t.Errorf("a broadcast address: %v", at(f.src, f.bcast))
		}
		sh("ip route add default via " + f.there + " table 100; ip rule add from " + f.src + " lookup 100")
		p.until(t, "a route by a rule", func() bool { return known(at(f.src, f.dst)) && at(f.other, f.dst) == NoRoute })
		if defaults, _ := p.mirror.Ways(netip.MustParseAddr(f.src)); len(defaults) != 1 || defaults[0].Name != "eth0" {
			t.Errorf("ways of the source with a rule: %v", defaults)
		}
		if defaults, others := p.mirror.Ways(netip.MustParseAddr(f.other)); len(defaults)+len(others) != 0 {
			t.Errorf("ways of another source: %v, %v", defaults, others)
		}
		if s := at(f.src, f.own); s != OwnAddress {
			t.Errorf("this machine's own address, by the rule: %v", s)
		}
		sh("ip route add blackhole " + f.dst + " table 100")
		p.until(t, "a black hole", func() bool { return at(f.src, f.dst) == NoRoute })
		sh("ip route replace throw " + f.dst + " table 100; ip route add " + f.dst + " via " + f.there)
		p.until(t, "a thrown route", func() bool { return known(at(f.src, f.dst)) && known(at(f.other, f.dst)) })
		sh("ip route del " + f.dst + "; ip rule del from " + f.src + " lookup 100; ip route del throw " + f.dst + " table 100")
		sh("ip rule add not fwmark 7 lookup 100; ip rule add priority 1 lookup main suppress_prefixlength 0; ip rule add fwmark 9 blackhole")
		p.until(t, "rules of a virtual private network", func() bool { return known(at(f.other, f.dst)) })
		sh("ip rule add sport 25 lookup 100")
		p.until(t, "a rule that is not followed", func() bool { return strings.Contains(strings.Join(p.mirror.Unread(), "\n"), "is not followed") })
		sh("ip rule del sport 25 lookup 100; ip rule del not fwmark 7 lookup 100")
		p.until(t, "the rules to go", func() bool { return at(f.src, f.dst) == NoRoute && len(p.mirror.Unread()) == 0 })
	}
}
