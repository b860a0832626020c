package gateway

import (
	"context"
	"time"

	"hushgate/internal/logqueue"
)

// messages is how the process's own log is called among the targets.
const messages = "messages"

// logStats calls f for the process's own log and for each target of the connections' lines.
func (g *gateway) logStats(f func(target string, s logqueue.Stats)) {
	if g.messages != nil {
		f(messages, g.messages.Stats())
	}
	g.lines.stats(f)
}

// How often it is looked whether a log has lost lines, and how often it is told of each.
const (
	logsLookEvery = 10 * time.Second
	logsTellEvery = time.Minute
)

// logLosses is what has been told of the lines that each target lost.
type logLosses map[string]struct {
	lost uint64
	at   time.Time
}

// news returns how many lines a target has lost since that was told, 0 if it is too early to tell.
func (l logLosses) news(target string, lost uint64, now time.Time) uint64 {
	told := l[target]
	if lost < told.lost { // another of that name
		told.lost = 0
	}
	n := lost - told.lost
	if n == 0 || now.Sub(told.at) < logsTellEvery {
		return 0
	}
	told.lost, told.at = lost, now
	l[target] = told
	return n
}

// watchLogs tells the other logs, as far as they can be told, of a target that loses lines.
func (g *gateway) watchLogs(ctx context.Context) {
	losses := logLosses{}
	every(ctx, logsLookEvery, func() {
		g.logStats(func(target string, s logqueue.Stats) {
			if n := losses.news(target, s.Lost, time.Now()); n > 0 {
				g.log.Warn("log lines lost", "target", target, "lines", n, "err", s.Err)
			}
		})
	})
}

// tellLogStats is the part of SIGUSR1's answer about the logs.
func (g *gateway) tellLogStats() {
	g.logStats(func(target string, s logqueue.Stats) {
		g.log.Info("log", "target", target, "written", s.Written, "lost", s.Lost, "waiting", s.Waiting)
	})
}
