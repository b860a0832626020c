package gateway

import (
	"context"
	"log/slog"
	"os"
	"time"

	"hushgate/internal/drive"
)

// losses are frames that were lost on this machine.
type losses struct{ queueFull, notSent uint64 }

func (g *gateway) losses() (l losses) {
	for _, w := range g.watched {
		for _, s := range w.List {
			st := s.Stats()
			l.queueFull += st.KernelDrop
			l.notSent += st.SendDrop
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
