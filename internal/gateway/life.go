package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane"
	"hushgate/internal/instance"
)

// errEnd ends serve when everything is finished.
var errEnd = errors.New("ended")

// command is something that live carries out: an action, or a takeover.
type command struct {
	act   func(context.Context, *errgroup.Group)
	taker *net.UnixConn // of a takeover; closed when the conversation is over
	over  chan<- struct{}
}

// errEnding is the result of a command after the end has begun.
var errEnding = errors.New("hushgate is ending")

// command carries out a command of the lock's socket. Everything but an upgrade is asked of the control API. An upgrade can be asked
// for in both ways, so that the program of an older release, when it is installed again, can take over.
func (g *gateway) command(ctx context.Context, name string) (a instance.Answer) {
	if name != upgradeCommand {
		a.Error = fmt.Sprintf("unknown command %q: this release answers `hushgate` of the same release by its control API", name)
		return a
	}
	if err := (control{g}).Upgrade(ctx); err != nil {
		a.Error = err.Error()
	}
	return a
}

// pruneEvery is how often it is checked whether services and servers removed by a reload can be forgotten.
const pruneEvery = 10 * time.Second

// live carries out commands and signals, one after the other, until the end.
func (g *gateway) live(ctx context.Context, group *errgroup.Group, s *Signals) error {
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.asked.Done():
			close(g.ending)
			return g.drain(ctx, s.hurry)
		case <-s.reload:
			_, _ = g.reload(ctx, group, "SIGHUP") // it has already logged the result
		case c := <-g.commands:
			if c.taker == nil {
				c.act(ctx, group)
				continue
			}
			given := g.giveAway(ctx, s.asked, c.taker)
			close(c.over)
			if given {
				return errEnd
			}
		case <-g.moved:
			g.followSources(ctx, group)
		case <-g.relisted:
			g.relist(ctx)
		case <-prune.C:
			if err := g.prune(ctx, group); err != nil {
				g.lines.notForgotten(err)
			}
		}
	}
}

// The timing of a shutdown.
const (
	drainTick = 50 * time.Millisecond // between checks whether all connections have ended
	hardStop  = 10 * time.Second      // for resetting the rest, and for its log lines
)

// drain ends the service. It accepts no new connections, answers 421 to clients that wait for a server, and gives mail in
// flight the time that hard-stop-after allows. Then, or when it is asked to end again, it resets the rest.
func (g *gateway) drain(ctx context.Context, hurry <-chan struct{}) error {
	bound := g.cfg.Global.HardStopAfter
	g.status.with(ctx, stoppingState, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (bound+2*hardStop+repairPatience).Microseconds()))
	g.log.Info("stopping", "connections", g.remaining(ctx), "hard_stop_after", bound)
	end := time.NewTimer(bound)
	defer end.Stop()
	g.tellShards(ctx, dataplane.Shutdown{})
	why := "hard-stop-after is over"
	if n := g.waitForEnd(ctx, end.C, hurry); n > 0 {
		select {
		case <-hurry:
			why = "asked a second time"
		default:
		}
		g.log.Warn("resetting the connections that remain", "connections", n, "why", why)
		g.tellShards(ctx, dataplane.Shutdown{Now: true})
		last := time.NewTimer(hardStop)
		defer last.Stop()
		if n := g.waitForEnd(ctx, last.C, nil); n > 0 {
			g.log.Error("connections did not end in time", "connections", n)
		}
	}
	return errEnd
}

// waitForEnd waits until no connection remains, or until one of the channels ends the wait. It returns how many remain.
func (g *gateway) waitForEnd(ctx context.Context, enough <-chan time.Time, hurry <-chan struct{}) int {
	t := time.NewTicker(drainTick)
	defer t.Stop()
	for {
		n := g.remaining(ctx)
		if n == 0 {
			return 0
		}
		select {
		case <-enough:
			return n
		case <-hurry:
			return n
		case <-ctx.Done():
			return 0
		case <-t.C:
		}
	}
}
