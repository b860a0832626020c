package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/firewall"
	"hushgate/internal/netenv"
)

// reload reads the configuration anew and puts it in the place of the one in force, whole or not at all. What stands is
// not touched. It tells the log how that went; the warnings are the file's, and what is new to be said of the machine.
func (g *gateway) reload(ctx context.Context, group *errgroup.Group, why string) (warnings []string, err error) {
	g.notify(reloadingState())
	defer func() { g.notify(readyState, g.state.status()) }()
	cfg, warnings, err := g.load()
	for _, w := range warnings {
		g.log.Warn("configuration", "warning", w)
	}
	if err == nil {
		err = unchangeable(&g.cfg.Global, &cfg.Global)
	}
	old, sources := g.plan, g.plan.Sources
	if err == nil {
		err = g.reconfigure(ctx, group, cfg)
	}
	if err != nil {
		g.log.Error("the configuration was not reloaded: the one before stays in force", "asked_by", why, "err", err)
		return warnings, err
	}
	b := g.plan.built
	added, removed := difference(old.built.serverNames(), b.serverNames())
	g.log.Info("configuration reloaded", "services", len(b.services)-len(b.retiredServices), "servers", len(b.serverNames()),
		"servers_added", added, "servers_removed", removed)
	for _, w := range g.plan.Warnings {
		if !slices.Contains(old.Warnings, w) {
			g.log.Warn("network", "warning", w)
			warnings = append(warnings, w)
		}
	}
	g.tellSources(sources)
	return warnings, nil
}

// unchangeable reports what differs and cannot change while the process runs.
func unchangeable(old, now *config.Global) error {
	var changes []string
	differs := func(what string, old, now any) {
		if fmt.Sprint(old) != fmt.Sprint(now) {
			changes = append(changes, fmt.Sprintf("%s (%v, now %v)", what, old, now))
		}
	}
	differs("outside", old.Outside, now.Outside)
	differs("inside", old.Inside, now.Inside)
	differs("shards (nbthread)", old.Shards, now.Shards)
	differs("maxconn", old.MaxConn, now.MaxConn)
	differs("receive-buffer", old.ReceiveBuffer, now.ReceiveBuffer)
	differs("capture", old.Capture, now.Capture)
	differs("firewall.manage", old.Firewall.Manage, now.Firewall.Manage)
	differs("firewall.sysctls", old.Firewall.Sysctls, now.Firewall.Sysctls)
	if len(changes) > 0 {
		return fmt.Errorf("these cannot change while hushgate runs: %s: hushgate upgrade does it", strings.Join(changes, ", "))
	}
	return nil
}

// reconfigure puts a configuration in force. All that can fail comes first, and what it changed is put back. live alone calls
// it, so that the plan changes nowhere else; g.mu is taken when there is nothing left to wait for.
func (g *gateway) reconfigure(ctx context.Context, group *errgroup.Group, cfg *config.Config) error {
	old := g.plan
	plan, err := g.planAnew(cfg, g.used(ctx))
	if err != nil {
		return err
	}
	b := plan.built
	for _, l := range g.loops {
		if err, ok := ask(ctx, l, func(s *dataplane.Shard) error { return s.CanReload(&b.shard) }); err != nil || !ok {
			return errors.Join(err, ctx.Err())
		}
	}
	lines, err := g.lines.prepare(cfg, &b.names)
	if err != nil {
		return err
	}
	if err := g.admit(old, plan); err != nil {
		lines.abandon()
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cfg, g.plan = cfg, plan
	lines.commit()
	g.state.set(old.built, b)
	g.announce()
	g.tellReturns(func(l *loop, order func(*dataplane.Shard)) { l.do(ctx, order) })
	g.tellShards(ctx, dataplane.Reload{Config: &b.shard})
	g.check(ctx, group, b)
	return nil
}

// planAnew works out what a configuration means now, numbered like the one in force.
func (g *gateway) planAnew(cfg *config.Config, used uses) (*Plan, error) {
	plan, err := NewPlan(cfg, g.mirror)
	if err != nil {
		return nil, err
	}
	for _, side := range []struct {
		name     string
		old, now []*netenv.Link
	}{{"outside", g.plan.Chosen.Outside, plan.Chosen.Outside}, {"inside", g.plan.Chosen.Inside, plan.Chosen.Inside}} {
		if old, now := sorted(side.old), sorted(side.now); !slices.Equal(old, now) {
			return nil, fmt.Errorf("the %s would be %s, and is %s: hushgate upgrade does that", side.name,
				strings.Join(now, ", "), strings.Join(old, ", "))
		}
	}
	open := plan.Open
	plan.built = plan.built.inherit(g.plan.built, used)
	if plan.built.distinctWaits() > maxWaits {
		return nil, dataplane.ErrTooManyWaits
	}
	plan.built.shard.Local = g.mirror.Addresses()
	plan.Firewall, plan.Open = firewall.NewPlan(plan.built.firewall), open
	return plan, nil
}

func sorted(links []*netenv.Link) []string {
	names := linkNames(links)
	slices.Sort(names)
	return names
}

// used asks the shards what they have connections with.
func (g *gateway) used(ctx context.Context) (known uses) {
	for _, l := range g.loops {
		u, _ := ask(ctx, l, func(s *dataplane.Shard) (u uses) {
			u.add(s.Uses())
			return u
		})
		known.add(u.services, u.servers)
	}
	return known
}

// admit has the kernel keep its hands off what the new configuration serves, and the sockets hear it.
func (g *gateway) admit(old, plan *Plan) error {
	if g.rules != nil {
		if err := g.rules.replace(g.asked, installPatience, plan.Firewall, plan.built.firewall); err != nil {
			return err
		}
	}
	err := g.admitFrames(old.built, plan.built)
	if err != nil && g.rules != nil {
		err = errors.Join(err, g.rules.replace(context.Background(), repairPatience, old.Firewall, old.built.firewall))
	}
	return err
}

// admitFrames has the sockets hear what b serves; after an error what old does.
func (g *gateway) admitFrames(old, b *built) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.setPrograms(b)
	if err != nil {
		err = errors.Join(err, g.setPrograms(old))
	}
	return err
}

// prune forgets what reloads have taken out and has no connections any more: its rules go.
func (g *gateway) prune(ctx context.Context, group *errgroup.Group) error {
	old := g.plan.built
	if len(old.retiredServices)+len(old.retiredServers) == 0 || !old.forgettable(g.used(ctx)) {
		return nil
	}
	if err := g.reconfigure(ctx, group, g.cfg); err != nil {
		return err
	}
	g.log.Info("what a reload has taken out has no connections left, and is forgotten", "names", old.forgotten(g.plan.built))
	return nil
}

// forgettable is whether anything that is retired is not used any more.
func (b *built) forgettable(used uses) bool {
	for id := range b.retiredServices {
		if !used.services[id] {
			return true
		}
	}
	for id := range b.retiredServers {
		if !used.servers[id] {
			return true
		}
	}
	return false
}

// forgotten names what was retired and is not even that any more.
func (b *built) forgotten(now *built) (names []string) {
	for id := range b.retiredServices {
		if !now.retiredServices[id] {
			names = append(names, b.names.Services[id].Address)
		}
	}
	for id := range b.retiredServers {
		if !now.retiredServers[id] {
			names = append(names, nameOf(b.names.Servers[id]))
		}
	}
	slices.Sort(names)
	return names
}
