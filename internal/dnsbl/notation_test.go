package dnsbl

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestSites(t *testing.T) {
	for _, c := range []struct {
		text          string
		zone          string
		weight        int
		takes, leaves string
	}{
		{"zen.example", "zen.example", 1, "127.0.0.1 127.9.9.9", ""},
		{"Zen.Example.=127.0.0.[2..11]*2", "zen.example", 2, "127.0.0.2 127.0.0.11", "127.0.0.1 127.0.0.12 127.0.1.2"},
		{"list.example=127.0.[0..255].1*-3", "list.example", -3, "127.0.0.1 127.0.255.1", "127.0.0.2 127.1.0.1"},
		{"s.example=127.0.0.[1;3..5;255]", "s.example", 1, "127.0.0.1 127.0.0.3 127.0.0.5 127.0.0.255", "127.0.0.2 127.0.0.6"},
		{"s.example=127.0.0.2*+4", "s.example", 4, "127.0.0.2", "127.0.0.3"},
		{"k_3y.s.example*0", "k_3y.s.example", 0, "127.0.0.2", ""},
	} {
		site, err := ParseSite(c.text)
		if err != nil || site.Zone != c.zone || site.Weight != c.weight {
			t.Errorf("%s: %s, %d, %v", c.text, site.Zone, site.Weight, err)
		}
		for i, list := range []string{c.takes, c.leaves} {
			for _, a := range strings.Fields(list) {
				if site.Filter.Match(netip.MustParseAddr(a)) != (i == 0) {
					t.Errorf("%s: %s", c.text, a)
				}
			}
		}
	}
	sites, err := ParseSites(" a.example*2, b.example\n\tc.example,,")
	if err != nil || len(sites) != 3 || sites[2].Zone != "c.example" {
		t.Errorf("%v, %v", sites, err)
	}
}

func TestMistakes(t *testing.T) {
	const zone = "expected a domain name of at most 189 characters: letters, digits, hyphens, dots"
	for text, want := range map[string]string{
		"=127.0.0.2":                       "site 1: " + zone,
		"a..example b.example se/cret 0..": "site 1: " + zone + "\nsite 3: " + zone + "\nsite 4: " + zone,
		strings.Repeat("a.", 100) + "b":    "site 1: " + zone,
		"a.example*x":                      `site 1: expected a weight from -1000000 to 1000000 after *, found "x"`,
		"a.example*1000001":                `site 1: expected a weight from -1000000 to 1000000 after *, found "1000001"`,
		"a.example=127.0.0":                `site 1: filter "127.0.0": expected a dot before octet 4, found ""`,
		"a.example=127.0.0.256":            `site 1: filter "127.0.0.256": octet 4: expected a number from 0 to 255, found "256"`,
		"a.example=127.0.0.[2..1]":         `site 1: filter "127.0.0.[2..1]": octet 4: expected a range from the lower to the higher number, found 2..1`,
		"a.example=127.0.0.[2":             `site 1: filter "127.0.0.[2": octet 4: expected .., ; or ] after 2, found ""`,
		"a.example=127.0.0.[]":             `site 1: filter "127.0.0.[]": octet 4: expected a number from 0 to 255, found "]"`,
		"a.example=127.0.0.2.3":            `site 1: filter "127.0.0.2.3": expected the end after four octets, found ".3"`,
		"a.example=127.0.0.1000":           `site 1: filter "127.0.0.1000": octet 4: expected a number from 0 to 255, found "1000"`,
		strings.Repeat("a.example ", 201):  "expected at most 200 sites, found 201",
	} {
		if _, err := ParseSites(text); fmt.Sprint(err) != want {
			t.Errorf("%.50s: error\n%v\nwant\n%s", text, err, want)
		}
	}
}

func TestBadConfig(t *testing.T) {
	site := []Site{{Zone: "a.example", Weight: 1}}
	for want, c := range map[string]Config{
		"DNS lists: expected 1 to 200 sites, found 0":                               {},
		"expected a threshold from 1 on, found -1":                                  {Sites: site, Threshold: -1},
		"expected an allow threshold from -1 down, or 0 for none, found 2":          {Sites: site, AllowThreshold: 2},
		"expected weights that reach a threshold, found 1 for a threshold of 2":     {Sites: site, Threshold: 2},
		"expected the address and port of a resolver, found 192.0.2.1:0":            {Sites: site, Resolvers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:0")}},
		"site 1: expected a name of at most 253 printable ASCII characters without": {Sites: []Site{{Zone: "a.example", Name: "a\nb", Weight: 1}}},
		"site 1: " + errZone.Error():                                                {Sites: []Site{{Zone: "a b", Name: "x", Weight: 1}}},
		"expected a timeout from 100ms to 1m, found 1ns":                            {Sites: site, Timeout: 1},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %s", err, want)
		}
	}
}

func TestNames(t *testing.T) {
	for addr, want := range map[string]string{ // the examples of RFC 5782 sections 2.1 and 2.4
		"192.0.2.99":                          "99.2.0.192.bad.example.com.",
		"2001:db8:1:2:3:4:567:89ab":           "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bad.example.com.",
		testOf(netip.IPv6Loopback()).String(): "1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bad.example.com.",
	} {
		if got := nameOf(netip.MustParseAddr(addr), "bad.example.com"); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
}
