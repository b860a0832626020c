package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"hushgate/dataplane"
)

// losses are frames that went nowhere for a reason of this machine's.
type losses struct{ queueFull, notSent, unroutable, unresolved uint64 }

func (g *gateway) losses() (l losses) {
	for _, w := range g.watched {
		for _, s := range w.sockets {
			full, not := s.stats()
			l.queueFull += full
			l.notSent += not
		}
	}
	for _, p := range g.loops {
		l.unroutable += p.egress.unroutable.Load()
		l.unresolved += p.egress.unresolved.Load()
	}
	return l
}

// watchLosses tells of losses soon after they happened.
func (g *gateway) watchLosses(ctx context.Context) error {
	t := time.NewTicker(verifyEvery)
	defer t.Stop()
	var last losses
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now := g.losses()
		if now != last {
			g.log.Warn("frames lost", "receive_queue_full", now.queueFull-last.queueFull, "not_sent", now.notSent-last.notSent,
				"no_route", now.unroutable-last.unroutable, "no_neighbour", now.unresolved-last.unresolved)
		}
		last = now
	}
}

// watchClock takes over what the system's clock was set by, for the times in the log. Nothing else depends on it.
func (g *gateway) watchClock(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if by := g.clock.Follow(time.Now()); by != 0 {
			g.log.Info("the system's clock was set, or the machine has slept", "by", by.Round(time.Millisecond))
		}
	}
}

// tellOnSignal logs every counter when SIGUSR1 arrives.
func (g *gateway) tellOnSignal(ctx context.Context, usr1 <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-usr1:
		}
		for i, l := range g.loops {
			l.do(ctx, func(s *dataplane.Shard) {
				stats := s.Stats()
				go g.tellStats(i, &stats) // not on the shard's time
			})
		}
	}
}

func (g *gateway) tellStats(shard int, s *dataplane.Stats) {
	var phases, verdicts, drops []any
	for p := range dataplane.Phase(dataplane.Phases) {
		phases = append(phases, slog.Int64(p.String(), s.Phase[p]))
	}
	for v, n := range s.Verdict {
		verdicts = append(verdicts, slog.Uint64(dataplane.Verdict(v).String(), n))
	}
	for d, n := range s.Dropped {
		if n > 0 {
			drops = append(drops, slog.Uint64(dataplane.Drop(d).String(), n))
		}
	}
	g.log.Info("counters", slog.Int("shard", shard), slog.Group("flows", phases...), slog.Group("verdicts", verdicts...),
		slog.Group("dropped", drops...), "frames", s.Frames, "forwarded", s.Forwarded, "syns", s.SYNs, "opened", s.Opened,
		"stateless", s.Stateless, "recalled", s.Recalled, "spliced", s.Spliced, "handshakes_expired", s.HandshakesExpired, "synacks_again", s.SYNACKsAgain, "syns_again", s.SYNsAgain,
		"servers_failed", s.ServersFailed, "offers_broken", s.OffersBroken, "tuples_in_use", s.TuplesInUse,
		"source_ports_used_up", s.SourcePortsUsedUp,
		"challenge_acks", s.ChallengeACKs, "stray_rsts", s.StrayRSTs, "icmp_errors", s.ICMPErrors, "losses", fmt.Sprintf("%+v", g.losses()))
}
