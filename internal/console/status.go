package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"hushgate/internal/admin"
	"hushgate/internal/printable"
)

// Overview is what the screen shows.
type Overview struct {
	Status    admin.Status     `json:"status"`
	Frontends []admin.Frontend `json:"frontends"`
	Servers   []admin.Server   `json:"servers"`
}

// Status shows how the gateway is. On a screen it leaves out what has no room, and says so; all is in the JSON.
func (c *Client) Status(ctx context.Context, w io.Writer, asJSON bool, on Screen) error {
	o, err := c.overview(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(w, &o)
	}
	for _, line := range fit(o.blocks(on.Width), on.Height) {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return ignoreClosed(err)
		}
	}
	return nil
}

func (c *Client) overview(ctx context.Context) (o Overview, err error) {
	var f admin.Frontends
	var s admin.Servers
	err = c.get(ctx, "/v1/status", &o.Status)
	if err == nil {
		err = c.get(ctx, "/v1/frontends", &f)
	}
	if err == nil {
		err = c.get(ctx, "/v1/servers", &s)
	}
	o.Frontends, o.Servers = f.Frontends, s.Servers
	return o, err
}

// ConfigurationFile returns the path of the configuration in force.
func (c *Client) ConfigurationFile(ctx context.Context) (string, error) {
	var s admin.Status
	if err := c.get(ctx, "/v1/status", &s); err != nil {
		return "", err
	}
	if !filepath.IsAbs(s.Configuration.File) {
		return "", fmt.Errorf("expected an absolute path of the running gateway's configuration, found %q", s.Configuration.File)
	}
	return s.Configuration.File, nil
}

// maxWarnings is how many are shown, also where there is room for more.
const maxWarnings = 4

// Of lists that are too long for a screen so many are left.
const (
	leastFindings  = 2
	leastLogs      = 0
	leastWarnings  = 0
	leastFrontends = 1
	leastServers   = 2
)

// labelWidth is how far lines are indented that have a label before them.
const labelWidth = 15

// labelled writes a line with a label, on as many lines as it needs.
func labelled(label, text string, width int) []string {
	return fold(printable.Text(fmt.Sprintf("%-*s%s", labelWidth, label, text)), width, labelWidth)
}

// blocks writes the state of the process, what is not well first, then the frontends and the servers.
func (o *Overview) blocks(width int) []*block {
	s := &o.Status
	found := Judge(s, &UsualThresholds)
	title := block{
		head:  fold(printable.Text(fmt.Sprintf("hushgate %s, process %d, for %s: %v", s.Version, s.PID, span(s.UptimeMs), worst(found))), width, 2),
		least: leastFindings, more: "  and %d more findings: see --json",
	}
	for _, f := range found {
		title.rows = append(title.rows, fold(printable.Text(fmt.Sprintf("  %v: %s", f.Grade, f.Text)), width, 4))
	}
	facts := block{head: slices.Concat(
		labelled("configuration", configuration(&s.Configuration, width-labelWidth), width),
		labelled("connections", fmt.Sprintf("%d of %d%s", total(s), s.MaxConn, phases(s.Connections)), width),
		labelled("interfaces", interfaces(s.Interfaces), width),
		labelled("frames lost", fmt.Sprintf("%d received, %d to send", s.Losses.ReceiveQueueFull, s.Losses.NotSent), width),
	)}
	logs := block{least: leastLogs, more: strings.Repeat(" ", labelWidth) + "and %d more logs: see --json"}
	for _, l := range s.Logs {
		logs.rows = append(logs.rows, labelled("log", fmt.Sprintf("%s: %d lines written, %d lost, %d waiting", l.Target, l.Written, l.Lost, l.Waiting), width))
	}
	warnings := block{least: leastWarnings, more: strings.Repeat(" ", labelWidth) + "and %d more warnings: see --json"}
	for _, text := range slices.Concat(s.Warnings, s.Configuration.Warnings) {
		warnings.rows = append(warnings.rows, labelled("warning", text, width))
	}
	all := []*block{&title, &facts, &logs, &warnings, o.frontendBlock(width), o.serverBlock(width)}
	for _, b := range all {
		b.shown = len(b.rows)
	}
	warnings.shown = min(warnings.shown, maxWarnings)
	return all
}

// configuration names the configuration in force, with the beginning of its checksum if that has room.
func configuration(c *admin.Configuration, width int) string {
	text := fmt.Sprintf("%s of %s", c.File, c.Loaded.Local().Format(time.DateTime))
	if whole := fmt.Sprintf("%s, sha256 %.12s", text, c.SHA256); width <= 0 || utf8.RuneCountInString(whole) <= width {
		return whole
	}
	return text
}

// tableBlock puts a table below an empty line.
func tableBlock(g *grid, width, least int, more string) *block {
	b := &block{least: least, more: more}
	for i, line := range g.lines(width) {
		if i == 0 {
			b.head = []string{"", line}
		} else {
			b.rows = append(b.rows, []string{line})
		}
	}
	return b
}

func (o *Overview) frontendBlock(width int) *block {
	return tableBlock(frontendGrid(o.Frontends), width, leastFrontends, "and %d more frontends: see --json")
}

// serverBlock has the servers in the order of the configuration. If some have to be left out, those that take no new connections come
// first.
func (o *Overview) serverBlock(width int) *block {
	b := tableBlock(serverGrid(o.Servers), width, leastServers, "and %d more servers: see `hushgate servers`")
	for i := range o.Servers {
		s := &o.Servers[i]
		b.urgent = append(b.urgent, !s.Removed && (!s.Up || s.State != admin.ServerReady))
	}
	return b
}

// lifeOrder are the phases in the order of a connection's life.
var lifeOrder = []string{
	"half-open", "held", "waiting", "connecting", "introducing", "banner-pending", "spliced", "lingering", "saying", "dropped", "tarpit",
}

// inOrder lists phases in the order of a connection's life, then those that this program does not know.
func inOrder(all map[string]int64) []string {
	place := func(p string) int {
		if i := slices.Index(lifeOrder, p); i >= 0 {
			return i
		}
		return len(lifeOrder)
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b string) int { return cmp.Or(place(a)-place(b), strings.Compare(a, b)) })
}

// phases lists the phases in which there are connections.
func phases(all map[string]int64) string {
	var list []string
	for _, p := range inOrder(all) {
		if n := all[p]; n > 0 {
			list = append(list, fmt.Sprintf("%d %s", n, p))
		}
	}
	if len(list) == 0 {
		return ""
	}
	return ": " + strings.Join(list, ", ")
}

func interfaces(all []admin.Interface) string {
	var list []string
	for _, i := range all {
		sides := map[[2]bool]string{{true, false}: "outside", {false, true}: "inside", {true, true}: "outside and inside"}[[2]bool{i.Outside, i.Inside}]
		if !i.Present {
			sides += ", MISSING"
		}
		list = append(list, fmt.Sprintf("%s (%s)", i.Name, sides))
	}
	return strings.Join(list, ", ")
}

func frontendGrid(all []admin.Frontend) *grid {
	g := &grid{
		titles: []string{"FRONTEND", "DELAY", "NOW", "ENDED", "QUIET", "EARLY", "HANG-UP", "OTHER"},
		spare:  []string{"OTHER", "HANG-UP", "ENDED"},
	}
	for i := range all {
		f := &all[i]
		v, name, delay := f.Verdicts, f.Name, span(f.DelayMs)
		if f.DelayMs != f.ConfiguredDelayMs && !f.Removed {
			delay += " by hand"
		}
		switch {
		case f.Removed:
			name += " (removed)"
		case f.Disabled:
			name += " (disabled)"
		}
		counted := v["quiet"] + v["early-talker"] + v["hang-up"]
		g.add(name, delay, f.Connections, f.Ended, v["quiet"], v["early-talker"], v["hang-up"], max(f.Ended, counted)-counted)
	}
	return g
}

func serverGrid(all []admin.Server) *grid {
	g := &grid{
		titles: []string{"SERVER", "ADDRESS", "STATE", "WEIGHT", "NOW", "ENDED", "FAILED", "CHECK"},
		spare:  []string{"WEIGHT", "ADDRESS", "ENDED", "FAILED"},
	}
	for i := range all {
		s := &all[i]
		g.add(s.Backend+"/"+s.Name, s.Address, stateOf(s), s.Weight, s.Connections, s.Ended, s.Failed, checkOf(s.Check))
	}
	return g
}

func showServers(w io.Writer, all []admin.Server) error {
	_, err := fmt.Fprintln(w, strings.Join(serverGrid(all).lines(0), "\n"))
	return ignoreClosed(err)
}

// stateOf says in a word or two whether a server gets new connections.
func stateOf(s *admin.Server) string {
	word := "up"
	switch {
	case s.Removed:
		return "removed"
	case s.State == admin.ServerMaint:
		word = "maint"
	case !s.Up:
		word = "DOWN"
	case s.State == admin.ServerDrain:
		word = "drain"
	case s.Backup:
		word = "up, backup"
	}
	if s.State == admin.ServerDrain && !s.Up {
		word = "DOWN, drain"
	}
	if s.ByHand {
		word += " (by hand)"
	}
	return word
}

func checkOf(c *admin.Check) string {
	switch {
	case c == nil:
		return "none"
	case !c.Enabled:
		return "off"
	case c.Code == "":
		return "not yet"
	}
	return fmt.Sprintf("%s in %s", c.Code, span(c.DurationMs))
}

// WaitReady waits until the gateway accepts new connections and has a server for them.
func (c *Client) WaitReady(ctx context.Context) error {
	var last error
	for {
		var s admin.Status
		why := c.get(ctx, "/v1/status", &s)
		switch {
		case ctx.Err() != nil && last != nil: // the time ended in the middle of a question
			why = last
		case why == nil && s.Ready:
			return nil
		case why == nil && s.State == admin.StateStopping:
			why = errors.New("it is ending")
		case why == nil && s.Servers.Usable > 0:
			why = errors.New("no health check of a server has succeeded yet")
		case why == nil:
			why = fmt.Errorf("%d of %d servers take new connections", s.Servers.Usable, s.Servers.Total)
		case errors.Is(why, ErrDenied):
			return why
		}
		last = why
		if pause(ctx) != nil {
			return fmt.Errorf("the gateway is not ready: %w", why)
		}
	}
}
