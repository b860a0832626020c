package netenv

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
)

// Hazards returns warnings about settings and addresses of this machine that keep packets from their destination, apart from
// those in Sysctls. Settings of the servers cannot be seen from here.
func Hazards(n neighbourhood, c *Chosen, w Wanted) []string {
	return hazards(n, c, w, func(path string) string {
		b, _ := os.ReadFile("/proc/sys/" + path) // a missing setting is off
		return string(bytes.TrimSpace(b))
	})
}

func hazards(n neighbourhood, c *Chosen, w Wanted, sysctl func(path string) string) (words []string) {
	words = append(words, unheld(n, w)...)
	for _, o := range c.Outside {
		if l, _, ok := n.RouteTo(netip.IPv4Unspecified()); ok && l.Index != o.Index && len(global(o)) > 0 && strict(o, sysctl) {
			words = append(words, fmt.Sprintf("rp_filter is strict on %s, and the default route leaves by %s: the kernel drops "+
				"answers to the servers' connections that come in on %s (%s=2 lets them pass)",
				o.Name, l.Name, o.Name, rpFilter(o)))
		}
	}
	for _, i := range c.Inside {
		for _, s := range w.Servers {
			if l, _, ok := n.RouteTo(s); ok && s.Is4() && !among(c.Inside, l) && strict(i, sysctl) {
				words = append(words, fmt.Sprintf("rp_filter is strict on %s, and the route to the server %v leaves by %s: the "+
					"kernel drops other packets from it on %s (%s=2 lets it pass)", i.Name, s, l.Name,
					i.Name, rpFilter(i)))
			}
		}
	}
	return append(words, filtered(c, sysctl)...)
}

// unheld returns warnings about service addresses that no machine answers for.
func unheld(n neighbourhood, w Wanted) (words []string) {
	if w.Announce {
		return nil
	}
	seen := map[netip.Addr]bool{}
	for _, s := range w.Services {
		if a := s.Addr(); !a.IsUnspecified() && !seen[a] && holder(n, a) == nil {
			seen[a] = true
			words = append(words, fmt.Sprintf("the service address %v is on no interface: clients reach it only if it is routed "+
				"to this machine; with `announce: true` hushgate answers for it", a))
		}
	}
	return words
}

// rpFilter is the name of an interface's rp_filter for sysctl(8).
func rpFilter(l *Link) string { return sysctlName("net/ipv4/conf/" + l.Name + "/rp_filter") }

// strict reports whether the kernel drops packets received by an interface unless the route to their source leaves by it.
// The larger of two values counts (Linux, ip-sysctl: rp_filter).
func strict(l *Link, sysctl func(string) string) bool {
	most := 0
	for _, name := range []string{"all", l.Name} {
		v, _ := strconv.Atoi(sysctl("net/ipv4/conf/" + name + "/rp_filter"))
		most = max(most, v)
	}
	return most == 1
}

// filtered returns warnings about bridges whose frames iptables sees before a packet socket does.
func filtered(c *Chosen, sysctl func(string) string) (words []string) {
	var told []*Link
	for _, l := range slices.Concat(c.Outside, c.Inside) {
		if !l.Bridge || among(told, l) {
			continue
		}
		told = append(told, l)
		for _, name := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
			if sysctl("net/bridge/"+name) == "1" {
				words = append(words, fmt.Sprintf("net.bridge.%s is 1 and %s is a bridge: br_netfilter has hushgate's rules drop its "+
					"frames before hushgate sees them (set it to 0)", name, l.Name))
			}
		}
	}
	return words
}
