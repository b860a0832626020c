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

// tellSources logs the sources that were not told of before.
func (g *gateway) tellSources(known []plan.RoutedSource) {
	for _, s := range g.plan.Sources {
		if !slices.Contains(known, s) {
			g.log.Info("source chosen", "why", s.String())
		}
	}
}

// followSources connects to servers from other addresses if the routes to them prefer others now. What stands goes on from
// the address that it began with, as at a reload.
func (g *gateway) followSources(ctx context.Context, group *errgroup.Group) {
	_, now, err := plan.RouteSources(g.cfg, g.plan.Chosen.Services, g.mirror.SourceTo)
	if err != nil { // there is no way at the moment: when there is one again, the address may be the same
		g.log.Debug("the address to connect to a server from is not known", "err", err)
		return
	}
	moves := plan.MovedSources(g.plan.Sources, now)
	if len(moves) == 0 {
		return
	}
	if err := g.reconfigure(ctx, group, g.cfg); err != nil {
		g.log.Error("servers are connected to from the address before: a reload, or the next change of the network, tries again",
			"err", err)
		return
	}
	for _, m := range moves {
		g.log.Warn("this machine's address towards a server has changed: the server must trust PROXY headers from it",
			"server", m.Now.Server, "from", m.Was.Source.Addr, "to", m.Now.Source.Addr)
	}
}

// networkChanged is called when a way may have opened: followNetwork looks what it means.
func (g *gateway) networkChanged() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// followNetwork opens the sockets of interfaces that have returned, lets the loops try parked frames, and tells the shards
// about addresses that came or went.
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

// tellWays warns when the network has changed so that the interfaces that were chosen at the start are no longer all, or
// that something else is not as the configuration needs it: an address that VRRP has brought or taken, a card that came
// later, another default route. What was told is told again when it had been over meanwhile.
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

// newWays is what is to be said of the network as it is, and was not said at the start.
func (g *gateway) newWays() (words []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, err := plan.New(g.cfg, netenv.NewMachine(g.mirror))
	switch {
	case errors.Is(err, netenv.ErrDown): // told where links are followed
		return nil
	case err != nil:
		return []string{fmt.Sprintf("as the network is now, hushgate would not start: %v", err)}
	}
	return g.plan.News(now)
}
