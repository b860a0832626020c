package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/drive"
	"hushgate/internal/policy"
)

// losses are frames that were lost on this machine.
type losses struct{ queueFull, notSent uint64 }

func (g *gateway) losses() (l losses) {
	for _, w := range g.watched {
		for _, s := range w.List {
			full, not := s.Lost()
			l.queueFull += full
			l.notSent += not
		}
	}
	return l
}

// watchLosses logs losses soon after they happen.
func (g *gateway) watchLosses(ctx context.Context) {
	var last losses
	every(ctx, verifyEvery, func() {
		now := g.losses()
		if now != last {
			g.log.Warn("frames lost", "receive_queue_full", now.queueFull-last.queueFull, "not_sent", now.notSent-last.notSent)
		}
		last = now
	})
}

// watchFailures logs frames that were not sent.
func (g *gateway) watchFailures(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-g.lost.First():
			logFailure(&g.lines.often, g.lost, f, g.mirror.LinkName)
		}
	}
}

// logFailure logs the first frame that was not sent for a reason, and from then on how many there are. name returns the name
// of an interface.
func logFailure(r *recurring, lost *drive.Failures, f drive.Failure, name func(ifindex int) string) {
	t := topic{level: slog.LevelWarn, message: "frame not sent", why: f.Why()}
	s := &series{
		message: "frames not sent", args: []any{"why", f.Why()}, unit: "count",
		more: func() int { return lost.More(f) }, over: func() { lost.Rest(f) },
	}
	first := []any{"to", f.To.String(), "why", f.Why()}
	if f.Ifindex != 0 {
		first = append(first, "interface", name(f.Ifindex))
	}
	r.follow(t, s, first...)
}

// watchClock follows changes of the system's clock, for the times in the log. Nothing else depends on that clock.
func (g *gateway) watchClock(ctx context.Context) {
	every(ctx, time.Second, func() {
		if by := g.clock.Follow(time.Now()); by != 0 {
			g.log.Info("the system's clock was set, or the machine has slept", "by", by.Round(time.Millisecond))
		}
	})
}

// tellOnSignal logs every counter on SIGUSR1.
func (g *gateway) tellOnSignal(ctx context.Context, usr1 <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-usr1:
		}
		g.tell(ctx)
	}
}

// tell logs every counter.
func (g *gateway) tell(ctx context.Context) {
	g.tellLogStats()
	g.lists.tellStats()
	g.kept.tellStats()
	sum := &policySum{tell: g.tellCounts, missing: len(g.loops)}
	for i, l := range g.loops {
		l.Do(ctx, func(s *dataplane.Shard) {
			stats, counts := s.Stats(), s.PolicyCounts()
			go func() { // so that the shard does not wait
				g.tellStats(i, &stats)
				sum.add(counts)
			}()
		})
	}
}

// policySum adds up what the shards count of rules and lists, and tells it when all have answered.
type policySum struct {
	tell func(*policy.Counts)

	mu      sync.Mutex
	counts  []policy.Counts
	missing int
}

func (s *policySum) add(c policy.Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = append(s.counts, c)
	if s.missing--; s.missing == 0 {
		sum := policy.Sum(s.counts...)
		s.tell(&sum)
	}
}

// tellCounts logs a line for each rule and each list.
func (g *gateway) tellCounts(c *policy.Counts) {
	for m, n := range dataplane.EachCount(c) {
		g.log.Info("counter", slog.String(m.Label, m.Value), slog.Uint64(m.Name, n))
	}
}

// tellStats logs all counters of a shard. Counters that differ only by a label form a group. Reasons for dropped frames that
// did not occur are left out.
func (g *gateway) tellStats(shard int, s *dataplane.Stats) {
	line := []any{slog.Int("shard", shard)}
	groups := map[string][]any{}
	var names []string
	for m, n := range s.Each() {
		switch {
		case m.Label == "":
			line = append(line, slog.Uint64(m.Name, n))
			continue
		case groups[m.Name] == nil:
			names, groups[m.Name] = append(names, m.Name), []any{}
		}
		if n > 0 || m.Label != "reason" {
			groups[m.Name] = append(groups[m.Name], slog.Uint64(m.Value, n))
		}
	}
	for _, name := range names {
		line = append(line, slog.Group(name, groups[name]...))
	}
	g.log.Info("counters", append(line, "losses", fmt.Sprintf("%+v", g.losses()))...)
}
