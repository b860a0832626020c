package config

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"hushgate/internal/dnsbl"
)

// DNSLists are the DNS lists that are asked about clients that wait, in the model of postscreen. Without Sites none is asked.
type DNSLists struct {
	Sites          []dnsbl.Site // their zones may hold credentials; the names may be shown
	Threshold      int
	AllowThreshold int // 0: none
	Action         ListedAction
	Text           string        // what a listed client is told, for ListedReject
	Delay          time.Duration // how long it waits in all, for ListedDelay
	Resolvers      []netip.AddrPort
	Timeout        time.Duration // of a question
	MinTTL, MaxTTL time.Duration // how long answers are kept
	CacheEntries   int
	Queries        int // outstanding ones
}

// ListedAction is what becomes of a client that is listed.
type ListedAction string

// The values of ListedAction.
const (
	ListedReject  ListedAction = "reject" // DNSLists.Text
	ListedReset   ListedAction = "reset"  // RST
	ListedTarpit  ListedAction = "tarpit"
	ListedDelay   ListedAction = "delay"
	ListedObserve ListedAction = "observe" // a line in the log
)

// Bounds of sites: those of package policy.
const (
	maxListSites  = 128
	maxListWeight = 1_000_000
	maxResolvers  = 8
)

// dnsListsTable makes the settings of DNS lists. Defaults are Postfix's where postscreen has the same setting.
func dnsListsTable() []setting[rawGlobal] {
	return []setting[rawGlobal]{
		{
			key: "dnsbl.sites", about: "the lists", otherwise: "none",
			kind: ofNode(func(r *yamlReader, g *rawGlobal, key string, node ast.Node) {
				r.list(key, node, true, func(item ast.Node) { r.dnsSite(g, key, item) })
			}),
		},
		{
			key: "dnsbl.names", about: "what a list is called in logs and replies", otherwise: "the list's own name",
			kind: ofNode((*yamlReader).dnsNames),
		},
		{
			key: "dnsbl.threshold", about: "the rank from which on a client is listed",
			kind: number(func(g *rawGlobal) *int { return &g.DNSLists.Threshold }, 1, 1, maxListWeight),
		},
		{
			key: "dnsbl.allow-threshold", about: "the rank down to which the delay ends at once", otherwise: "none",
			kind: number(func(g *rawGlobal) *int { return &g.DNSLists.AllowThreshold }, 0, -maxListWeight, 0),
		},
		{
			key: "dnsbl.action", about: "what becomes of a client that is listed",
			kind: word(func(g *rawGlobal) *ListedAction { return &g.DNSLists.Action }, ListedReject,
				ListedReject, ListedReset, ListedTarpit, ListedDelay, ListedObserve),
		},
		{
			key: "dnsbl.text", about: "what `reject` tells a client",
			kind: text(func(g *rawGlobal) *string { return &g.DNSLists.Text },
				"521 5.7.1 Service unavailable; client [{client}] blocked using {list}", "an SMTP reply", checkReply),
		},
		{
			key: "dnsbl.delay", about: "how long a client waits in all with `delay`",
			kind: periodBetween(time.Millisecond, 24*time.Hour, func(g *rawGlobal) *time.Duration { return &g.DNSLists.Delay }, time.Minute),
		},
		{
			key: "dnsbl.resolvers", about: "whom to ask", otherwise: "those of /etc/resolv.conf",
			kind: ofNode(func(r *yamlReader, g *rawGlobal, key string, node ast.Node) {
				r.list(key, node, true, func(item ast.Node) { r.resolverAddress(g, key, item) })
			}),
		},
		{
			key: "dnsbl.timeout", about: "how long a list may take to answer",
			kind: periodBetween(100*time.Millisecond, time.Minute, func(g *rawGlobal) *time.Duration { return &g.DNSLists.Timeout }, 10*time.Second),
		},
		{
			key: "dnsbl.min-ttl", about: "the least time for which an answer is kept",
			kind: periodBetween(time.Second, 7*24*time.Hour, func(g *rawGlobal) *time.Duration { return &g.DNSLists.MinTTL }, time.Minute),
		},
		{
			key: "dnsbl.max-ttl", about: "the longest time for which an answer is kept",
			kind: periodBetween(time.Second, 7*24*time.Hour, func(g *rawGlobal) *time.Duration { return &g.DNSLists.MaxTTL }, time.Hour),
		},
		{
			key: "dnsbl.cache-entries", about: "how many answers are kept",
			kind: number(func(g *rawGlobal) *int { return &g.DNSLists.CacheEntries }, 100_000, 1, 10_000_000),
		},
		{
			key: "dnsbl.queries", about: "how many questions may be outstanding",
			kind: number(func(g *rawGlobal) *int { return &g.DNSLists.Queries }, 4096, 1, 100_000),
		},
	}
}

// periodBetween is a period with bounds in YAML.
func periodBetween(least, most time.Duration, field func(*rawGlobal) *time.Duration, otherwise time.Duration) kind[rawGlobal] {
	k := period(field, otherwise)
	read := k.node
	k.node = func(r *yamlReader, to *rawGlobal, key string, node ast.Node) bool {
		ok := read(r, to, key, node)
		if d := *field(to); ok && (d < least || d > most) {
			r.expected(lineOf(node), key, "a time from "+formatTime(least)+" to "+formatTime(most), scalarText(node))
			return false
		}
		return ok
	}
	return k
}

// listName is an entry of dnsbl.names.
type listName struct {
	zone string
	name at[string]
}

// dnsSite reads one site in postscreen's notation. No error shows it, because it may hold a credential.
func (r *yamlReader) dnsSite(g *rawGlobal, key string, node ast.Node) {
	s, ok := r.text(key, wantSite, node)
	if !ok {
		return
	}
	site, err := dnsbl.ParseSite(s.value)
	switch {
	case err != nil:
		r.add(Error{Line: s.line, Keyword: key, Expected: wantSite, Reason: err.Error()})
		return
	case site.Weight == 0:
		r.add(Error{Line: s.line, Keyword: key, Expected: wantSite, Reason: "a site with a weight of 0 changes nothing"})
		return
	}
	site.Name = site.Zone
	g.DNSLists.Sites, g.siteLines = append(g.DNSLists.Sites, site), append(g.siteLines, s.line)
}

const wantSite = "a DNS list such as zen.example=127.0.0.[2..11]*2"

// dnsNames reads what the lists are called: {zone: name}.
func (r *yamlReader) dnsNames(g *rawGlobal, key string, node ast.Node) {
	var pairs []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		r.mismatch(key, "keys with values, ZONE: NAME", node)
	}
	for _, pair := range pairs {
		tok := pair.Key.GetToken()
		if tok == nil || pair.Value == nil {
			r.wrong(lineOf(pair), key, "a key without a value")
			continue
		}
		name := r.checked(key, "a name of printable ASCII without blanks", pair.Value, checkListName)
		g.listNames = append(g.listNames, listName{strings.ToLower(strings.TrimSuffix(tok.Value, ".")), name})
	}
}

func checkListName(s string) error {
	switch {
	case s == "" || len(s) > 253:
		return errors.New("expected 1 to 253 characters")
	case strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0:
		return errors.New("not printable ASCII without blanks")
	}
	return nil
}

// resolverAddress reads ADDR or ADDR:PORT.
func (r *yamlReader) resolverAddress(g *rawGlobal, key string, node ast.Node) {
	const want = "a resolver's IP address, or ADDR:PORT"
	s, ok := r.text(key, want, node)
	if !ok {
		return
	}
	at, err := parseResolver(s.value)
	if err != nil {
		r.add(Error{Line: s.line, Keyword: key, Expected: want, Found: quote(s.value), Reason: err.Error()})
		return
	}
	g.DNSLists.Resolvers = append(g.DNSLists.Resolvers, at)
}

func parseResolver(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil { // also an IPv6 address without brackets
		host, err := parseHost(a.String())
		return netip.AddrPortFrom(host, 53), err
	}
	host, number, err := splitAddress(s)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port := uint16(53)
	a, err := parseHost(host)
	if err == nil && number != "" {
		port, err = parsePort(number)
	}
	return netip.AddrPortFrom(a, port), err
}

// dnsLists reads the section with the handlers of its keys, and checks them together.
func (r *yamlReader) dnsLists(read func(string, ast.Node)) func(string, ast.Node) {
	return func(key string, node ast.Node) {
		g, before := &r.raw.global, len(r.errs)
		read(key, node)
		if len(r.errs) > before {
			return
		}
		if len(g.DNSLists.Sites) == 0 {
			r.wrong(lineOf(node), key, "needs sites: the DNS lists to ask")
			return
		}
		r.nameSites(g)
		r.checkDNSLists(g, lineOf(node))
		r.noteDNSLists(g)
	}
}

// nameSites gives the sites the names by which they are shown.
func (r *yamlReader) nameSites(g *rawGlobal) {
	for _, n := range g.listNames {
		used := false
		for i := range g.DNSLists.Sites {
			if site := &g.DNSLists.Sites[i]; site.Zone == n.zone {
				site.Name, used = n.name.value, true
			}
		}
		if !used {
			r.wrong(n.name.line, "names", "the name %s is for a zone that is none of the sites", quote(n.name.value))
		}
	}
}

func (r *yamlReader) checkDNSLists(g *rawGlobal, line int) {
	l := &g.DNSLists
	up, down := 0, 0
	for _, s := range l.Sites {
		up, down = up+max(s.Weight, 0), down+min(s.Weight, 0)
	}
	allows := l.AllowThreshold < 0
	lineFor := func(key string) int { return cmp.Or(g.lines["dnsbl."+key], line) }
	switch {
	case len(l.Sites) > maxListSites:
		r.wrong(line, "sites", "expected at most %d, found %d", maxListSites, len(l.Sites))
	case up < l.Threshold && (!allows || down > l.AllowThreshold):
		r.wrong(lineFor("threshold"), "threshold", "no answer makes a difference: the weights above 0 add up to %d, and the threshold is %d", up, l.Threshold)
	case allows && down > l.AllowThreshold:
		r.wrong(lineFor("allow-threshold"), "allow-threshold", "it is never reached: the weights below 0 add up to %d", down)
	}
	if len(l.Resolvers) > maxResolvers {
		r.wrong(line, "resolvers", "expected at most %d, found %d", maxResolvers, len(l.Resolvers))
	}
	if l.MinTTL > l.MaxTTL {
		r.wrong(lineFor("min-ttl"), "min-ttl", "%s is longer than max-ttl, %s", formatTime(l.MinTTL), formatTime(l.MaxTTL))
	}
	longest := slices.MaxFunc(l.Sites, func(a, b dnsbl.Site) int { return cmp.Compare(len(a.Name), len(b.Name)) })
	if err := checkReply(strings.ReplaceAll(l.Text, "{list}", longest.Name)); err != nil && l.Action == ListedReject {
		r.wrong(lineFor("text"), "text", "with the longest name of a list in place of {list}: %v", err)
	}
}

// noteDNSLists tells of settings without an effect, and of names that should not be shown.
func (r *yamlReader) noteDNSLists(g *rawGlobal) {
	for _, c := range []struct {
		key    string
		action ListedAction
	}{{"text", ListedReject}, {"delay", ListedDelay}} {
		if line := g.lines["dnsbl."+c.key]; line > 0 && g.DNSLists.Action != c.action {
			r.note(line, "dnsbl.%s has no effect: it belongs to action: %s", c.key, c.action)
		}
	}
	for i, s := range g.DNSLists.Sites {
		if first, _, _ := strings.Cut(s.Zone, "."); s.Name == s.Zone && len(first) >= keyLength {
			r.warn(g.siteLines[i], "the first part of this list's name looks like a key, and logs and replies show it: "+
				"say in dnsbl.names what to show")
		}
	}
}

// keyLength is how long the first label of a list is from which on it looks like a subscriber's key. Spamhaus's have 26
// characters.
const keyLength = 16

// noteListed tells of settings of a frontend about DNS lists that have no effect.
func (r *resolver) noteListed(f *rawProxy, out *Frontend) {
	l := &r.cfg.Global.DNSLists
	shortest, longest := r.delays(out)
	if out.Stress {
		shortest = min(shortest, out.StressDelay)
	}
	why := ""
	switch {
	case f.lines.set("dnsbl") && len(l.Sites) == 0:
		why = "there are no dnsbl.sites"
	case f.lines.set("dnsbl") && out.DNSLists && longest == 0:
		why = "lists are asked about clients that wait, and no client does"
	}
	if why != "" {
		r.note(f.lines["dnsbl"], "dnsbl has no effect: %s", why)
	}
	if line := r.raw.global.lines["dnsbl.delay"]; line > 0 && out.DNSLists && len(l.Sites) > 0 && l.Action == ListedDelay && l.Delay <= shortest {
		r.note(line, "dnsbl.delay prolongs no delay at %s, where each client waits for %s or more: who is listed only gets no pass",
			f.title(), formatTime(shortest))
	}
}
