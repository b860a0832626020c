package policyroute

import (
	"net/netip"
	"strings"
	"testing"
)

var routes = []Route{
	{netip.MustParseAddrPort("10.0.0.11:25"), netip.MustParseAddr("10.0.0.1"), netip.MustParsePrefix("10.0.0.0/24")},
	{netip.MustParseAddrPort("[2001:db8:2::11]:2525"), netip.MustParseAddr("2001:db8:2::1"), netip.MustParsePrefix("2001:db8:2::/64")},
}

// TestWrite compares the forms with what is documented. internal/lab tests that the commands work.
func TestWrite(t *testing.T) {
	for form, want := range map[string]string{
		IP: `ip route replace default via 10.0.0.1 table 25
ip rule add priority 2524 from 10.0.0.11 to 10.0.0.0/24 ipproto tcp sport 25 lookup main
ip rule add priority 2525 from 10.0.0.11 ipproto tcp sport 25 lookup 25
ip -6 route replace default via 2001:db8:2::1 table 25
ip -6 rule add priority 2524 from 2001:db8:2::11 to 2001:db8:2::/64 ipproto tcp sport 2525 lookup main
ip -6 rule add priority 2525 from 2001:db8:2::11 ipproto tcp sport 2525 lookup 25
`,
		Networkd: `[Route]
Gateway=10.0.0.1
Table=25

[RoutingPolicyRule]
Priority=2524
From=10.0.0.11
To=10.0.0.0/24
IPProtocol=tcp
SourcePort=25
Table=254

[RoutingPolicyRule]
Priority=2525
From=10.0.0.11
IPProtocol=tcp
SourcePort=25
Table=25

[Route]
Gateway=2001:db8:2::1
Table=25

[RoutingPolicyRule]
Priority=2524
From=2001:db8:2::11
To=2001:db8:2::/64
IPProtocol=tcp
SourcePort=2525
Table=254

[RoutingPolicyRule]
Priority=2525
From=2001:db8:2::11
IPProtocol=tcp
SourcePort=2525
Table=25
`,
	} {
		if got, err := Write(form, "smtp1", routes); err != nil || got != want {
			t.Errorf("%s: %v, got:\n%s\nwant:\n%s", form, err, got, want)
		}
	}
	if _, err := Write("netplan", "smtp1", routes); err == nil || !strings.Contains(err.Error(), "systemd-networkd") {
		t.Error(err)
	}
}

// TestAll: the script does what the first form does, and shows each line of the others.
func TestAll(t *testing.T) {
	script, err := Write(All, "smtp1", routes)
	if err != nil {
		t.Fatal(err)
	}
	var commands, comments []string
	for l := range strings.Lines(script) {
		if c, ok := strings.CutPrefix(l, "#"); ok {
			comments = append(comments, strings.TrimSpace(c))
		} else if l != "\n" {
			commands = append(commands, l)
		}
	}
	if first, _ := Write(IP, "smtp1", routes); strings.Join(commands, "") != first {
		t.Errorf("commands:\n%s", strings.Join(commands, ""))
	}
	for _, form := range []string{IPTables, NFTables, Networkd, Ifupdown} {
		text, _ := Write(form, "smtp1", routes)
		if !strings.Contains(strings.Join(comments, "\n"), strings.TrimSpace(text)) {
			t.Errorf("%s is missing:\n%s", form, script)
		}
	}
}
