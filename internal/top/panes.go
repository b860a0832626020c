package top

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/console"
)

// panes are the tables, in the order of their keys.
var panes = []pane{&servers, &talkerList, &connections, &verdicts, &frontends, &limits}

// The panes that keys act on.
const (
	paneServers = iota
	paneTalkers
	paneConnections
	paneVerdicts
)

// most sorts larger numbers first.
func most[T any, N cmp.Ordered](of func(*T) N) func(a, b *T) int {
	return func(a, b *T) int { return cmp.Compare(of(b), of(a)) }
}

// least sorts smaller values first.
func least[T any, N cmp.Ordered](of func(*T) N) func(a, b *T) int {
	return func(a, b *T) int { return cmp.Compare(of(a), of(b)) }
}

func count[N ~int | ~uint64](n N) string { return console.Size(uint64(max(n, 0))) }

// dash stands for what does not exist.
func dash(s string) string { return cmp.Or(s, "-") }

// ms writes a time that may not have come.
func ms(v *int64) string {
	if v == nil {
		return "-"
	}
	return console.Span(*v)
}

// nameOf returns backend/server; empty if there is no server.
func nameOf(backend, server string) string {
	if server == "" {
		return ""
	}
	return backend + "/" + server
}

func serverName(s *admin.Server) string { return nameOf(s.Backend, s.Name) }

var servers = list[admin.Server]{
	title: "Servers",
	columns: []column{
		{"SERVER", false, 0},
		{"STATE", false, 0},
		{"WEIGHT", true, 3},
		{"NOW", true, 1},
		{"ENDED", true, 4},
		{"FAILED", true, 5},
		{"CHECK", false, 2},
		{"ADDRESS", false, 6},
	},
	items: func(p *Picture, _ *choice) []admin.Server { return slices.Clone(p.Servers) },
	orders: []order[admin.Server]{
		{"file", nil},
		{"name", least(serverName)},
		{"now", most(func(s *admin.Server) int { return s.Connections })},
		{"failed", most(func(s *admin.Server) uint64 { return s.Failed })},
		{"state", least(func(s *admin.Server) int { return int(serverStyle(s)) * -1 })},
	},
	row: func(_ *Picture, s *admin.Server) row {
		return row{key: serverName(s), style: serverStyle(s), cells: []string{
			serverName(s), console.ServerState(s), fmt.Sprint(s.Weight), count(s.Connections), count(s.Ended), count(s.Failed),
			console.CheckResult(s.Check), s.Address,
		}}
	},
	about: func(s *admin.Server) []string {
		lines := []string{
			"server " + serverName(s) + " at " + s.Address, "state " + console.ServerState(s) + ", weight " + fmt.Sprint(s.Weight) + " (configured " + fmt.Sprint(s.ConfiguredWeight) + ")",
			fmt.Sprintf("connections %d now, %d ended, %d attempts failed", s.Connections, s.Ended, s.Failed),
			fmt.Sprintf("octets %s to clients, %s to the server", console.Size(s.BytesToClient), console.Size(s.BytesToServer)),
		}
		if s.Since != nil {
			lines = append(lines, "up or down since "+s.Since.Local().Format(time.DateTime))
		}
		if c := s.Check; c != nil {
			lines = append(lines, fmt.Sprintf("check %s: %s", console.CheckResult(c), c.Text),
				fmt.Sprintf("%d checks, %d failed, turned down %d times", c.Checks, c.Failures, c.Downs))
		}
		return lines
	},
}

// serverStyle is how well a server is.
func serverStyle(s *admin.Server) style {
	switch {
	case s.Removed:
		return faint
	case !s.Up && s.State != admin.ServerMaint:
		return bad
	case s.State != admin.ServerReady:
		return warning
	}
	return plain
}

var frontends = list[admin.Frontend]{
	title: "Frontends",
	columns: []column{
		{"FRONTEND", false, 0},
		{"DELAY", false, 1},
		{"NOW", true, 2},
		{"ENDED", true, 5},
		{"QUIET", true, 4},
		{"EARLY", true, 3},
		{"HANG-UP", true, 6},
		{"OTHER", true, 7},
		{"BACKEND", false, 8},
	},
	items: func(p *Picture, _ *choice) []admin.Frontend { return slices.Clone(p.Frontends) },
	orders: []order[admin.Frontend]{
		{"file", nil},
		{"name", least(func(f *admin.Frontend) string { return f.Name })},
		{"now", most(func(f *admin.Frontend) int { return f.Connections })},
		{"early", most(func(f *admin.Frontend) uint64 { return f.Verdicts["early-talker"] })},
	},
	row: func(_ *Picture, f *admin.Frontend) row {
		quiet, early, hangUp := f.Verdicts["quiet"], f.Verdicts["early-talker"], f.Verdicts["hang-up"]
		known := quiet + early + hangUp
		r := row{key: f.Name, cells: []string{
			f.Name, delayOf(f), count(f.Connections), count(f.Ended), count(quiet), count(early), count(hangUp), count(max(f.Ended, known) - known), f.Backend,
		}}
		if f.Removed {
			r.style = faint
		}
		return r
	},
	about: func(f *admin.Frontend) []string {
		lines := []string{
			"frontend " + f.Name + ", backend " + f.Backend, "delay " + delayOf(f) + ", configured " + console.Span(f.ConfiguredDelayMs) + ", early talk: " + f.OnEarlyTalk,
			fmt.Sprintf("octets of ended connections: %s to clients, %s to servers", console.Size(f.BytesToClient), console.Size(f.BytesToServer)),
		}
		for _, s := range f.Services {
			text := fmt.Sprintf("service %s, %d connections", s.Address, s.Connections)
			if s.Closed {
				text += ", removed by a reload"
			}
			lines = append(lines, text)
		}
		return lines
	},
}

func delayOf(f *admin.Frontend) string {
	switch {
	case f.Removed:
		return "removed"
	case f.DelayMs != f.ConfiguredDelayMs:
		return console.Span(f.DelayMs) + " by hand"
	}
	return console.Span(f.DelayMs)
}
