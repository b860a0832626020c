package config

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"hushgate/internal/policy"
)

// Passes says how long clients are remembered that have waited once. HAProxy has no such memory, so a file in its syntax has
// a TTL of 0.
type Passes struct {
	TTL     time.Duration // how long a pass is good; 0: there are no passes
	File    string        // absolute; empty: in the service's state directory, if there is one; NoFile: passes are not saved
	Entries int           // passes that are kept, over all shards
}

// NoFile is the value of Passes.File with which passes are not saved.
const NoFile = "none"

// PrefixLength says how many bits of an address make a client, for passes, limits and offences.
type PrefixLength struct{ IPv4, IPv6 int }

// PassMode is what a frontend does with passes.
type PassMode string

// The values of PassMode.
const (
	PassUse   PassMode = "use"   // clients get passes, and passes shorten the delay
	PassNever PassMode = "never" // neither
)

// Limits bound the connections of one client. 0 means no limit.
type Limits struct {
	Connections int    // at a time
	Rate        int    // new ones in Global.RateWindow
	Over        string // OverReset, OverDrop, or the SMTP reply that a client over a limit gets
}

// The values of Limits.Over that are not a reply.
const (
	OverReset = "reset"       // RST
	OverDrop  = "silent-drop" // nothing
)

// Postfix's anvil counts over a minute and permits 50 connections at a time (smtpd_client_connection_count_limit).
const (
	defaultRateWindow  = time.Minute
	defaultConnections = 50
)

// memoryTable makes the settings of the memory of clients.
func memoryTable() []setting[rawGlobal] {
	return []setting[rawGlobal]{
		{
			key: "pass-ttl", about: "how long a client that has waited once is remembered",
			kind: periodFrom(time.Second, true, func(g *rawGlobal) *time.Duration { return &g.Passes.TTL }, 24*time.Hour),
		},
		{
			key: "pass-file", about: "where passes and offenders are saved", otherwise: "`passes` in the state directory",
			kind: text(func(g *rawGlobal) *string { return &g.Passes.File }, "", "the absolute path of a file, or none", checkPassFile),
		},
		{
			key: "pass-entries", about: "how many passes are kept",
			kind: number(func(g *rawGlobal) *int { return &g.Passes.Entries }, 1_000_000, 1, maxPasses),
		},
		{
			key: "prefix-length.ipv4", about: "how many bits of an address make a client",
			kind: number(func(g *rawGlobal) *int { return &g.PrefixLength.IPv4 }, 32, 1, 32),
		},
		{
			key: "prefix-length.ipv6", about: "how many bits of an address make a client",
			kind: number(func(g *rawGlobal) *int { return &g.PrefixLength.IPv6 }, 64, 1, 128),
		},
		{
			key: "access-watch", about: "read the files of access lists again when they change",
			kind: boolean(func(g *rawGlobal) *bool { return &g.AccessWatch }, false),
		},
		{
			key: "rate-window", about: "the time over which new connections are counted",
			kind: periodFrom(shortestWindow, false, func(g *rawGlobal) *time.Duration { return &g.RateWindow }, defaultRateWindow),
		},
	}
}

const (
	maxPasses      = 100_000_000            // 3 GB of memory
	shortestWindow = 100 * time.Millisecond // the core's
)

// treatmentTable makes the settings of frontends for the treatment of clients.
func treatmentTable() []setting[rawProxy] {
	return []setting[rawProxy]{
		{
			key: "pass", about: "clients get passes here",
			kind: word(func(p *rawProxy) *PassMode { return &p.front.Pass }, PassUse, PassUse, PassNever),
		},
		{
			key: "veto", about: "a client without a pass gets none here",
			kind: boolean(func(p *rawProxy) *bool { return &p.front.Veto }, false),
		},
		{
			key: "pass-delay", about: "how long a client with a pass waits",
			kind: period(func(p *rawProxy) *time.Duration { return &p.front.PassDelay }, 0),
		},
		{
			key: "dnsbl", about: "ask DNS lists about clients that wait here",
			kind: boolean(func(p *rawProxy) *bool { return &p.front.DNSLists }, true),
		},
		{
			key: "limits.connections", about: "how many connections a client may have at a time",
			kind: number(func(p *rawProxy) *int { return &p.front.Limits.Connections }, defaultConnections, 0, math.MaxInt32),
		},
		{
			key: "limits.rate", about: "how many new connections a client may make",
			kind: number(func(p *rawProxy) *int { return &p.front.Limits.Rate }, 0, 0, math.MaxInt32),
		},
		{
			key: "limits.over", about: "what a client over a limit gets",
			kind: text(func(p *rawProxy) *string { return &p.front.Limits.Over }, OverReset, "reset, silent-drop or an SMTP reply", checkOver),
		},
		{
			key: "stress-delay", about: "the longest delay while a table is nearly full", otherwise: "none",
			kind: stressDelay(),
		},
	}
}

// stressDelay has no default: without it stress changes no delay.
func stressDelay() kind[rawProxy] {
	k := period(func(p *rawProxy) *time.Duration { return &p.front.StressDelay }, 0)
	read := k.node
	k.node = func(r *yamlReader, to *rawProxy, key string, node ast.Node) bool {
		ok := read(r, to, key, node)
		to.front.Stress = to.front.Stress || ok
		return ok
	}
	return k
}

// periodFrom is a period that has a lower bound in YAML. If zero is true, 0 is allowed too.
func periodFrom[T any](least time.Duration, zero bool, field func(*T) *time.Duration, otherwise time.Duration) kind[T] {
	k := period(field, otherwise)
	read := k.node
	k.node = func(r *yamlReader, to *T, key string, node ast.Node) bool {
		ok := read(r, to, key, node)
		if d := *field(to); ok && d < least && (d > 0 || !zero) {
			want := formatTime(least) + " or more"
			if zero {
				want = "0, or " + want
			}
			r.expected(lineOf(node), key, want, scalarText(node))
			return false
		}
		return ok
	}
	return k
}

func checkPassFile(s string) error {
	switch {
	case s == NoFile:
	case !filepath.IsAbs(s):
		return errors.New("it is not absolute")
	case strings.HasSuffix(s, "/"):
		return errors.New("it is a directory")
	}
	return nil
}

func checkOver(s string) error {
	if s == OverReset || s == OverDrop {
		return nil
	}
	return checkReply(s)
}

// withoutMemory makes a file in HAProxy's syntax mean what it means there: no client is remembered, and an IPv6 client in a
// stick-table is one address.
func (c *rawConfig) withoutMemory() {
	c.global.Passes.TTL = 0
	c.global.PrefixLength.IPv6 = 128
}

// haproxyFactory returns the built-in defaults of sections in HAProxy's syntax.
func haproxyFactory() *rawProxy {
	p := factory()
	p.front.Limits.Connections = 0
	return p
}

// longForAll is a delay that good senders should not have to wait at every connection.
const longForAll = 10 * time.Second

// notePasses tells, in HAProxy's syntax, that each client waits at each of its connections, and how to change that.
func (r *resolver) notePasses() {
	if r.raw.native {
		return
	}
	for _, f := range r.raw.proxies {
		if f.takesClients() && f.delay.value > longForAll {
			r.note(f.delay.line, "inspect-delay %s: each client waits that long at each connection, as with HAProxy; in a YAML file a "+
				"client that has waited once is remembered for a day (pass-ttl), and waits no more", formatTime(f.delay.value))
			return
		}
	}
}

// delays returns the shortest and the longest delay of clients that wait, as inspect-delay, the rules of access and offenders
// say it. Passes, stress and DNS lists come on top.
func (r *resolver) delays(f *Frontend) (shortest, longest time.Duration) {
	shortest, longest = f.Delay, f.Delay
	for i := range f.Access {
		if do := &f.Access[i].Do; do.Kind == policy.OutcomeDelay {
			shortest, longest = min(shortest, do.Delay), max(longest, do.Delay)
		}
	}
	if o := &r.cfg.Global.Offenders; o.Action == OffenderDelay && f.Action != ActionObserve {
		longest = max(longest, o.Delay)
	}
	return shortest, longest
}

// notePolicy tells of settings without an effect.
func (r *resolver) notePolicy(f *rawProxy, out *Frontend) {
	_, longest := r.delays(out)
	unused := func(key, why string, args ...any) {
		if f.lines.set(key) {
			r.note(f.lines[key], "%s has no effect: %s", key, fmt.Sprintf(why, args...))
		}
	}
	switch {
	case r.cfg.Global.Passes.TTL == 0:
		for _, key := range []string{"pass", "pass-delay", "veto"} {
			unused(key, "pass-ttl 0 means that there are no passes")
		}
	case out.Pass == PassNever:
		unused("pass-delay", "pass: never")
		unused("veto", "pass: never")
	case out.PassDelay >= longest:
		unused("pass-delay", "no client waits longer than %s", formatTime(longest))
	}
	if out.StressDelay >= longest {
		unused("stress-delay", "no client waits longer than %s", formatTime(longest))
	}
	if longest == 0 {
		unused("teaser", "without a delay it is not sent")
	}
	if out.Limits.Connections == 0 && out.Limits.Rate == 0 {
		unused("limits.over", "there is no limit")
	}
}
