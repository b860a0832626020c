package health

import (
	"fmt"
	"strings"
	"time"
)

// Status is a server's state according to its checks: HAProxy's counter, which runs from 0 to rise+fall-1 and means up from
// rise on. As in HAProxy, a server starts up, and goes down at its first failed check: one failed attempt to connect at the
// start does less harm than a site that is closed until its checks have succeeded.
type Status struct{ health, rise, fall int }

// NewStatus returns the state before the first check.
func NewStatus(rise, fall int) Status { return Status{health: rise, rise: rise, fall: fall} }

// Up reports whether the server accepts connections.
func (s *Status) Up() bool { return s.health >= s.rise }

// Note records the outcome of a check. It returns true if the check turned the server up or down.
func (s *Status) Note(ok bool) (changed bool) {
	was := s.Up()
	switch {
	case ok && was:
		s.health = min(s.health+1, s.rise+s.fall-1)
	case ok:
		if s.health++; s.Up() {
			s.health = s.rise + s.fall - 1
		}
	case was:
		if s.health--; !s.Up() {
			s.health = 0
		}
	default:
		s.health = 0
	}
	return s.Up() != was
}

// Wait returns how long to wait for the next check: fastinter while the state is changing, downinter while the server is
// down, otherwise inter.
func (s *Status) Wait(c *Config) time.Duration {
	switch s.health {
	case s.rise + s.fall - 1:
		return c.Inter
	case 0:
		return c.DownInter
	}
	return c.FastInter
}

var descriptions = map[Code]string{
	L4OK: "Layer4 check passed", L4CON: "Layer4 connection problem", L4TOUT: "Layer4 timeout", L7OK: "Layer7 check passed",
	L7RSP: "Layer7 invalid response", L7STS: "Layer7 wrong status", L7TOUT: "Layer7 timeout",
}

// Left is the number of servers that are up in a backend after a change.
type Left struct{ Active, Backup int }

// Line returns the line that HAProxy logs when a server's state changes.
func Line(c *Config, r *Result, up bool, left Left) string {
	var b strings.Builder
	state, rest := "DOWN", "left"
	if up {
		state, rest = "UP", "online"
	}
	fmt.Fprintf(&b, "Server %s/%s is %s, reason: %s, check duration: %dms. %d active and %d backup servers %s.", c.Backend, c.Server, state, r, r.Duration.Milliseconds(), left.Active,
		left.Backup, rest)
	return b.String()
}

// String describes in HAProxy's words how a check ended.
func (r *Result) String() string {
	s := descriptions[r.Code]
	if r.Status != 0 {
		s += fmt.Sprintf(", code: %d", r.Status)
	}
	if r.Info != "" {
		s += fmt.Sprintf(", info: %q", r.Info)
	}
	return s
}

// knownPatience is how long the least patient known senders wait for a greeting in all: nodemailer, and Exim's callouts.
const knownPatience = 30 * time.Second

// Concern is the subject of a warning. One warning of each kind is enough for a server.
type Concern uint8

// The concerns.
const (
	Pipeconnect  Concern = iota // the server invites its clients to talk early
	LateGreeting                // delay and greeting together exceed what some senders wait
	SlowGreeting                // it usually greets later than checks wait
	PlainCheck                  // its checks only connect, and it logs each as a lost connection
)

// Warning says something noteworthy about a server that is up.
type Warning struct {
	Concern Concern
	Text    string
}

// Clients describes the clients of a server.
type Clients struct {
	Delay          time.Duration // the longest time that one is held for
	SeePipeconnect bool          // some get the server's answer to EHLO with PIPECONNECT in it
}

// Warnings returns what is noteworthy about a server with such clients.
func Warnings(c *Config, r *Result, clients Clients) (list []Warning) {
	delay := clients.Delay
	if r.Pipeconnect && clients.SeePipeconnect {
		list = append(list, Warning{Pipeconnect, fmt.Sprintf("server %s/%s advertises PIPECONNECT: Exim clients that believe it "+
			"send EHLO before the banner and count as early talkers: set pipelining_connect_advertise_hosts to empty there, or "+
			"hide-pipeconnect to true here", c.Backend, c.Server)})
	}
	if r.OK() && delay < knownPatience && delay+r.Greeting > knownPatience {
		list = append(list, Warning{LateGreeting, fmt.Sprintf("server %s/%s greets after %v: with the delay of %v that is more than "+
			"the 30 s after which nodemailer and Exim's callouts give up", c.Backend, c.Server, r.Greeting.Round(time.Millisecond), delay)})
	}
	if r.OK() && c.SMTP && r.Greeting > c.Timeout {
		list = append(list, Warning{SlowGreeting, fmt.Sprintf("server %s/%s greets after %v, and its checks wait for %v (timeout "+
			"check, else inter): its checks will fail. If it is postscreen, permit %v in postscreen_access_list, or turn it "+
			"off, like any greet delay, because hushgate's clients have already waited; else raise timeout check above the server's delay",
			c.Backend, c.Server, r.Greeting.Round(time.Millisecond), c.Timeout, r.Local)})
	}
	if r.Greets && !c.SMTP {
		list = append(list, Warning{PlainCheck, fmt.Sprintf("server %s/%s greets as a mail server, and its checks only connect: "+
			"Postfix and Exim log a lost connection at each. Use smtpchk (`option smtpchk HELO name`)", c.Backend, c.Server)})
	}
	return list
}
