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

	"hushgate/internal/admin"
)

// Overview is what the screen shows.
type Overview struct {
	Status    admin.Status     `json:"status"`
	Frontends []admin.Frontend `json:"frontends"`
	Servers   []admin.Server   `json:"servers"`
}

// Status shows how the gateway is.
func (c *Client) Status(ctx context.Context, w io.Writer, asJSON bool) error {
	o, err := c.overview(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(w, &o)
	}
	if err := o.summary(w); err != nil {
		return ignoreClosed(err)
	}
	if err := showFrontends(w, o.Frontends); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return ignoreClosed(err)
	}
	return showServers(w, o.Servers)
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

// maxWarnings is how many have room on one screen.
const maxWarnings = 4

// summary writes the state of the process, what is not well first.
func (o *Overview) summary(w io.Writer) error {
	s := &o.Status
	found := Judge(s, &UsualThresholds)
	lines := []string{fmt.Sprintf("hushgate %s, process %d, for %s: %v", s.Version, s.PID, span(s.UptimeMs), worst(found))}
	for _, f := range found {
		lines = append(lines, fmt.Sprintf("  %v: %s", f.Grade, f.Text))
	}
	lines = append(lines,
		fmt.Sprintf("configuration  %s of %s, sha256 %.12s", s.Configuration.File, s.Configuration.Loaded.Local().Format(time.DateTime), s.Configuration.SHA256),
		fmt.Sprintf("connections    %d of %d%s", total(s), s.MaxConn, phases(s.Connections)),
		"interfaces     "+interfaces(s.Interfaces),
		fmt.Sprintf("frames lost    %d received, %d to send", s.Losses.ReceiveQueueFull, s.Losses.NotSent))
	for _, l := range s.Logs {
		lines = append(lines, fmt.Sprintf("log            %s: %d lines written, %d lost, %d waiting", l.Target, l.Written, l.Lost, l.Waiting))
	}
	warnings := slices.Concat(s.Warnings, s.Configuration.Warnings)
	for _, warning := range warnings[:min(len(warnings), maxWarnings)] {
		lines = append(lines, "warning        "+warning)
	}
	if more := len(warnings) - maxWarnings; more > 0 {
		lines = append(lines, fmt.Sprintf("               and %d more warnings: see --json", more))
	}
	for _, l := range append(lines, "") {
		if _, err := fmt.Fprintln(w, safe(l)); err != nil {
			return err
		}
	}
	return nil
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

func showFrontends(w io.Writer, all []admin.Frontend) error {
	t := newTable(w, "FRONTEND", "DELAY", "NOW", "ENDED", "QUIET", "EARLY", "HANG-UP", "OTHER")
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
		t.row(name, delay, f.Connections, f.Ended, v["quiet"], v["early-talker"], v["hang-up"], max(f.Ended, counted)-counted)
	}
	return t.end()
}

func showServers(w io.Writer, all []admin.Server) error {
	t := newTable(w, "SERVER", "ADDRESS", "STATE", "WEIGHT", "NOW", "ENDED", "FAILED", "CHECK")
	for i := range all {
		s := &all[i]
		t.row(s.Backend+"/"+s.Name, s.Address, stateOf(s), s.Weight, s.Connections, s.Ended, s.Failed, checkOf(s.Check))
	}
	return t.end()
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
