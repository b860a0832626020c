package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/drive"
	"hushgate/internal/netenv"
	"hushgate/internal/plan"
)

// reload reads the configuration again and puts it in force, as a whole or not at all. Open connections are kept. It logs
// the result. The warnings are those of the file, and the new ones about the machine.
func (g *gateway) reload(ctx context.Context, group *errgroup.Group, why string) (warnings []string, err error) {
	g.notify(reloadingState())
	defer func() {
		g.reloads.note(err, time.Now())
		g.status.with(ctx, readyState)
	}()
	cfg, warnings, err := g.load()
	for _, w := range warnings {
		g.log.Warn("configuration", "warning", w)
	}
	if err == nil {
		err = plan.Unchangeable(&g.cfg.Global, &cfg.Global)
	}
	old, sources := g.plan, g.plan.Sources
	if err == nil {
		var own delays
		cfg, own = g.delays.over(cfg)
		cfg = g.shut.over(cfg)
		if err = g.reconfigure(ctx, group, cfg); err == nil {
			g.noteLoaded(warnings, own)
		}
	}
	if err != nil {
		g.log.Error("the configuration was not reloaded: the previous one stays in force", "asked_by", why, "err", err)
		return warnings, err
	}
	if w := g.apart(cfg); w != "" {
		g.log.Warn("configuration", "warning", w)
		warnings = append(warnings, w)
	}
	b := g.plan.Tables
	added, removed := difference(old.Tables.ServerNames(), b.ServerNames())
	g.log.Info("configuration reloaded", "services", len(b.Services)-len(b.RetiredServices), "servers", len(b.ServerNames()),
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

// noteLoaded records what was read of a configuration that is in force now. What was set by hand for other frontends
// is forgotten.
func (g *gateway) noteLoaded(warnings []string, own delays) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.loaded, g.own = loaded{time.Now(), slices.Clone(warnings)}, own
	maps.DeleteFunc(g.delays, func(name string, _ time.Duration) bool {
		_, there := own[name]
		return !there
	})
	maps.DeleteFunc(g.shut, func(name string, _ bool) bool {
		_, there := own[name]
		return !there
	})
}

// reconfigure puts a configuration in force. All steps that can fail come first, and are undone if a later one fails. Only
// live calls it, so the plan changes nowhere else. g.mu is locked when nothing is left to wait for.
func (g *gateway) reconfigure(ctx context.Context, group *errgroup.Group, cfg *config.Config) error {
	old := g.plan
	next, err := g.plan.Renew(cfg, netenv.NewMachine(g.mirror), g.used(ctx))
	if err != nil {
		return err
	}
	b := next.Tables
	for _, l := range g.loops {
		if err, ok := drive.Ask(ctx, l, func(s *dataplane.Shard) error { return s.CanReload(&b.Shard) }); err != nil || !ok {
			return errors.Join(err, ctx.Err())
		}
	}
	ready, err := g.ready(cfg, b)
	if err != nil {
		return err
	}
	if err := g.admit(old, next); err != nil {
		ready.abandon()
		return err
	}
	g.putInForce(ctx, group, cfg, next, ready.commit)
	g.kept.reloaded(ctx)
	return nil
}

// readiness is what a reload opens beforehand: the parts are put in force together, or not at all.
type readiness struct{ commits, abandons []func() }

func (r *readiness) add(commit, abandon func()) {
	r.commits, r.abandons = append(r.commits, commit), append(r.abandons, abandon)
}

func (r *readiness) commit() {
	for _, f := range r.commits {
		f()
	}
}

func (r *readiness) abandon() {
	for _, f := range r.abandons {
		f()
	}
}

// ready prepares the DNS lists, the logs, the metrics and the API over TCP of a configuration. After an error nothing of them is left.
func (g *gateway) ready(cfg *config.Config, b *plan.Tables) (_ *readiness, err error) {
	opened := &readiness{}
	defer func() {
		if err != nil {
			opened.abandon()
		}
	}()
	lists, err := g.lists.prepare(&cfg.Global.DNSLists, b)
	if err != nil {
		return nil, err
	}
	opened.add(lists.commit, lists.abandon)
	lines, err := g.lines.prepare(cfg, b.LogNames())
	if err != nil {
		return nil, err
	}
	opened.add(lines.commit, lines.abandon)
	scraped, err := g.metrics.Prepare(metricsAt(cfg))
	if err != nil {
		return nil, err
	}
	opened.add(scraped.Commit, scraped.Abandon)
	remote, err := g.changeRemote(cfg)
	if err != nil {
		return nil, err
	}
	opened.add(remote.Commit, remote.Abandon)
	return opened, nil
}

// putInForce is the part of reconfigure that cannot fail. commit puts the prepared logs and lists in force.
func (g *gateway) putInForce(ctx context.Context, group *errgroup.Group, cfg *config.Config, next *plan.Plan, commit func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old, b := g.plan, next.Tables
	g.cfg, g.plan = cfg, next
	commit()
	g.state.set(old.Tables, b)
	g.tally.set(&b.Names)
	g.feed.set(&b.Names)
	g.numbers.Set(namesOf(cfg))
	g.bygone.Set(cfg.Global.Recall, &b.Names)
	g.announce()
	g.tellReturns(func(l *drive.Loop, order func(*dataplane.Shard)) { l.Do(ctx, order) })
	g.tellShards(ctx, dataplane.Reload{Config: &b.Shard})
	g.check(ctx, group, b)
}

// admit installs the rules that keep the kernel from the new configuration's services, and lets the sockets receive their
// frames.
func (g *gateway) admit(old, next *plan.Plan) error {
	if g.rules != nil {
		if err := g.rules.replace(g.asked, installPatience, next.Firewall, next.Tables.Firewall); err != nil {
			return err
		}
	}
	err := g.admitFrames(old.Tables, next.Tables)
	if err != nil && g.rules != nil {
		err = errors.Join(err, g.rules.replace(context.Background(), repairPatience, old.Firewall, old.Tables.Firewall))
	}
	return err
}

// admitFrames lets the sockets receive what b serves. After an error they receive what old serves.
func (g *gateway) admitFrames(old, b *plan.Tables) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.setPrograms(b)
	if err != nil {
		err = errors.Join(err, g.setPrograms(old))
	}
	return err
}

// prune forgets services and servers that reloads have removed and that have no connections left. It removes their rules.
func (g *gateway) prune(ctx context.Context, group *errgroup.Group) error {
	old := g.plan.Tables
	if len(old.RetiredServices)+len(old.RetiredServers) == 0 || !old.Forgettable(g.used(ctx)) {
		return nil
	}
	if err := g.reconfigure(ctx, group, g.cfg); err != nil {
		return err
	}
	g.log.Info("services and servers removed by a reload have no connections left, and are forgotten", "names", old.Forgotten(g.plan.Tables))
	return nil
}

// difference lists what was added and what was removed, for the log.
func difference(old, now []string) (added, removed []string) {
	for _, n := range now {
		if !slices.Contains(old, n) {
			added = append(added, n)
		}
	}
	for _, n := range old {
		if !slices.Contains(now, n) {
			removed = append(removed, n)
		}
	}
	return added, removed
}

// returnsOf translates a plan's rules about answers to clients.
func returnsOf(p *plan.Plan) drive.Returns {
	return drive.Returns{
		Anywhere: p.ReversePath == config.PathOff, Routed: p.ReversePath == config.PathLoose, Servers: p.NoClients(),
	}
}

// tellReturns applies these rules of the plan in force to the loops.
func (g *gateway) tellReturns(do func(*drive.Loop, func(*dataplane.Shard))) {
	r := returnsOf(g.plan) // all loops read it, none changes it
	for _, l := range g.loops {
		do(l, func(*dataplane.Shard) { l.Route(r) })
	}
}
