package gateway

import (
	"time"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/connlog"
)

// attack bounds the lines about a frontend's rejected clients: so many in each second are written, the rest is counted, and a line
// every few seconds has the counts. With the lines that were written these are exact. Clients that reach a server, or would have if one
// had been up, always have their lines.
type attack struct {
	front  *front // as of the latest line
	second int64
	lines  int // written in that second
	since  time.Time
	counts [summaries]uint64
	timer  *time.Timer
}

// summary is what a line that was not written was about.
type summary int

// The kinds of line that are counted.
const (
	summaryConnect summary = iota // postscreen's CONNECT
	summaryTalk
	summaryHangup
	summaryRefused
	summaries
)

// summaryNames are the words of the summary line.
var summaryNames = [summaries]string{
	"connect", dataplane.VerdictEarlyTalker.String(), dataplane.VerdictHangup.String(), dataplane.VerdictRefused.String(),
}

// summaryEvery is the interval of summary lines.
const summaryEvery = 10 * time.Second

// summaryOf returns what a closed connection's line counts as; ok is false if it is always written.
func summaryOf(e *dataplane.Event) (s summary, ok bool) {
	switch e.Verdict {
	case dataplane.VerdictEarlyTalker:
		return summaryTalk, !e.Observed
	case dataplane.VerdictHangup:
		return summaryHangup, true
	case dataplane.VerdictRefused:
		return summaryRefused, true
	case dataplane.VerdictNone, dataplane.VerdictQuiet, dataplane.VerdictNoServer:
	}
	return 0, false
}

// writes reports whether a line is to be written, and counts it otherwise.
func (r *recorder) writes(frontend string, f *front, s summary) bool {
	if r.sampleAbove == 0 {
		return true
	}
	a := r.attacks[frontend]
	if a == nil {
		a = &attack{}
		r.attacks[frontend] = a
	}
	a.front = f
	now := time.Now()
	if second := now.Unix(); second != a.second {
		a.second, a.lines = second, 0
	}
	if a.lines < r.sampleAbove {
		a.lines++
		return true
	}
	a.counts[s]++
	if a.timer == nil {
		a.since = now
		a.timer = time.AfterFunc(summaryEvery, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.tellAttack(frontend, a)
		})
	}
	return false
}

// tellAttack writes the counts of a frontend, if there are any. The next line that is not written starts the interval again.
func (r *recorder) tellAttack(frontend string, a *attack) {
	if a.timer == nil {
		return
	}
	a.timer.Stop()
	a.timer = nil
	now := time.Now()
	s := connlog.Summary{Frontend: frontend, At: now, Within: now.Sub(a.since)}
	for i, n := range a.counts {
		s.Counts = append(s.Counts, connlog.SummaryCount{Name: summaryNames[i], N: n})
	}
	a.counts = [summaries]uint64{}
	r.buf = s.Append(r.buf[:0], a.front.format == config.LogJSON)
	for _, t := range a.front.targets {
		t.Line(connlog.Notice, r.buf)
	}
	r.log.Warn("rejected clients were not logged one by one", "frontend", frontend, "connections", s.Connections(),
		"within", s.Within.Round(time.Millisecond))
}

// summarise writes all counts. The caller holds r.mu.
func (r *recorder) summarise() {
	for frontend, a := range r.attacks {
		r.tellAttack(frontend, a)
	}
}
