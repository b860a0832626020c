package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane"
	"hushgate/internal/netenv"
	"hushgate/internal/plan"
	"hushgate/internal/wire"
)

// tellSources logs the server-side addresses that were not logged before.
func (g *gateway) tellSources(known []plan.RoutedSource) {
	for _, s := range g.plan.Sources {
		if !slices.Contains(known, s) {
			g.log.Info("server-side address chosen", "why", s.String())
		}
	}
}

// followSources uses other server-side addresses if the routes to the servers now prefer others. Open connections keep the
// address with which they began, as in a reload.
func (g *gateway) followSources(ctx context.Context, group *errgroup.Group) {
	_, now, err := plan.RouteSources(g.cfg, g.plan.Chosen.Services, g.mirror.SourceTo)
	if err != nil { // there is no route at the moment; when there is one again, the address may be the same
		g.log.Debug("there is no server-side address at the moment", "err", err)
		return
	}
	moves := plan.MovedSources(g.plan.Sources, now)
	if len(moves) == 0 {
		return
	}
	if err := g.reconfigure(ctx, group, g.cfg); err != nil {
		g.log.Error("the change of a server-side address failed: the old address stays in use until a reload or the next change of the network",
			"err", err)
		return
	}
	for _, m := range moves {
		g.log.Warn("this machine's address towards a server has changed: the server must trust PROXY headers from it",
			"server", m.Now.Server, "from", m.Was.Source.Addr, "to", m.Now.Source.Addr)
	}
}

// networkChanged is called when a route may have appeared. followNetwork then finds out what has changed.
func (g *gateway) networkChanged() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// followNetwork opens the sockets of interfaces that have returned, lets the loops retry parked frames, and tells the shards
// about addresses that were added or removed.
func (g *gateway) followNetwork(ctx context.Context) error {
	var known []wire.Addr
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.changed:
		}
		g.followLinks(ctx)
		g.mu.Lock()
		g.announce()
		g.mu.Unlock()
		select {
		case g.moved <- struct{}{}:
		default:
		}
		if now := g.mirror.Addresses(); !slices.Equal(now, known) {
			known = now
			g.tellShards(ctx, dataplane.LocalAddresses(now))
		}
		for _, l := range g.loops {
			l.Do(ctx, func(*dataplane.Shard) { l.RetryNow() })
		}
		g.tellWays()
	}
}

// tellWays warns when a change of the network contradicts the configuration, or makes an interface necessary that was not
// chosen at the start. Causes are, for example, an address that VRRP adds or removes, a new network card, or another default
// route. A warning that was over meanwhile is logged again.
func (g *gateway) tellWays() {
	version := g.mirror.Version()
	if version == g.waysOf {
		return
	}
	g.waysOf = version
	now := map[string]bool{}
	for _, w := range g.newWays() {
		now[w] = true
		if !g.waysTold[w] {
			g.log.Warn("network", "warning", w)
		}
	}
	g.waysTold = now
}

// newWays returns the warnings about the present network that were not given at the start.
func (g *gateway) newWays() (words []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, err := plan.New(g.cfg, netenv.NewMachine(g.mirror))
	switch {
	case errors.Is(err, netenv.ErrDown): // followLinks logs that
		return nil
	case err != nil:
		return []string{fmt.Sprintf("with the network as it is now, hushgate would not start: %v", err)}
	}
	return g.plan.News(now)
}
