package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hushgate/internal/instance"
	"hushgate/internal/netenv"
	"hushgate/internal/plan"
	"hushgate/internal/privilege"
)

// prepare makes all checks and changes nothing. It gives up when the process is asked to end.
func (g *gateway) prepare(ctx, asked context.Context) (err error) {
	if err := privilege.Check(); err != nil {
		return err
	}
	if g.successor == nil {
		if g.lock, err = instance.Acquire(); err != nil {
			return err
		}
	}
	if g.mirror, err = netenv.NewMirror(ctx, g.log, g.networkChanged); err != nil {
		return fmt.Errorf("read the network: %w", err)
	}
	if err := g.choose(asked); err != nil {
		return err
	}
	if err := g.successor.extend(g.plan); err != nil {
		return err
	}
	g.plan.Tables.Shard.Local = g.mirror.Addresses()
	drawKeys(&g.plan.Tables.Shard)
	for _, r := range g.plan.Chosen.Reasons {
		g.log.Info("interface chosen", "why", r)
	}
	for _, w := range g.plan.Warnings {
		g.log.Warn("network", "warning", w)
	}
	g.tellSources(nil)
	for _, s := range g.plan.Tables.Names.Services {
		g.log.Info("service", "vip", s.Address, "frontend", s.Frontend, "backend", s.Backend)
	}
	if g.cfg.Global.Firewall.Manage {
		if g.rules, err = newRules(asked, g.plan.Firewall, g.log); err != nil {
			return err
		}
	}
	if err := g.beginLists(); err != nil {
		return err
	}
	g.state.set(nil, g.plan.Tables)
	g.tally.set(&g.plan.Tables.Names)
	g.feed.set(&g.plan.Tables.Names)
	g.bygone.Set(g.cfg.Global.Recall, &g.plan.Tables.Names)
	if err := g.prepareMetrics(); err != nil {
		return err
	}
	if err := g.prepareRemote(); err != nil {
		return err
	}
	if g.lines, err = newRecorder(g.cfg, g.clock, g.plan.Tables.LogNames(), g.log); err != nil {
		return err
	}
	g.lines.stress = g.status.changed
	return nil
}

// linkPatience is how long a link may take to come up at the start. An interface that was configured a moment ago may need a
// little time.
const linkPatience = 5 * time.Second

func (g *gateway) choose(ctx context.Context) (err error) {
	for deadline := time.Now().Add(linkPatience); ; {
		g.plan, err = plan.New(g.cfg, netenv.NewMachine(g.mirror))
		if !errors.Is(err, netenv.ErrDown) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
