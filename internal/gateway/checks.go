package gateway

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane"
	"hushgate/health"
	"hushgate/internal/connlog"
)

// serverStates is which servers are up, for the lines that say how many are left.
type serverStates struct {
	mu sync.Mutex
	up []bool
}

// checks starts a prober for each server.
func (g *gateway) checks(ctx context.Context, group *errgroup.Group) {
	g.state.up = make([]bool, len(g.plan.built.shard.Servers))
	for i, s := range g.plan.built.shard.Servers {
		g.state.up[i] = s.Up
	}
	for i := range g.plan.built.checks {
		c := &g.plan.built.checks[i]
		spread := c.Inter * time.Duration(i) / time.Duration(len(g.plan.built.checks))
		follow := g.follow(ctx, c)
		group.Go(func() error {
			health.Probe(ctx, &c.Config, spread, &net.Dialer{}, follow)
			return nil
		})
	}
}

// follow returns what is done with the reports on one server.
func (g *gateway) follow(ctx context.Context, c *check) func(health.Report) {
	var granted health.Granted
	told := map[health.Concern]bool{}
	return func(r health.Report) {
		if r.Changed {
			g.tellShards(ctx, dataplane.ServerState{Server: c.server, Up: r.Up})
			g.tellState(c, r)
		}
		if got := r.Result.Granted; got.Known && got != granted {
			granted = got
			g.tellShards(ctx, dataplane.ServerGrants{Server: c.server, Options: optionsOf(got)})
		}
		for _, w := range health.Warnings(&c.Config, &r.Result, c.delay) {
			if !told[w.Concern] {
				told[w.Concern] = true
				g.log.Warn("server", "warning", w.Text)
			}
		}
	}
}

func (g *gateway) tellShards(ctx context.Context, c dataplane.Control) {
	for _, l := range g.loops {
		l.do(ctx, func(s *dataplane.Shard) { s.Apply(c) })
	}
}

// tellState logs a change in HAProxy's words.
func (g *gateway) tellState(c *check, r health.Report) {
	g.state.mu.Lock()
	g.state.up[c.server] = r.Up
	left := health.Left{}
	for i, up := range g.state.up {
		if g.plan.built.names.Servers[i].Backend != c.Backend || !up {
			continue
		}
		if g.plan.built.shard.Servers[i].Backup {
			left.Backup++
		} else {
			left.Active++
		}
	}
	g.state.mu.Unlock()
	line := health.Line(&c.Config, &r.Result, r.Up, left)
	severity := connlog.Alert
	if r.Up {
		severity = connlog.Notice
	}
	g.lines.line(severity, line)
	if left.Active+left.Backup == 0 {
		g.lines.line(connlog.Alert, fmt.Sprintf("backend %s has no server available!", c.Backend))
	}
}
