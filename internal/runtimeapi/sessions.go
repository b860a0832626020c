package runtimeapi

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/printable"
)

// A session is a connection whose handshake is complete, and that has not ended: what HAProxy's stream is.

const (
	noSession     = answerError("No such session (use 'show sess').\n")
	wantSession   = answerError("Session pointer expected (use 'show sess').\n")
	sessionsAPage = 500
)

// notSessions are the phases of connections that HAProxy would not show: its kernel has them.
var notSessions = []string{"half-open", "lingering", "dropped"}

// HAProxy's numbers and names for the state of one side of a session.
var sideStates = map[string]struct {
	number int
	name   string
}{
	"waiting": {2, "QUE"}, "connecting": {5, "CON"}, "introducing": {7, "RDY"}, "banner-pending": {8, "EST"}, "spliced": {8, "EST"},
}

// analysing is HAProxy's set of analysers for a session that its inspect-delay holds.
const analysing = 0x22

func showSess(ctx context.Context, c *client, args []string) (string, error) {
	q := admin.ConnectionQuery{Limit: sessionsAPage}
	long := len(args) > 0 && args[0] == "all"
	if len(args) > 0 && !long {
		id := pointer(args[0])
		long = id != 0
		q.ID = admin.ConnectionID(id)
	}
	for _, p := range c.server.Gateway.Phases() {
		if !slices.Contains(notSessions, p) {
			q.Phases = append(q.Phases, p)
		}
	}
	for {
		var p admin.ConnectionPage
		var v view
		err := c.inTurn(ctx, func(ctx context.Context) (err error) {
			if p, err = c.server.Gateway.Connections(ctx, q); err == nil && long && len(p.Connections) > 0 {
				v, err = c.server.look(ctx)
			}
			return err
		})
		if err != nil {
			return "", err
		}
		if q.ID != 0 && len(p.Connections) == 0 {
			return "", answerError("Session not found.\n")
		}
		var b strings.Builder
		for i := range p.Connections {
			if long {
				writeSession(&b, &p.Connections[i], &v)
			} else {
				writeSessionLine(&b, &p.Connections[i])
			}
		}
		if p.Next == "" || q.ID != 0 {
			return b.String(), nil
		}
		if err := c.send(b.String()); err != nil {
			return "", err
		}
		q.Cursor = p.Next
	}
}

// pointer reads a number as C's strtoul does, with which HAProxy reads pointers; 0 if there is none.
func pointer(s string) uint64 {
	base, digits := 10, "0123456789"
	switch {
	case strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X"):
		s, base, digits = s[2:], 16, "0123456789abcdefABCDEF"
	case strings.HasPrefix(s, "0"):
		base, digits = 8, "01234567"
	}
	n, err := strconv.ParseUint(s[:len(s)-len(strings.TrimLeft(s, digits))], base, 64)
	if err != nil {
		return 0
	}
	return n
}

// bare writes an address and port as HAProxy does: without brackets.
func bare(s string) string {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return s
	}
	return a.Addr().String() + ":" + strconv.Itoa(int(a.Port()))
}

func protocol(c *admin.Connection) string {
	if strings.HasPrefix(c.Client, "[") {
		return "tcpv6"
	}
	return "tcpv4"
}

// age writes a time as HAProxy does: in its two largest units.
func age(ms int64) string {
	t := ms / 1000
	var b strings.Builder
	left := 2
	for _, u := range []struct {
		n    int64
		unit string
	}{{t / 86400, "d"}, {t / 3600 % 24, "h"}, {t / 60 % 60, "m"}, {t % 60, "s"}} {
		if left > 0 && u.n > 0 {
			b.WriteString(strconv.FormatInt(u.n, 10) + u.unit)
			left--
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

// left writes how long a session is still held; otherwise if it is not.
func left(c *admin.Connection, otherwise string) string {
	if c.DelayLeftMs == nil {
		return otherwise
	}
	return age(*c.DelayLeftMs)
}

// writeSessionLine writes a session as `show sess` does. What hushgate does not have, such as a file descriptor, is 0, -1 or empty.
func writeSessionLine(b *strings.Builder, c *admin.Connection) {
	backend, server := "<NONE>", "<none>"
	if c.Server != "" {
		backend, server = c.Backend, c.Server
	}
	analysers := 0
	if c.Phase == "held" {
		analysers = analysing
	}
	fmt.Fprintf(b, "%v: proto=%s src=%s fe=%s be=%s srv=%s ts=00 epoch=0 age=%s calls=0 rate=0 cpu=0 lat=0 "+
		"rq[f=000000h,i=0,an=%02xh,rx=,wx=,ax=%s] rp[f=000000h,i=0,an=00h,rx=,wx=,ax=] scf=[8,0h,fd=-1] scb=[%d,0h,fd=-1] exp=%s rc=%d c_exp=\n",
		c.ID, protocol(c), bare(c.Client), c.Frontend, backend, server, age(c.AgeMs), analysers, left(c, ""), sideStates[c.Phase].number,
		left(c, ""), c.Retries)
}

// writeSession writes all of a session as `show sess ID` does, with the lines of HAProxy that have a meaning here, and one of
// hushgate's own.
func writeSession(b *strings.Builder, c *admin.Connection, v *view) {
	backend, backendID, from, server, serverID, to := "<NONE>", -1, "", "<NONE>", -1, ""
	frontendID := -1
	if p := v.proxy(c.Frontend); p != nil {
		frontendID = p.id
	}
	mode := "-"
	if c.Server != "" {
		backend, server, mode, from, to = c.Backend, c.Server, "tcp", " addr="+bare(c.Client), " addr=?"
		if c.Source != "" {
			from = " addr=" + bare(c.Source)
		}
		if p := v.proxy(c.Backend); p != nil {
			backendID = p.id
			if i := slices.IndexFunc(p.servers, func(s admin.Server) bool { return s.Name == c.Server }); i >= 0 {
				serverID, to = i+1, " addr="+bare(p.servers[i].Address)
			}
		}
	}
	state := sideStates[c.Phase].name
	if state == "" {
		state = "INI"
	}
	analysers := 0
	if c.Phase == "held" {
		analysers = analysing
	}
	fmt.Fprintf(b, "%v: [%s] id=%d proto=%s source=%s\n", c.ID, c.Began.Local().Format("02/Jan/2006:15:04:05.000000"), uint64(c.ID), protocol(c), bare(c.Client))
	fmt.Fprintf(b, "  flags=0x0, conn_retries=%d, conn_exp=<NEVER> conn_et=0x000 srv_conn=(nil), pend_pos=(nil) waiting=0 epoch=0\n", c.Retries)
	fmt.Fprintf(b, "  frontend=%s (id=%d mode=tcp), listener=? (id=0) addr=%s\n", c.Frontend, frontendID, bare(c.Service))
	fmt.Fprintf(b, "  backend=%s (id=%d mode=%s)%s\n", backend, backendID, mode, from)
	fmt.Fprintf(b, "  server=%s (id=%d)%s\n", server, serverID, to)
	fmt.Fprintf(b, "  task=(nil) (state=0x00 nice=0 calls=0 rate=0 exp=%s tmask=0x0 age=%s)\n", left(c, "<NEVER>"), age(c.AgeMs))
	fmt.Fprintf(b, "  scf=(nil) flags=0x00000000 state=EST\n  scb=(nil) flags=0x00000000 state=%s\n", state)
	fmt.Fprintf(b, "  req=(nil) (f=0x000000 an=%#x pipe=0 tofwd=0 total=%d)\n      an_exp=%s rex=<NEVER> wex=<NEVER>\n", analysers, c.BytesToServer, left(c, "<NEVER>"))
	fmt.Fprintf(b, "  res=(nil) (f=0x000000 an=0x0 pipe=0 tofwd=0 total=%d)\n      an_exp=<NEVER> rex=<NEVER> wex=<NEVER>\n", c.BytesToClient)
	fmt.Fprintf(b, "  hushgate: phase=%s delay=%v observed=%t pass=%s rule=%q\n", c.Phase, time.Duration(c.DelayMs)*time.Millisecond, c.Observed, c.Pass, printable.Text(c.Rule))
}

func shutdownSession(ctx context.Context, c *client, args []string) (string, error) {
	if len(args) == 0 || pointer(args[0]) == 0 {
		return "", wantSession
	}
	n, err := c.server.Gateway.Kill(ctx, admin.ConnectionFilter{ID: admin.ConnectionID(pointer(args[0]))}, true)
	if err == nil && n == 0 {
		err = noSession
	}
	return "", err
}

func shutdownSessions(ctx context.Context, c *client, args []string) (string, error) {
	s, err := c.find(ctx, args)
	if err != nil {
		return "", err
	}
	_, err = c.server.Gateway.Kill(ctx, admin.ConnectionFilter{Server: admin.ServerName{Backend: s.Backend, Name: s.Name}}, true)
	return "", err
}
