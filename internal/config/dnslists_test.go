package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hushgate/internal/dnsbl"
)

// TestDNSListsAreRead: each value arrives, the defaults are postscreen's, and lists are called what the file says.
func TestDNSListsAreRead(t *testing.T) {
	cfg, warnings, err := Parse("a.yaml", []byte(withPolicy("dnsbl: {sites: Zen.example.}", "")))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	want := DNSLists{
		Sites: []dnsbl.Site{{Zone: "zen.example", Name: "zen.example", Weight: 1}}, Threshold: 1, Action: ListedReject,
		Text: "521 5.7.1 Service unavailable; client [{client}] blocked using {list}", Delay: time.Minute, Timeout: 10 * time.Second,
		MinTTL: time.Minute, MaxTTL: time.Hour, CacheEntries: 100_000, Queries: 4096,
	}
	filters := cmpopts.IgnoreFields(dnsbl.Site{}, "Filter")
	equal := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(want, cfg.Global.DNSLists, filters, equal); diff != "" || !cfg.Frontends[0].DNSLists {
		t.Errorf("%v %s", cfg.Frontends[0].DNSLists, diff)
	}
	cfg, warnings, err = Parse("a.yaml", []byte(withPolicy(`dnsbl:
  sites: ["a1b2c3d4e5f6g7h8i9.zen.example=127.0.0.[2;4]*3", white.example*-2]
  names: {A1b2c3d4e5f6g7h8i9.zen.example.: zen.example}
  threshold: 3
  allow-threshold: -2
  action: delay
  delay: 2m
  resolvers: [192.0.2.53, "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353"]
  timeout: 5s
  min-ttl: 2m
  max-ttl: 1d
  cache-entries: 10
  queries: 20`, "dnsbl: false")))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	l := cfg.Global.DNSLists
	if listed, other := netip.MustParseAddr("127.0.0.4"), netip.MustParseAddr("127.0.0.3"); !l.Sites[0].Filter.Match(listed) || l.Sites[0].Filter.Match(other) {
		t.Error("the filter of the first list takes other codes")
	}
	want = DNSLists{
		Sites: []dnsbl.Site{
			{Zone: "a1b2c3d4e5f6g7h8i9.zen.example", Name: "zen.example", Weight: 3}, {Zone: "white.example", Name: "white.example", Weight: -2},
		},
		Threshold: 3, AllowThreshold: -2, Action: ListedDelay, Text: want.Text, Delay: 2 * time.Minute, Timeout: 5 * time.Second,
		Resolvers: []netip.AddrPort{
			netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("192.0.2.53:5353"),
			netip.MustParseAddrPort("[2001:db8::53]:53"), netip.MustParseAddrPort("[2001:db8::53]:5353"),
		},
		MinTTL: 2 * time.Minute, MaxTTL: 24 * time.Hour, CacheEntries: 10, Queries: 20,
	}
	if diff := cmp.Diff(want, l, filters, equal); diff != "" || cfg.Frontends[0].DNSLists {
		t.Errorf("%v %s", cfg.Frontends[0].DNSLists, diff)
	}
}

// TestDNSListsTogether: what is wrong, or without effect, in the settings together. Nothing shows the name of a list that may
// hold a key.
func TestDNSListsTogether(t *testing.T) {
	const secret = "a1b2c3d4e5f6g7h8i9"
	many := strings.Repeat("a.example, ", 129)
	for _, c := range []struct{ global, frontend, want string }{
		{"dnsbl: {threshold: 2}", "", "1: dnsbl: needs sites: the DNS lists to ask"},
		{"dnsbl: {sites: a.example*2, threshold: 3}", "", "1: threshold: no answer makes a difference: the weights above 0 add up to 2, and the threshold is 3"},
		{"dnsbl: {sites: [a.example, b.example*-2], allow-threshold: -3}", "", "1: allow-threshold: it is never reached: the weights below 0 add up to -2"},
		{"dnsbl: {sites: b.example*-2, allow-threshold: -2}", "", ""}, // only an allow list
		{"dnsbl: {sites: [" + many + "]}", "", "1: sites: expected at most 128, found 129"},
		{"dnsbl: {sites: a.example, resolvers: [" + strings.Repeat("192.0.2.1, ", 9) + "]}", "", "1: resolvers: expected at most 8, found 9"},
		{"dnsbl: {sites: a.example, min-ttl: 2h}", "", "1: min-ttl: 2h is longer than max-ttl, 1h"},
		{"dnsbl: {sites: " + secret + ".example, names: {" + secret + "9.example: a}}", "", `1: names: the name "a" is for a zone that is none of the sites`},
		{"dnsbl: {sites: " + secret + "..example}", "", "1: sites: expected a DNS list such as"},
		{"dnsbl: {sites: a.example, text: '550 " + strings.Repeat("x", 450) + "{list}', names: {a.example: " + strings.Repeat("y", 60) + "}}", "", "1: text: with the longest name of a list in place of {list}: longer than 510 octets"},
		{"dnsbl: {sites: a.example, names: {a.example: a b}}", "", `1: names: expected a name of printable ASCII without blanks, found "a b"`},
		{"dnsbl: {sites: " + secret + ".example}", "", "1: the first part of this list's name looks like a key, and logs and replies show it: say in dnsbl.names what to show"},
		{"dnsbl: {sites: " + secret + ".example, names: {" + secret + ".example: a}}", "", ""},
		{"dnsbl: {sites: a.example, action: reset, text: 550 no}", "", "1: note: dnsbl.text has no effect: it belongs to action: reject"},
		{"dnsbl: {sites: a.example, delay: 1m}", "", "1: note: dnsbl.delay has no effect: it belongs to action: delay"},
		{"dnsbl: {sites: a.example, action: delay, delay: 20s}", "", "1: note: dnsbl.delay prolongs no delay at frontend f, where each client waits for 20s or more: who is listed only gets no pass"},
		{"", "dnsbl: true", "7: note: dnsbl has no effect: there are no dnsbl.sites"},
		{"dnsbl: {sites: a.example}", "inspect-delay: 0\n    dnsbl: true", "note: dnsbl has no effect: lists are asked about clients that wait, and no client does"},
	} {
		_, warnings, err := Parse("a.yaml", []byte(strings.Replace(withPolicy(c.global, c.frontend), map[bool]string{true: "    inspect-delay: 20s\n"}[strings.HasPrefix(c.frontend, "inspect")], "", 1)))
		var said []string
		if err != nil {
			said = strings.Split(err.Error(), "\n")
		}
		for _, w := range warnings {
			said = append(said, fmt.Sprintf("%d: %s%s", w.Line, map[bool]string{true: "note: "}[w.Note], w.Text))
		}
		told := slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, c.want) })
		if c.want == "" && len(said) > 0 || c.want != "" && !told || strings.Contains(strings.Join(said, ""), secret) {
			t.Errorf("%s\n%s: %q\nwant %s", c.global, c.frontend, said, c.want)
		}
	}
}
