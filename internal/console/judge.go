package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/printable"
)

// Grade is how well a gateway is. Its number is the exit status of a plugin of Nagios.
type Grade int

// The grades.
const (
	OK Grade = iota
	Warning
	Critical
	Unknown
)

// String returns the word that plugins of Nagios print.
func (g Grade) String() string { return [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[g] }

// Thresholds say from when on something is worth a warning, or an alarm.
type Thresholds struct {
	WarnConns, AlarmConns     int // connections, in percent of maxconn: so many or more
	WarnServers, AlarmServers int // fewer servers that take new connections; WarnServers 0: fewer than there are
}

// UsualThresholds are used unless others are given.
var UsualThresholds = Thresholds{WarnConns: 80, AlarmConns: 95, AlarmServers: 1}

// Check finds thresholds that make no sense.
func (t *Thresholds) Check() error {
	switch {
	case t.WarnConns < 1 || t.WarnConns > 100 || t.AlarmConns < 1 || t.AlarmConns > 100:
		return fmt.Errorf("connections: expected 1 to 100 percent, found %d and %d", t.WarnConns, t.AlarmConns)
	case t.WarnConns > t.AlarmConns:
		return fmt.Errorf("connections: expected a warning at %d %% or less, found %d", t.AlarmConns, t.WarnConns)
	case t.WarnServers < 0 || t.AlarmServers < 0:
		return fmt.Errorf("servers: expected 0 or more, found %d and %d", t.WarnServers, t.AlarmServers)
	case t.WarnServers > 0 && t.WarnServers < t.AlarmServers:
		return fmt.Errorf("servers: expected a warning at %d or more, found %d", t.AlarmServers, t.WarnServers)
	}
	return nil
}

// Finding is something that is not as it should be.
type Finding struct {
	Grade Grade
	Text  string
}

// total is the number of present connections.
func total(s *admin.Status) (n int64) {
	for _, k := range s.Connections {
		n += k
	}
	return n
}

// Judge finds what is not well, the worst first.
func Judge(s *admin.Status, t *Thresholds) (list []Finding) {
	byGrade := [...][]Finding{Warning: nil, Critical: nil}
	found := func(g Grade, format string, args ...any) {
		byGrade[g] = append(byGrade[g], Finding{g, fmt.Sprintf(format, args...)})
	}
	if s.State == admin.StateStopping {
		found(Critical, "it is ending and accepts no new connections")
	}
	wanted := t.WarnServers
	if wanted == 0 {
		wanted = s.Servers.Total
	}
	switch up := s.Servers.Usable; {
	case up < t.AlarmServers:
		found(Critical, "%d of %d servers take new connections", up, s.Servers.Total)
	case up < wanted:
		found(Warning, "%d of %d servers take new connections", up, s.Servers.Total)
	}
	for _, i := range s.Interfaces {
		if !i.Present {
			found(Critical, "the interface %s is missing", i.Name)
		}
	}
	switch n, most := total(s), int64(s.MaxConn); {
	case most == 0:
	case n*100 >= most*int64(t.AlarmConns):
		found(Critical, "%d of %d connections", n, most)
	case n*100 >= most*int64(t.WarnConns):
		found(Warning, "%d of %d connections", n, most)
	}
	if r := s.Configuration.Refused; r != nil {
		found(Warning, "the reload at %s was refused: %s", r.At.Local().Format(time.DateTime), r.Reason)
	}
	if s.Stress {
		found(Warning, "stress: a table is nearly full, delays are shortened")
	}
	return append(byGrade[Critical], byGrade[Warning]...)
}

// worst returns the worst grade of findings.
func worst(list []Finding) Grade {
	if len(list) == 0 {
		return OK
	}
	return list[0].Grade
}

// Check asks the gateway how it is, and writes one line as plugins of Nagios do: the grade, what is wrong, and numbers.
func (c *Client) Check(ctx context.Context, w io.Writer, t *Thresholds) Grade {
	var s admin.Status
	if err := c.get(ctx, "/v1/status", &s); err != nil {
		grade := Unknown
		if errors.Is(err, ErrNone) {
			grade = Critical
		}
		_, _ = fmt.Fprintf(w, "HUSHGATE %v - %s\n", grade, plain(err.Error()))
		return grade
	}
	list := Judge(&s, t)
	words := []string{fmt.Sprintf("%d of %d servers take new connections", s.Servers.Usable, s.Servers.Total)}
	if len(list) > 0 {
		words = nil
	}
	for _, f := range list {
		words = append(words, plain(f.Text))
	}
	_, _ = fmt.Fprintf(w, "HUSHGATE %v - %s | %s\n", worst(list), strings.Join(words, ", "), numbers(&s, t))
	return worst(list)
}

// plain makes text fit for the line of a plugin, in which a bar begins the numbers.
func plain(s string) string { return printable.Text(strings.ReplaceAll(s, "|", "/")) }

// numbers writes the performance data of a plugin: name=value;warning;critical;least;most.
func numbers(s *admin.Status, t *Thresholds) string {
	most := int64(s.MaxConn)
	all := []string{fmt.Sprintf("connections=%d;%d;%d;0;%d", total(s), most*int64(t.WarnConns)/100, most*int64(t.AlarmConns)/100, most)}
	warn := t.WarnServers
	if warn == 0 {
		warn = s.Servers.Total
	}
	all = append(all, fmt.Sprintf("held=%d", s.Connections["held"]), fmt.Sprintf("spliced=%d", s.Connections["spliced"]),
		fmt.Sprintf("servers=%d;%d:;%d:;0;%d", s.Servers.Usable, warn, t.AlarmServers, s.Servers.Total),
		fmt.Sprintf("queue_full=%dc", s.Losses.ReceiveQueueFull), fmt.Sprintf("not_sent=%dc", s.Losses.NotSent))
	var lost uint64
	for _, l := range s.Logs {
		lost += l.Lost
	}
	return strings.Join(append(all, fmt.Sprintf("log_lines_lost=%dc", lost), fmt.Sprintf("uptime=%ds", s.UptimeMs/1000)), " ")
}
