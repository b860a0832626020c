package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Config says what the rules are about, valid by construction.
type Config struct {
	Outside, Inside []string         // interfaces
	Services        []netip.AddrPort // addresses and ports that clients connect to
	Servers         []netip.AddrPort
	Forward         bool         // accept the servers' other traffic in filter FORWARD
	Masquerade      bool         // masquerade the servers' outgoing connections on the outside
	SNAT            []netip.Addr // where those come from instead, for each family at most one
	ClampMSS        bool         // bring the MSS of the servers' other connections down to what the way takes
	Pools           []Pool
	Sources         []Source
}

// Source is an address of the gateway's own, and ports of it, both included, from which clients come to a server.
type Source struct {
	Server      netip.AddrPort
	Addr        netip.Addr
	First, Last uint16
}

// Pool is where the clients of a service go when there is no hushgate (see NewOpenPlan).
type Pool struct {
	Service netip.AddrPort
	Servers []Weighted
}

// Weighted is a server and its share.
type Weighted struct {
	netip.AddrPort
	Weight int // above 0
}

// Rule is one rule of a chain of ours.
type Rule struct {
	V6    bool
	Table string
	Hook  string   // the built-in chain that jumps to ours: PREROUTING, FORWARD, POSTROUTING
	Spec  []string // match and target, without -A and the chain

	quotes bool // it looks into what an ICMP error quotes, by the match u32, which not every kernel has
}

// Plan is the list of rules, in the order in which they apply within a table and hook.
type Plan []Rule

// NewPlan works the rules out.
//
// What the kernel must not see goes in raw PREROUTING, before connection tracking, so that our flows cost no entry there:
// see exclusions. AF_PACKET has seen the frame by then.
func NewPlan(c Config) Plan {
	var p Plan
	for _, x := range exclusions(c) {
		spec := append(x.match(), "-m", "comment", "--comment", "hushgate: "+x.comment, "-j", "DROP")
		p = append(p, Rule{V6: x.v6(), Table: "raw", Hook: "PREROUTING", Spec: spec, quotes: x.quoted})
	}
	p.addOthers(c)
	return p
}

// NewOpenPlan works out the rules that hand clients to the servers when there is no hushgate: without any test and without
// any look at the servers' health, each new connection at random, by weight. Servers still see the client's address, and
// still answer through this machine. What is left of connections that hushgate carried gets an RST, for nobody can place
// it.
func NewOpenPlan(c Config) Plan {
	var p Plan
	for _, i := range c.Outside {
		for _, pool := range c.Pools {
			rest := 0
			for _, s := range pool.Servers {
				rest += s.Weight
			}
			a := pool.Service
			for _, s := range pool.Servers {
				spec := []string{"-i", i, "-d", host(a.Addr()), "-p", "tcp", "--dport", port(a)}
				if s.Weight < rest {
					share := strconv.FormatFloat(float64(s.Weight)/float64(rest), 'f', 9, 64)
					spec = append(spec, "-m", "statistic", "--mode", "random", "--probability", share)
				}
				rest -= s.Weight
				target := []string{"-j", "DNAT", "--to-destination", s.String()}
				p.addTo(a.Addr(), "nat", "PREROUTING", "fail open: client to server", spec, target)
			}
		}
	}
	for _, s := range unique(c.Servers) {
		for _, match := range [][]string{
			{"-d", host(s.Addr()), "-p", "tcp", "--dport", port(s)}, {"-s", host(s.Addr()), "-p", "tcp", "--sport", port(s)},
		} {
			match = append(match, "!", "--syn", "-m", "conntrack", "--ctstate", "NEW")
			p.addTo(s.Addr(), "filter", "FORWARD", "fail open: left of a connection before", match,
				[]string{"-j", "REJECT", "--reject-with", "tcp-reset"})
		}
		p.inForward(s.Addr(), "fail open: client to server", "-d", host(s.Addr()), "-p", "tcp",
			"--dport", port(s), "-m", "conntrack", "--ctstate", "DNAT", "-j", "ACCEPT")
		p.inForward(s.Addr(), "fail open: server to client", "-s", host(s.Addr()), "-p", "tcp",
			"--sport", port(s), "-m", "conntrack", "--ctstate", "DNAT", "-j", "ACCEPT")
	}
	p.addOthers(c)
	return p
}

// addOthers puts on the list what is for the servers' other traffic.
func (p *Plan) addOthers(c Config) {
	for _, a := range addresses(c.Servers) {
		if c.Forward {
			p.inForward(a, "other traffic of a server", "-s", host(a), "-j", "ACCEPT")
			p.inForward(a, "answers to it", "-d", host(a), "-m", "conntrack", "--ctstate",
				"ESTABLISHED,RELATED", "-j", "ACCEPT")
		}
		if c.ClampMSS {
			for _, end := range []string{"-s", "-d"} {
				p.addTo(a, "mangle", "FORWARD", "no larger segments than the way takes",
					[]string{end, host(a), "-p", "tcp", "--tcp-flags", "SYN,RST", "SYN"}, []string{"-j", "TCPMSS", "--clamp-mss-to-pmtu"})
			}
		}
		if target := c.source(a); target != nil {
			for _, o := range c.Outside {
				p.addTo(a, "nat", "POSTROUTING", "outgoing connections of a server", []string{"-s", host(a), "-o", o}, target)
			}
		}
	}
}

// source is what becomes of the source address of a server's outgoing connections, nil if it stays.
func (c *Config) source(server netip.Addr) (target []string) {
	for _, s := range c.SNAT {
		if s.Is4() == server.Is4() {
			return []string{"-j", "SNAT", "--to-source", s.String()}
		}
	}
	if c.Masquerade {
		return []string{"-j", "MASQUERADE"}
	}
	return nil
}

func unique(list []netip.AddrPort) []netip.AddrPort {
	list = slices.Clone(list)
	for i, a := range list {
		list[i] = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	slices.SortFunc(list, netip.AddrPort.Compare)
	return slices.Compact(list)
}

func addresses(list []netip.AddrPort) (as []netip.Addr) {
	for _, s := range unique(list) {
		if !slices.Contains(as, s.Addr()) {
			as = append(as, s.Addr())
		}
	}
	return as
}

func host(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

func port(a netip.AddrPort) string { return strconv.Itoa(int(a.Port())) }

// inForward puts a rule of filter FORWARD on the list; its comment goes before the target.
func (p *Plan) inForward(a netip.Addr, comment string, spec ...string) {
	at := len(spec) - 2
	p.addTo(a, "filter", "FORWARD", comment, spec[:at:at], spec[at:])
}

func (p *Plan) addTo(a netip.Addr, table, hook, comment string, match, target []string) {
	spec := slices.Concat(match, []string{"-m", "comment", "--comment", "hushgate: " + comment}, target)
	*p = append(*p, Rule{V6: a.Is6(), Table: table, Hook: hook, Spec: spec})
}

// chainKey names one of our chains, but for its generation.
type chainKey struct {
	v6          bool
	table, hook string
}

// chains lists the chains of a plan in its order.
func (p Plan) chains() (keys []chainKey) {
	for _, r := range p {
		if k := (chainKey{r.V6, r.Table, r.Hook}); !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

func (p Plan) of(k chainKey) (rules []Rule) {
	for _, r := range p {
		if r.V6 == k.v6 && r.Table == k.table && r.Hook == k.hook {
			rules = append(rules, r)
		}
	}
	return rules
}

// chain is the name of a chain of ours. There are two generations, so that a new set of rules can be complete before
// the old one goes.
func (k chainKey) chain(generation int) string {
	short := map[string]string{"PREROUTING": "PRE", "FORWARD": "FWD", "POSTROUTING": "POST"}[k.hook]
	return fmt.Sprintf("HUSHGATE-%s-%d", short, generation)
}

// jumpSpec is the rule in the built-in chain.
func (k chainKey) jumpSpec(generation int) []string {
	return []string{"-m", "comment", "--comment", "hushgate", "-j", k.chain(generation)}
}

// quote writes a word as a shell reads it.
func quote(word string) string {
	if !strings.ContainsAny(word, " \t\"'$`\\*?[]<>|&;()#~{}") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// String writes the plan as the commands that install it on a machine without rules of ours.
func (p Plan) String() string {
	var b strings.Builder
	for _, k := range p.chains() {
		cmd := "iptables"
		if k.v6 {
			cmd = "ip6tables"
		}
		line := func(args ...string) {
			b.WriteString(cmd + " -w -t " + k.table)
			for _, a := range args {
				b.WriteString(" " + quote(a))
			}
			b.WriteByte('\n')
		}
		line("-N", k.chain(0))
		for _, r := range p.of(k) {
			line(append([]string{"-A", k.chain(0)}, r.Spec...)...)
		}
		line(append([]string{"-I", k.hook, "1"}, k.jumpSpec(0)...)...)
	}
	return b.String()
}
