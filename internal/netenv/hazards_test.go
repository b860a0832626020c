package netenv

import (
	"net/netip"
	"strings"
	"testing"
)

// TestHazards: each warning is given where the setting does harm, and nowhere else.
func TestHazards(t *testing.T) {
	const strictAll, strictEth2, strictEth1 = "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/eth2/rp_filter", "net/ipv4/conf/eth1/rp_filter"
	const bridge4, bridge6 = "net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"
	vip := netip.MustParseAddrPort("192.0.2.25:25")
	server := netip.MustParseAddr("10.0.0.11")
	for _, tt := range []struct {
		name     string
		outside  []string
		inside   string
		bridge   bool
		services []netip.AddrPort
		announce bool
		sysctls  map[string]string
		want     []string
	}{
		{name: "nothing", outside: []string{"eth0"}, inside: "eth1", services: []netip.AddrPort{vip}},
		{
			name: "strict where the default route leaves", outside: []string{"eth0"}, inside: "eth1",
			sysctls: map[string]string{strictAll: "1"},
		},
		{
			name: "strict on a second outside", outside: []string{"eth0", "eth2"}, inside: "eth1",
			sysctls: map[string]string{strictEth2: "1"},
			want:    []string{"rp_filter is strict on eth2, and the default route leaves by eth0"},
		},
		{
			name: "loose wins", outside: []string{"eth0", "eth2"}, inside: "eth1",
			sysctls: map[string]string{strictEth2: "1", strictAll: "2"},
		},
		{
			name: "another way to a server", outside: []string{"eth0"}, inside: "eth2",
			sysctls: map[string]string{strictEth2: "1", strictEth1: "1"},
			want:    []string{"rp_filter is strict on eth2, and the route to the server 10.0.0.11 leaves by eth1"},
		},
		{
			name: "a bridge", outside: []string{"eth0"}, inside: "eth1", bridge: true,
			sysctls: map[string]string{bridge4: "1", bridge6: "0"},
			want:    []string{"net.bridge.bridge-nf-call-iptables is 1 and eth1 is a bridge"},
		},
		{
			name: "no bridge", outside: []string{"eth0"}, inside: "eth1", sysctls: map[string]string{bridge4: "1", bridge6: "1"},
		},
		{
			name: "an address on no interface", outside: []string{"eth0"}, inside: "eth1",
			services: []netip.AddrPort{vip, netip.MustParseAddrPort("203.0.113.25:25"), netip.MustParseAddrPort("203.0.113.25:2525"), netip.MustParseAddrPort("0.0.0.0:25")},
			want:     []string{"the service address 203.0.113.25 is on no interface"},
		},
		{
			name: "which is announced", outside: []string{"eth0"}, inside: "eth1", announce: true,
			services: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.25:25")},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := fake{
				links:    []*Link{link(1, "eth0", "192.0.2.25/24"), link(2, "eth1", "10.0.0.1/24"), link(3, "eth2", "198.51.100.1/24")},
				routes:   map[string]string{"10.0.0.0/24": "eth1"},
				defaults: []string{"eth0"},
			}
			f.links[1].Bridge = tt.bridge
			c := &Chosen{Inside: []*Link{f.Links()[tt.inside]}}
			for _, o := range tt.outside {
				c.Outside = append(c.Outside, f.Links()[o])
			}
			w := Wanted{Services: tt.services, Servers: []netip.Addr{server}, Announce: tt.announce}
			got := hazards(f, c, w, func(path string) string { return tt.sysctls[path] })
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("got %q, want %q", got[i], tt.want[i])
				}
			}
		})
	}
}

// TestWarningsOfAnsweringServers: what is said about servers' answers to clients is not said of those that answer this
// machine itself.
func TestWarningsOfAnsweringServers(t *testing.T) {
	server := netip.MustParseAddr("10.9.0.11")
	eth0 := link(1, "eth0", "192.0.2.25/24", "192.0.2.2/24")
	oneArm := fake{links: []*Link{eth0}, routes: map[string]string{"192.0.2.0/24": "eth0"}, defaults: []string{"eth0"}}
	w := Wanted{Services: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.25:25")}, Servers: []netip.Addr{server}}
	for _, answering := range [][]netip.Addr{nil, {server}} {
		w.Answering = answering
		c, err := Choose(oneArm, w)
		if err != nil {
			t.Fatal(err)
		}
		said := strings.Join(c.Warnings, "\n")
		for _, about := range []string{"default gateway", "behind the router"} {
			if strings.Contains(said, about) != (answering == nil) {
				t.Errorf("with %v answering: %q", answering, said)
			}
		}
	}
}
