package top

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/console"
)

var talkerList = list[Talker]{
	title: "Talkers",
	columns: []column{
		{"CLIENT", false, 0},
		{"NOW", true, 2},
		{"EARLY", true, 1},
		{"QUIET", true, 3},
		{"HANG-UP", true, 4},
		{"OTHER", true, 6},
		{"OCTETS", true, 5},
		{"LAST", true, 7},
	},
	items: func(p *Picture, c *choice) []Talker {
		if c.network {
			return byNetwork(p.Talkers)
		}
		return slices.Clone(p.Talkers)
	},
	orders: []order[Talker]{
		{"total", most(func(t *Talker) uint64 { return uint64(t.Connections) + t.Ended })},
		{"now", most(func(t *Talker) int { return t.Connections })},
		{"early", most(func(t *Talker) uint64 { return t.Early })},
		{"quiet", most(func(t *Talker) uint64 { return t.Quiet })},
		{"octets", most(func(t *Talker) uint64 { return t.Octets })},
		{"last", func(a, b *Talker) int { return b.Last.Compare(a.Last) }},
		{"client", func(a, b *Talker) int { return a.Client.Compare(b.Client) }},
	},
	row: func(p *Picture, t *Talker) row {
		ago := "-"
		if !t.Last.IsZero() {
			ago = console.Span(max(0, p.At.Sub(t.Last)).Milliseconds())
		}
		name := prefixName(t.Client)
		return row{
			key: name, net: t.Client, kill: name,
			cells: []string{name, count(t.Connections), count(t.Early), count(t.Quiet), count(t.HangUp), count(t.Other), console.Size(t.Octets), ago},
		}
	},
	about: func(t *Talker) []string {
		return []string{
			"client " + prefixName(t.Client), fmt.Sprintf("%d present connections", t.Connections),
			fmt.Sprintf("%d ended in the last 5 minutes: %d talked early, %d were quiet, %d hung up, %d others", t.Ended, t.Early, t.Quiet, t.HangUp, t.Other),
			"hushgate explain " + prefixName(t.Client) + " tells more",
		}
	},
}

// prefixName writes an address without its length.
func prefixName(n netip.Prefix) string {
	if n.IsSingleIP() {
		return n.Addr().String()
	}
	return n.String()
}

var connections = list[admin.Connection]{
	title: "Conns",
	columns: []column{
		{"CLIENT", false, 0},
		{"PHASE", false, 1},
		{"AGE", true, 3},
		{"LEFT", true, 2},
		{"SERVER", false, 4},
		{"TO-CLIENT", true, 6},
		{"TO-SERVER", true, 5},
		{"FRONTEND", false, 7},
		{"RULE", false, 8},
	},
	items: func(p *Picture, _ *choice) []admin.Connection { return slices.Clone(p.Connections) },
	orders: []order[admin.Connection]{
		{"age", most(func(c *admin.Connection) int64 { return c.AgeMs })},
		{"left", least(func(c *admin.Connection) int64 { return leftOf(c) })},
		{"octets", most(func(c *admin.Connection) uint64 { return c.BytesToClient + c.BytesToServer })},
		{"phase", least(func(c *admin.Connection) string { return c.Phase })},
		{"server", least(func(c *admin.Connection) string { return c.Backend + "/" + c.Server })},
		{"client", func(a, b *admin.Connection) int {
			x, _ := netip.ParseAddrPort(a.Client)
			y, _ := netip.ParseAddrPort(b.Client)
			return x.Compare(y)
		}},
	},
	row: func(_ *Picture, c *admin.Connection) row {
		a, _ := netip.ParseAddrPort(c.Client)
		r := row{key: c.Client, net: single(a.Addr()), kill: c.Client, cells: []string{
			c.Client, c.Phase, console.Span(c.AgeMs), ms(c.DelayLeftMs), dash(nameOf(c.Backend, c.Server)), console.Size(c.BytesToClient), console.Size(c.BytesToServer),
			c.Frontend, dash(c.Rule),
		}}
		if c.Observed {
			r.style = warning
		}
		return r
	},
	about: func(c *admin.Connection) []string {
		lines := []string{
			"connection of " + c.Client + " to " + c.Service + ", frontend " + c.Frontend, "phase " + c.Phase + ", for " + console.Span(c.AgeMs),
			"delay " + console.Span(c.DelayMs) + ", left " + ms(c.DelayLeftMs) + ", rule " + dash(c.Rule) + ", pass " + dash(c.Pass),
			"server " + dash(nameOf(c.Backend, c.Server)) + ", connected after " + ms(c.ConnectedMs) + ", banner after " + ms(c.BannerMs),
			fmt.Sprintf("octets %s to the client, %s to the server; %d retries", console.Size(c.BytesToClient), console.Size(c.BytesToServer), c.Retries),
		}
		if c.Observed {
			lines = append(lines, "it talked early, and was let go on")
		}
		return lines
	},
}

func leftOf(c *admin.Connection) int64 {
	if c.DelayLeftMs == nil {
		return 1<<63 - 1
	}
	return *c.DelayLeftMs
}

// single returns the network that has one address; the zero value if the address is none.
func single(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

var verdicts = list[admin.Verdict]{
	title: "Verdicts",
	columns: []column{
		{"TIME", false, 3},
		{"CLIENT", false, 0},
		{"VERDICT", false, 0},
		{"HELD", true, 4},
		{"FIRST", true, 5},
		{"SERVER", false, 6},
		{"FRONTEND", false, 7},
		{"SAID", false, 2},
	},
	items: func(p *Picture, _ *choice) []admin.Verdict {
		all := slices.Clone(p.Recent)
		slices.Reverse(all)
		return all
	},
	orders: []order[admin.Verdict]{
		{"time", nil},
		{"verdict", least(func(v *admin.Verdict) string { return v.Verdict })},
		{"first", least(func(v *admin.Verdict) int64 { return orNever(v.FirstByteMs) })},
		{"octets", most(func(v *admin.Verdict) uint64 { return v.BytesToClient + v.BytesToServer })},
		{"client", func(a, b *admin.Verdict) int {
			x, _ := netip.ParseAddr(a.Client)
			y, _ := netip.ParseAddr(b.Client)
			return x.Compare(y)
		}},
	},
	row: func(_ *Picture, v *admin.Verdict) row {
		a, _ := netip.ParseAddr(v.Client)
		r := row{key: fmt.Sprintf("%s %d %d", v.Client, v.ClientPort, v.Time.UnixNano()), net: single(a), cells: []string{
			v.Time.Local().Format(time.TimeOnly), v.Client, v.Verdict, ms(v.HeldMs), ms(v.FirstByteMs), dash(nameOf(v.Backend, v.Server)), v.Frontend, dash(v.Talk),
		}}
		if v.Verdict == "early-talker" || v.Verdict == "no-server" {
			r.style = warning
		}
		return r
	},
	about: func(v *admin.Verdict) []string {
		return []string{
			fmt.Sprintf("%s port %d to %s, frontend %s, ended %s", v.Client, v.ClientPort, v.Service, v.Frontend, v.Time.Local().Format(time.DateTime)),
			"verdict " + v.Verdict + ": " + dash(v.Cause) + "; rule " + dash(v.Rule) + ", pass " + dash(v.Pass),
			"held " + ms(v.HeldMs) + ", first octet after " + ms(v.FirstByteMs) + ", banner after " + ms(v.BannerMs) + ", " + console.Span(v.TotalMs) + " in all",
			fmt.Sprintf("server %s, %s to the client, %s to the server", dash(nameOf(v.Backend, v.Server)), console.Size(v.BytesToClient), console.Size(v.BytesToServer)),
			fmt.Sprintf("said %d octets: %s", v.TalkBytes, dash(v.Talk)), "signature " + dash(v.Signature),
		}
	},
}

func orNever(v *int64) int64 {
	if v == nil {
		return 1<<63 - 1
	}
	return *v
}
