package plan

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"hushgate/internal/plan/plantest"
)

// TestServerRoutes: the return route uses an address of this machine in the server's own network, if possible not a service
// address, because that may move away.
func TestServerRoutes(t *testing.T) {
	c := plantest.Chosen()
	c.Inside[0].Addrs = nil
	for _, a := range []string{"192.0.2.129/24", "10.0.0.2/24", "10.0.0.1/24", "2001:db8:2::1/64", "fe80::1/64"} {
		c.Inside[0].Addrs = append(c.Inside[0].Addrs, netip.MustParsePrefix(a))
	}
	b, err := Build(plantest.Parse(t, `
frontends:
  - {name: f, bind: ["192.0.2.129:25"], inspect-delay: 1s, default_backend: bk}
backends:
  - name: bk
    servers:
      - {name: a, address: "10.0.0.11:25"}
      - {name: far, address: "172.16.0.1:25"}
      - {name: proxied, address: "10.0.0.12:25", send-proxy: true, source: "10.0.0.1"}
  - name: v6
    servers:
      - {name: a, address: "[2001:db8:2::11]:2525"}
`), c)
	if err != nil {
		t.Fatal(err)
	}
	p := &Plan{Chosen: c, Tables: b}
	for _, tt := range []struct{ name, via, want string }{
		{"a", "", "{10.0.0.11:25 10.0.0.1 10.0.0.0/24} {[2001:db8:2::11]:2525 2001:db8:2::1 2001:db8:2::/64}"},
		{"v6/a", "", "{[2001:db8:2::11]:2525 2001:db8:2::1 2001:db8:2::/64}"},
		{"bk/a", "10.0.0.3", "{10.0.0.11:25 10.0.0.3 10.0.0.0/24}"},
		{"a", "10.0.1.3", "10.0.1.3 is not in the server's network 10.0.0.0/24"},
		{"far", "", "172.16.0.1 is in no network of the inside"},
		{"b", "", `there is no server "b"`},
		{"proxied", "", `the server "proxied" needs no route: it sees connections from 10.0.0.1`},
	} {
		var via []netip.Addr
		if tt.via != "" {
			via = append(via, netip.MustParseAddr(tt.via))
		}
		routes, err := p.ServerRoutes(tt.name, via)
		got := strings.Trim(fmt.Sprint(routes), "[]")
		if err != nil {
			got = err.Error()
		}
		if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
			t.Errorf("%s via %q: %s, want %s", tt.name, tt.via, got, tt.want)
		}
	}
}
