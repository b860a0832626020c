package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Config says what the rules are about. It must be valid.
type Config struct {
	Outside, Inside []string         // interfaces
	Services        []netip.AddrPort // addresses and ports that clients connect to
	Servers         []netip.AddrPort
	Forward         bool         // accept the servers' other traffic in filter FORWARD
	Masquerade      bool         // masquerade the servers' outgoing connections on the outside
	SNAT            []netip.Addr // replaces the address of those connections, at most one for each family
	ClampMSS        bool         // reduce the MSS of the servers' other connections to what the path MTU allows
	Pools           []Pool
	Sources         []Source
}

// Source is a server-side address: an address of the gateway and a range of its ports, both ends included.
type Source struct {
	Server      netip.AddrPort
	Addr        netip.Addr
	First, Last uint16
}

// Pool is a service with the servers that get its clients while hushgate does not run (see NewOpenPlan).
type Pool struct {
	Service netip.AddrPort
	Servers []Weighted
}

// Weighted is a server and its share of clients.
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

	quotes bool // it looks into the packet that an ICMP error quotes, by the match u32, which not every kernel has
}

// Plan is the list of rules, in the order in which they apply within a table and hook.
type Plan []Rule

// NewPlan works out the rules.
//
// Packets that the kernel must not see are dropped in raw PREROUTING, before connection tracking, so that our connections
// need no entry there: see exclusions. AF_PACKET has seen the frame by then.
func NewPlan(c Config) Plan {
	var p Plan
	for _, x := range exclusions(c) {
		spec := append(x.match(), "-m", "comment", "--comment", "hushgate: "+x.comment, "-j", "DROP")
		p = append(p, Rule{V6: x.v6(), Table: "raw", Hook: "PREROUTING", Spec: spec, quotes: x.quoted})
	}
	p.addOthers(c)
	return p
}

// NewOpenPlan works out the rules that forward clients to the servers while hushgate does not run. There is no early-talk
// test and no health check: each new connection gets a random server, by weight. Servers still see the client's address, and
// still answer through this machine. Segments of connections that hushgate carried get an RST, because no host can continue
// them.
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

// addOthers adds the rules for the servers' other traffic.
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

// source returns the target that changes the source address of a server's outgoing connections, or nil if the address stays.
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

// inForward adds a rule of filter FORWARD. Its comment stands before the target.
func (p *Plan) inForward(a netip.Addr, comment string, spec ...string) {
	at := len(spec) - 2
	p.addTo(a, "filter", "FORWARD", comment, spec[:at:at], spec[at:])
}

func (p *Plan) addTo(a netip.Addr, table, hook, comment string, match, target []string) {
	spec := slices.Concat(match, []string{"-m", "comment", "--comment", "hushgate: " + comment}, target)
	*p = append(*p, Rule{V6: a.Is6(), Table: table, Hook: hook, Spec: spec})
}

// chainKey identifies a chain of ours, apart from its generation.
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

// chain returns the name of a chain of ours. There are two generations, so that a new set of rules is complete before the
// old one is removed.
func (k chainKey) chain(generation int) string {
	short := map[string]string{"PREROUTING": "PRE", "FORWARD": "FWD", "POSTROUTING": "POST"}[k.hook]
	return fmt.Sprintf("HUSHGATE-%s-%d", short, generation)
}

// jumpSpec returns the rule in the built-in chain that jumps to ours.
func (k chainKey) jumpSpec(generation int) []string {
	return []string{"-m", "comment", "--comment", "hushgate", "-j", k.chain(generation)}
}

// quote returns a word as a shell needs it.
func quote(word string) string {
	if !strings.ContainsAny(word, " \t\"'$`\\*?[]<>|&;()#~{}") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// String returns the plan as commands that install it on a machine without rules of ours.
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
