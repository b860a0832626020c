package gateway

import (
	"context"
	"errors"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/drive"
)

// With access-watch, the files of access lists are read again when they change. Then they are put in force without a reload: only
// what is decided about new connections changes.

// listsEvery is how often the files are looked at. One that has changed is read at the second look.
const listsEvery = time.Second

// watchLists reads files of lists again that have changed. A large one takes a second or more, so live only puts it in force.
func (g *gateway) watchLists(ctx context.Context) {
	every(ctx, listsEvery, func() {
		g.mu.Lock()
		cfg := g.cfg
		g.mu.Unlock()
		read, errs := cfg.LookAtLists(time.Now())
		g.reloads.lists(0, len(errs))
		for _, err := range errs {
			g.log.Error("the list was not read again: what it said before stays in force", "err", err)
		}
		if !read {
			return
		}
		select {
		case g.relisted <- struct{}{}:
		default:
		}
	})
}

// relist puts in force what the files of lists say now. Only live calls it.
func (g *gateway) relist(ctx context.Context) {
	cfg, changed := g.cfg.Refreshed()
	if len(changed) == 0 { // a reload was faster
		return
	}
	if err := g.putLists(ctx, cfg); err != nil {
		g.reloads.lists(0, 1)
		g.log.Error("the changed lists were not put in force: what they said before stays in force", "err", err)
		return
	}
	g.reloads.lists(1, 0)
	for _, t := range changed {
		g.log.Info("list read again", "file", t.Name(), "entries", t.Len())
		for _, w := range config.ListWarnings(t) {
			g.log.Warn("configuration", "warning", w)
		}
	}
}

func (g *gateway) putLists(ctx context.Context, cfg *config.Config) error {
	next, err := g.plan.Relist(cfg)
	if err != nil {
		return err
	}
	b := next.Tables
	for _, l := range g.loops {
		if err, ok := drive.Ask(ctx, l, func(s *dataplane.Shard) error { return s.CanReload(&b.Shard) }); err != nil || !ok {
			return errors.Join(err, ctx.Err())
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cfg, g.plan = cfg, next
	g.tellShards(ctx, dataplane.Reload{Config: &b.Shard})
	return nil
}
