package policyroute

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Route is the return route of the packets from one address and port of a server.
type Route struct {
	Server netip.AddrPort
	Via    netip.Addr   // hushgate's address on the servers' network
	Net    netip.Prefix // that network: its hosts are answered directly
}

// Table is the number of the routing table, and Mark marks the packets that use it. Priority is the priority of the rule
// that selects the table; the rule before it has one less.
const (
	Table    = 25
	Mark     = 25
	Priority = 2525
)

// The forms of the output.
const (
	IP       = "ip"               // an ip rule by source port, which Linux has had since 4.17
	IPTables = "iptables"         // an ip rule by a mark that iptables sets
	NFTables = "nftables"         // an ip rule by a mark that nftables sets
	Networkd = "systemd-networkd" // as IP, but it survives a restart
	Ifupdown = "ifupdown"         // as IP, but it survives a restart
	All      = "all"              // a shell script: IP's commands, and the other forms as comments
)

// Forms lists the forms.
func Forms() []string { return []string{All, IP, IPTables, NFTables, Networkd, Ifupdown} }

// Write returns one form for a server, which may have several addresses.
func Write(form, server string, routes []Route) (string, error) {
	switch form {
	case IP:
		return lines(ip(routes)), nil
	case IPTables:
		return lines(marked(routes, iptables)), nil
	case NFTables:
		return lines(marked(routes, nftables)), nil
	case Networkd:
		return lines(networkd(routes)), nil
	case Ifupdown:
		return lines(ifupdown(routes)), nil
	case All:
		return all(server, routes), nil
	}
	return "", fmt.Errorf("unknown form %q: expected one of %s", form, strings.Join(Forms(), ", "))
}

func lines(list []string) string { return strings.Join(list, "\n") + "\n" }

func all(server string, routes []Route) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# For %s, as root: packets from its service port go back through hushgate, all others as\n", server)
	b.WriteString("# before. Use `del` in place of `add` to undo it.\n")
	b.WriteString(lines(ip(routes)))
	for _, s := range []struct {
		title string
		list  []string
	}{
		{"To keep it with systemd-networkd, as a drop-in of the interface's file, /etc/systemd/network/FILE.network.d/hushgate.conf:", networkd(routes)},
		{"To keep it with ifupdown, in the interface's part of /etc/network/interfaces:", ifupdown(routes)},
		{"In place of all that, where `ip rule` knows no sport (Linux before 4.17), with iptables:", marked(routes, iptables)},
		{"or with nftables:", marked(routes, nftables)},
	} {
		b.WriteString("\n# " + s.title + "\n#\n")
		for _, l := range s.list {
			b.WriteString(strings.TrimRight("#     "+l, " ") + "\n")
		}
	}
	return b.String()
}

// family is ip, or ip -6.
func (r Route) family() string {
	if r.Server.Addr().Is6() {
		return "ip -6"
	}
	return "ip"
}

func (r Route) port() string { return strconv.Itoa(int(r.Server.Port())) }

func (r Route) route() string {
	return fmt.Sprintf("%s route replace default via %v table %d", r.family(), r.Via, Table)
}

// rules adds or deletes the rules. Hosts on the servers' network are answered directly: they did not come through hushgate,
// which would drop the answers.
func (r Route) rules(do string) []string {
	from := fmt.Sprintf("from %v", r.Server.Addr())
	what := "ipproto tcp sport " + r.port()
	return []string{
		fmt.Sprintf("%s rule %s priority %d %s to %v %s lookup main", r.family(), do, Priority-1, from, r.Net, what),
		fmt.Sprintf("%s rule %s priority %d %s %s lookup %d", r.family(), do, Priority, from, what, Table),
	}
}

func ip(routes []Route) (list []string) {
	for _, r := range routes {
		list = append(list, r.route())
		list = append(list, r.rules("add")...)
	}
	return list
}

// marked returns the form with one rule for each family, for packets that were marked elsewhere.
func marked(routes []Route, mark func(Route) []string) (list []string) {
	seen := map[string]bool{}
	once := func(l string) {
		if !seen[l] {
			seen[l] = true
			list = append(list, l)
		}
	}
	for _, r := range routes {
		for _, l := range mark(r) {
			once(l)
		}
		once(r.route())
		once(fmt.Sprintf("%s rule add priority %d fwmark %d lookup %d", r.family(), Priority, Mark, Table))
	}
	return append(list, "# If the default gateway is behind another interface than hushgate, the kernel drops the clients' packets as forged unless:",
		"# sysctl -w net.ipv4.conf.INTERFACE.rp_filter=2")
}

func iptables(r Route) []string {
	cmd := "iptables"
	if r.Server.Addr().Is6() {
		cmd = "ip6tables"
	}
	return []string{fmt.Sprintf("%s -w -t mangle -A OUTPUT -s %v ! -d %v -p tcp --sport %s -j MARK --set-mark %d", cmd,
		r.Server.Addr(), r.Net, r.port(), Mark)}
}

func nftables(r Route) []string {
	family := "ip"
	if r.Server.Addr().Is6() {
		family = "ip6"
	}
	return []string{
		fmt.Sprintf("nft add table %s hushgate", family),
		fmt.Sprintf("nft add chain %s hushgate output '{ type route hook output priority mangle; }'", family),
		fmt.Sprintf("nft add rule %s hushgate output %s saddr %v %s daddr != %v tcp sport %s meta mark set %d", family, family,
			r.Server.Addr(), family, r.Net, r.port(), Mark),
	}
}

func networkd(routes []Route) (list []string) {
	for _, r := range routes {
		list = append(list, "[Route]", fmt.Sprintf("Gateway=%v", r.Via), fmt.Sprintf("Table=%d", Table), "")
		rule := func(priority, table int, more ...string) {
			list = append(list, "[RoutingPolicyRule]", fmt.Sprintf("Priority=%d", priority), fmt.Sprintf("From=%v", r.Server.Addr()))
			list = append(list, more...)
			list = append(list, "IPProtocol=tcp", "SourcePort="+r.port(), fmt.Sprintf("Table=%d", table), "")
		}
		rule(Priority-1, mainTable, fmt.Sprintf("To=%v", r.Net))
		rule(Priority, Table)
	}
	return list[:max(0, len(list)-1)]
}

// mainTable is the number of the table called main.
const mainTable = 254

func ifupdown(routes []Route) (list []string) {
	for _, r := range routes {
		list = append(list, "up "+r.route())
		for _, l := range r.rules("add") {
			list = append(list, "up "+l)
		}
		for _, l := range r.rules("del") {
			list = append(list, "down "+l)
		}
	}
	return list
}
