package doctor

import (
	"strings"
	"testing"

	"hushgate/health"
)

// TestAdvice: every warning of other packages becomes a finding with what it means and what mends it.
func TestAdvice(t *testing.T) {
	for text, want := range map[string]Finding{
		"rp_filter is strict on eth0.7, and the default route leaves by eth1: the kernel drops answers to the servers' connections that come in on eth0.7 (net.ipv4.conf.eth0/7.rp_filter=2 lets them pass)": {
			Grade: Warning, Found: "rp_filter is strict on eth0.7, and the default route leaves by eth1",
			Means: "the kernel drops answers to the servers' connections that come in on eth0.7", Mend: "sysctl -w net.ipv4.conf.eth0/7.rp_filter=2 ",
		},
		"rp_filter is strict on eth1, and the route to the server 10.0.0.11 leaves by eth2: the kernel drops other packets from it on eth1 (net.ipv4.conf.eth1.rp_filter=2 lets it pass)": {
			Grade: Warning, Found: "rp_filter is strict on eth1, and the route to the server 10.0.0.11 leaves by eth2",
			Means: "the kernel drops other packets from it on eth1", Mend: "sysctl -w net.ipv4.conf.eth1.rp_filter=2 ",
		},
		"net.bridge.bridge-nf-call-ip6tables is 1 and br0 is a bridge: br_netfilter has hushgate's rules drop its frames before hushgate sees them (set it to 0)": {
			Grade: Fault, Found: "net.bridge.bridge-nf-call-ip6tables is 1 and br0 is a bridge",
			Means: "br_netfilter has hushgate's rules drop its frames before hushgate sees them", Mend: "sysctl -w net.bridge.bridge-nf-call-ip6tables=0 ",
		},
		"the service address 2001:db8::25 is on no interface: clients reach it only if it is routed to this machine; with `announce: true` hushgate answers for it": {
			Grade: Warning, Found: "the service address 2001:db8::25 is on no interface",
			Means: "clients reach it only if it is routed to this machine", Mend: "`announce: true`, and hushgate answers for 2001:db8::25;",
		},
		"outside and inside are one interface: the servers need this machine as their default gateway, and send_redirects must be off": {
			Grade: Note, Found: "outside and inside are one interface", Means: "the servers need this machine as their default gateway, and send_redirects must be off",
		},
		"the server 10.1.0.11 is behind the router 10.0.0.2: its replies must come back through this machine": {
			Grade: Note, Found: "the server 10.1.0.11 is behind the router 10.0.0.2", Means: "its replies must come back through this machine",
		},
		"there is no route to the server 10.1.0.11": {
			Grade: Fault, Found: "there is no route to the server 10.1.0.11", Means: "it gets no clients", Mend: "ip route replace 10.1.0.11 via ROUTER",
		},
		"the route to the server 10.0.0.11 leaves by eth2, which is not the inside": {
			Grade: Fault, Found: "the route to the server 10.0.0.11 leaves by eth2, which is not the inside", Means: "hushgate does not hear the answers that come by eth2",
			Mend: "name eth2 as `inside`",
		},
		"servers and a service address share the network 192.0.2.0/24: clients in it get the servers' answers directly, not through this machine": {
			Grade: Warning, Found: "servers and a service address share the network 192.0.2.0/24", Means: "clients in it get the servers' answers directly", Mend: "give the servers a network",
		},
		"clients of 192.0.2.25 come in by eth2, and the default route leaves by eth0: answers go that way, and a provider there may drop them for their address. To have them leave by eth2: ip rule add from 192.0.2.25 lookup 100, with a default route in that table": {
			Grade: Warning, Found: "clients of 192.0.2.25 come in by eth2, and the default route leaves by eth0",
			Means: "answers go that way, and a provider there may drop them for their address", Mend: "ip rule add from 192.0.2.25 lookup 100, with",
		},
		"the default route for answers from 192.0.2.25 leaves by eth1, which is the inside: clients beyond the outside's own networks (eth0) get no answer. Give it a default route by the outside; or name eth1 as an outside too (`outside` in YAML); or set `reverse-path: loose`": {
			Grade: Fault, Found: "the default route for answers from 192.0.2.25 leaves by eth1, which is the inside",
			Means: "clients beyond the outside's own networks (eth0) get no answer", Mend: "Give it a default route by the outside;",
		},
		"the default route for answers from 192.0.2.25 leaves by wg0, which is not Ethernet: clients there get no answer": {
			Grade: Fault, Found: "the default route for answers from 192.0.2.25 leaves by wg0, which is not Ethernet", Means: "clients there get no answer", Mend: "give 192.0.2.25 a default route",
		},
		"the default route for answers from 192.0.2.25 leaves by eth3, which is not an outside interface: clients beyond the networks of eth0 get no answer. Name both (in YAML `outside: [eth0, eth3]`), or none (no `outside`, no `interface` after `bind`): hushgate finds them": {
			Grade: Fault, Found: "the default route for answers from 192.0.2.25 leaves by eth3, which is not an outside interface",
			Means: "clients beyond the networks of eth0 get no answer", Mend: "Name both",
		},
		"the policy rule of priority 100 (ip rule) is not followed: hushgate only follows rules that choose a table by addresses": {
			Grade: Warning, Found: "the policy rule of priority 100 (ip rule) is not followed", Means: "what hushgate sends may leave by another way", Mend: "ip rule show priority 100;",
		},
		"the server-side address 10.0.0.9 towards the server 10.0.0.11:25 is not an address of this machine, which does not answer ARP or neighbour solicitations for it: it must be routed here": {
			Grade: Warning, Found: "the server-side address 10.0.0.9 towards the server 10.0.0.11:25 is not an address of this machine",
			Means: "the machine does not answer ARP", Mend: "ip address add 10.0.0.9 dev INSIDE",
		},
		"the server-side address 10.0.0.1:1024-65535 overlaps with ports 32768 to 60999 of the kernel's own connections (net.ipv4.ip_local_port_range): other connections of this machine to the server 10.0.0.11:25 get no answer on these ports; health checks avoid them if there are others": {
			Grade: Warning, Found: "the server-side address 10.0.0.1:1024-65535 overlaps with ports 32768 to 60999 of the kernel's own connections (net.ipv4.ip_local_port_range)",
			Means: "other connections of this machine to the server", Mend: "sysctl -w net.ipv4.ip_local_port_range=",
		},
		"half-open 9000 is more than a quarter of maxconn 10000: only 2500 half-open connections are kept in each shard, and SYNs beyond them are answered with cookies": {
			Grade: Warning, Found: "half-open 9000 is more than a quarter of maxconn 10000", Means: "only 2500 half-open connections are kept", Mend: "raise `maxconn`",
		},
		"the policy of ip6tables's FORWARD chain is DROP: the servers' other traffic is dropped unless rules of your own accept it (firewall: {forward: true} does)": {
			Grade: Warning, Found: "the policy of ip6tables's FORWARD chain is DROP", Means: "the servers' other traffic is dropped, unless rules of your own accept it",
			Mend: "`firewall: {forward: true}`, or rules of your own: ip6tables -A FORWARD",
		},
		"the nftables table inet firewalld decides on forwarding too (chain filter_FORWARD, policy accept): the servers' other traffic needs its consent as well, whatever hushgate's rules accept": {
			Grade: Warning, Found: "the nftables table inet firewalld decides on forwarding too (chain filter_FORWARD, policy accept)",
			Means: "the servers' other traffic needs its consent", Mend: "nft list table inet firewalld;",
		},
		"2 rules of iptables-legacy are in force beside those of iptables v1.8.9 (nf_tables): iptables-legacy-save shows them": {
			Grade: Warning, Found: "2 rules of iptables-legacy are in force beside those of iptables v1.8.9 (nf_tables)", Means: "the kernel applies both", Mend: "iptables-legacy-save shows them",
		},
	} {
		f := advise(text)
		if f.Grade != want.Grade || f.Found != want.Found || !strings.HasPrefix(f.Means, want.Means) || !strings.HasPrefix(f.Mend, want.Mend) || f.Grade >= Warning && (f.Means == "" || f.Mend == "") {
			t.Errorf("%s:\n%+v, want\n%+v", text, f, want)
		}
	}
	if f := advise("read net.x: it is not there"); f.Grade != Warning || f.Found != "read net.x: it is not there" || f.Mend == "" {
		t.Errorf("an unknown warning: %+v", f)
	}
}

// TestConcerns: so does every warning about a server.
func TestConcerns(t *testing.T) {
	for c := health.Pipeconnect; c <= health.PlainCheck; c++ {
		f := concern("mx/a 10.0.0.11:25", health.Warning{Concern: c, Text: "server mx/a does something: which is wrong: so"})
		if f.Found != "server mx/a does something" || f.Means == "" || f.Mend == "" || f.Grade != Warning {
			t.Errorf("concern %d: %+v", c, f)
		}
	}
}
