// Package plantest holds the machine and the configuration from which tests of the plan, and of the gateway that carries it
// out, start.
package plantest

import (
	"net/netip"
	"testing"

	"hushgate/internal/config"
	"hushgate/internal/netenv"
)

// Chosen returns the interfaces and service addresses of a machine with two outside interfaces and one inside.
func Chosen() *netenv.Chosen {
	link := func(index int, name string, mtu int, addrs ...string) *netenv.Link {
		l := &netenv.Link{Name: name, Index: index, MTU: mtu, Up: true, Ethernet: true}
		for _, a := range addrs {
			l.Addrs = append(l.Addrs, netip.MustParsePrefix(a))
		}
		return l
	}
	c := &netenv.Chosen{
		Outside: []*netenv.Link{link(1, "eth0", 1500, "192.0.2.25/24"), link(3, "eth2", 1500, "192.0.2.129/25")},
		Inside:  []*netenv.Link{link(2, "eth1", 1450)},
	}
	for _, a := range []string{"192.0.2.25:25", "192.0.2.129:25", "[2001:db8::25]:25", "192.0.2.25:2525"} {
		c.Services = append(c.Services, netip.MustParseAddrPort(a))
	}
	return c
}

// Parse parses a configuration that has no error.
func Parse(t testing.TB, text string) *config.Config {
	t.Helper()
	cfg, _, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TwoFrontends is a configuration for the addresses of Chosen: two frontends that differ in all that concerns clients, and a
// backend of three servers.
const TwoFrontends = `
frontends:
  - {name: slow, bind: [":25"], inspect-delay: 30s, reject: reply, timeout: {client: 10m}, default_backend: bk}
  - {name: fast, bind: ["192.0.2.25:2525"], inspect-delay: 1s, reject: reset, default_backend: bk}
backends:
  - name: bk
    smtpchk: HELO x
    timeout: {server: 20m, check: 2s}
    default-server: {inter: 3s}
    servers:
      - {name: a, address: "10.0.0.11:25", check: true, weight: 3, port: 26}
      - {name: b, address: "10.0.0.12:25"}
      - {name: c, address: "10.0.0.13:25", disabled: true, check: true}
`
