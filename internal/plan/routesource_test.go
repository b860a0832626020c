package plan

import (
	"errors"
	"net/netip"
	"testing"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/firewall"
	"hushgate/internal/netenv"
	"hushgate/internal/plan/plantest"
	"hushgate/internal/wire"
)

const throughRoutes = `
frontends:
  - {name: f, bind: ["192.0.2.25:25", "192.0.2.25:2525"], inspect-delay: 1s, default_backend: bk}
backends:
  - name: bk
    source: gateway
    servers:
      - {name: a, address: "10.0.0.11:25", send-proxy: true}
      - {name: b, address: "[2001:db8:2::11]:25", send-proxy: true}
      - {name: c, address: "192.0.2.12:25", send-proxy: true}
      - {name: d, address: "10.0.0.13:25", source: client}
  - name: other
    servers:
      - {name: a, address: "10.0.0.11:25", send-proxy: true, source: "10.0.0.2"}
`

// ways returns the addresses that a kernel would use towards the servers of throughRoutes.
func ways(changed map[string]string) func(netip.Addr) (netip.Addr, error) {
	known := map[string]string{"10.0.0.11": "10.0.0.1", "2001:db8:2::11": "2001:db8:2::1", "192.0.2.12": "192.0.2.25"}
	return func(to netip.Addr) (netip.Addr, error) {
		a := known[to.String()]
		if c, ok := changed[to.String()]; ok {
			a = c
		}
		if a == "" {
			return netip.Addr{}, errors.New("network is unreachable")
		}
		return netip.MustParseAddr(a), nil
	}
}

// TestRouteSources: a server-side address that is left to the route becomes the kernel's address, without the ports of
// services on it. Other server-side addresses stay. If several servers have one address, each keeps its own setting.
func TestRouteSources(t *testing.T) {
	cfg := plantest.Parse(t, throughRoutes)
	services := plantest.Chosen().Services
	sourced, list, err := RouteSources(cfg, services, ways(nil))
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.Backends[0].Servers[0].Source.ByRoute() {
		t.Error("the configuration itself was changed")
	}
	b, err := Build(sourced, plantest.Chosen())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"10.0.0.1:1024-32767", "[2001:db8:2::1]:1024-32767", "192.0.2.25:2526-32767", "", "10.0.0.2:1024-32767"} {
		source := dataplane.Source{}
		if want != "" {
			s := config.Source{}
			for _, l := range list {
				if l.Source.String() == want {
					s = l.Source
				}
			}
			if want == "10.0.0.2:1024-32767" {
				s = config.Source{Addr: netip.MustParseAddr("10.0.0.2"), First: 1024, Last: 32767}
			}
			source = dataplane.Source{Addr: wire.AddrFrom(s.Addr), First: s.First, Last: s.Last}
		}
		if got := b.Shard.Servers[i].Source; got != source || want != "" && !source.Addr.Netip().IsValid() {
			t.Errorf("server %d has the source %v:%d-%d, want %s", i, got.Addr.Netip(), got.First, got.Last, want)
		}
	}
	if len(list) != 3 || list[0].String() != "server bk/a sees connections from 10.0.0.1, ports 1024 to 32767: the route to it prefers that address" {
		t.Errorf("sources %v", list)
	}
	if n := len(firewall.NewPlan(b.Firewall)); len(b.Firewall.Sources) != 4 || n == 0 {
		t.Errorf("sources %v", b.Firewall.Sources)
	}
}

func TestRouteSourcesThatCannotBe(t *testing.T) {
	cfg := plantest.Parse(t, throughRoutes)
	if _, _, err := RouteSources(cfg, nil, ways(map[string]string{"10.0.0.11": ""})); err == nil {
		t.Error("no route: no error")
	}
	if _, _, err := RouteSources(cfg, nil, ways(map[string]string{"2001:db8:2::11": "fe80::1"})); !errors.Is(err, netenv.ErrDown) {
		t.Errorf("an address that is not in use yet: %v, want an error that makes the caller wait", err)
	}
	if _, _, err := RouteSources(cfg, nil, ways(map[string]string{"10.0.0.11": "10.0.0.11"})); err == nil {
		t.Error("a server that is this machine: no error")
	}
}

// TestMovedSources: finds what the routes have changed for one configuration.
func TestMovedSources(t *testing.T) {
	cfg := plantest.Parse(t, throughRoutes)
	_, was, err := RouteSources(cfg, nil, ways(nil))
	if err != nil {
		t.Fatal(err)
	}
	_, now, err := RouteSources(cfg, nil, ways(map[string]string{"2001:db8:2::11": "2001:db8:2::9"}))
	if err != nil {
		t.Fatal(err)
	}
	if m := MovedSources(was, was); len(m) != 0 {
		t.Errorf("moved without a change: %v", m)
	}
	if m := MovedSources(was, now); len(m) != 1 || m[0].Now.Server != "bk/b" || m[0].Now.Source.Addr != netip.MustParseAddr("2001:db8:2::9") {
		t.Errorf("moved: %v", m)
	}
}

func TestWidest(t *testing.T) {
	own := netip.MustParseAddr("10.0.0.1")
	for _, c := range []struct {
		services    []uint16
		first, last uint16
	}{
		{nil, 1000, 2000},
		{[]uint16{25, 3000}, 1000, 2000},
		{[]uint16{1400}, 1401, 2000},
		{[]uint16{1800, 1400}, 1000, 1399},
		{[]uint16{1000, 2000}, 1001, 1999},
	} {
		services := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:1500")}
		for _, p := range c.services {
			services = append(services, netip.AddrPortFrom(own, p))
		}
		if first, last := widest(config.Source{Addr: own, First: 1000, Last: 2000}, services); first != c.first || last != c.last {
			t.Errorf("%v: %d-%d", c.services, first, last)
		}
	}
	if first, last := widest(config.Source{Addr: own, First: 25, Last: 25}, []netip.AddrPort{netip.AddrPortFrom(own, 25)}); first <= last {
		t.Errorf("%d-%d of no port", first, last)
	}
	if first, last := widest(config.Source{Addr: own, First: 1, Last: 65535}, nil); first != 1 || last != 65535 {
		t.Errorf("%d-%d of all ports", first, last)
	}
}

// TestForwards: if all servers answer this machine itself, nothing is forwarded unless the file says so, and there is no
// warning about the return route.
func TestForwards(t *testing.T) {
	if !forwardsOthers(plantest.Parse(t, throughRoutes)) || len(answering(plantest.Parse(t, throughRoutes))) != 4 {
		t.Error("server d answers clients through this machine")
	}
	const own = `
frontends: [{name: f, bind: ["192.0.2.25:25"], inspect-delay: 1s, default_backend: bk}]
backends: [{name: bk, source: gateway, servers: [{name: a, address: "10.0.0.11:25", send-proxy: true}]}]
`
	if forwardsOthers(plantest.Parse(t, own)) {
		t.Error("nothing is forwarded")
	}
	if !forwardsOthers(plantest.Parse(t, own+"firewall: {forward: true}\n")) {
		t.Error("the servers' other traffic is forwarded")
	}
}
