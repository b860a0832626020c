package netenv

import (
	"strings"
	"testing"
)

// TestSysctlNames: names are as sysctl(8) reads them, also those of a VLAN's interface, which has a dot in its name.
func TestSysctlNames(t *testing.T) {
	for path, want := range map[string]string{
		"net/ipv4/ip_forward":                   "net.ipv4.ip_forward",
		"net/ipv4/conf/eth0.100/send_redirects": "net.ipv4.conf.eth0/100.send_redirects",
		"net/ipv6/conf/all/forwarding":          "net.ipv6.conf.all.forwarding",
	} {
		if got := (Sysctl{Path: path}).Name(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	f := fake{links: []*Link{link(1, "eth0", "192.0.2.1/24"), link(2, "eth0.7", "198.51.100.1/24")}, defaults: []string{"eth0"}}
	c := &Chosen{Outside: []*Link{f.Links()["eth0.7"]}}
	got := hazards(f, c, Wanted{}, func(path string) string { return map[string]string{"net/ipv4/conf/eth0.7/rp_filter": "1"}[path] })
	if len(got) != 1 || !strings.HasSuffix(got[0], "(net.ipv4.conf.eth0/7.rp_filter=2 lets them pass)") {
		t.Errorf("rp_filter on a VLAN: %q", got)
	}
}
