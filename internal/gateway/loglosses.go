package gateway

import (
	"context"
	"os"
	"time"

	"hushgate/internal/logqueue"
)

// messages is the name of the process's own log among the targets.
const messages = "messages"

// logStats calls f for the process's own log and for each target of connection lines.
func (g *gateway) logStats(f func(target string, s logqueue.Stats)) {
	if g.messages != nil {
		f(messages, g.messages.Stats())
	}
	g.lines.stats(f)
}

// How often logs are checked for lost lines, and how often losses of each one are logged.
const (
	logsLookEvery = 10 * time.Second
	logsTellEvery = time.Minute
)

// logLosses records the losses of each target that were already logged.
type logLosses map[string]struct {
	lost uint64
	at   time.Time
}

// news returns how many lines a target has lost since the last report, or 0 if it is too early for another one.
func (l logLosses) news(target string, lost uint64, now time.Time) uint64 {
	told := l[target]
	if lost < told.lost { // another target with the same name
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

// logWaits records when the waiting lines of each target were logged.
type logWaits map[string]time.Time

// news reports whether lines wait because the target has an error, and it is time to say so.
func (l logWaits) news(target string, s logqueue.Stats, now time.Time) bool {
	if s.Waiting == 0 || s.Err == nil || now.Sub(l[target]) < logsTellEvery {
		return false
	}
	l[target] = now
	return true
}

// watchLogs reports a target that loses lines to the other logs, as far as they work.
func (g *gateway) watchLogs(ctx context.Context) {
	losses, waits := logLosses{}, logWaits{}
	every(ctx, logsLookEvery, func() {
		g.logStats(func(target string, s logqueue.Stats) {
			if waits.news(target, s, time.Now()) {
				g.log.Warn("log lines wait", "target", target, "lines", s.Waiting, "err", s.Err)
			}
			if n := losses.news(target, s.Lost, time.Now()); n > 0 {
				g.log.Warn("log lines lost", "target", target, "lines", n, "err", s.Err)
			}
		})
	})
}

// reopenOnSignal opens files of the log anew when the process gets the signal.
func (g *gateway) reopenOnSignal(ctx context.Context, asked <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-asked:
			g.lines.reopen()
		}
	}
}
