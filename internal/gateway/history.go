package gateway

import (
	"context"
	"sync"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/admin"
)

// historyStep is the time from one sample to the next, and historyRoom how many are kept: half an hour.
const (
	historyStep = 2 * time.Second
	historyRoom = 900
)

const verdictKinds = len(dataplane.Stats{}.Verdict)

// history keeps what the control API shows as curves: how many connections there were in each phase, and how many ended with
// each verdict since the sample before.
type history struct {
	mu   sync.Mutex
	ring []sample
	end  uint64           // how many samples there ever were
	last *dataplane.Stats // of the newest sample
}

type sample struct {
	at       time.Time
	phases   [dataplane.Phases]int64
	verdicts [verdictKinds]uint64
}

// keepHistory takes samples until ctx is done. A shard that has nothing to do is not woken for it: waking an idle process costs more
// than all the rest.
func (g *gateway) keepHistory(ctx context.Context) {
	var turns uint64
	every(ctx, historyStep, func() {
		if turns == g.turns() && g.history.repeat(time.Now()) {
			return
		}
		if counts, err := g.counts(ctx); err == nil {
			g.history.add(time.Now(), &counts.Stats)
			turns = g.turns()
		}
	})
}

// turns is how often the shards' loops have begun a turn, all together.
func (g *gateway) turns() (sum uint64) {
	for _, l := range g.loops {
		sum += l.Turns()
	}
	return sum
}

// repeat adds a sample like the newest one. It returns false if there is none.
func (h *history) repeat(now time.Time) bool {
	h.mu.Lock()
	last := h.last
	h.mu.Unlock()
	if last != nil {
		h.add(now, last)
	}
	return last != nil
}

// add adds a sample. The first numbers only say from where on to count: a process that has taken over goes on with those of
// the one before.
func (h *history) add(now time.Time, stats *dataplane.Stats) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.last
	own := *stats
	if h.last = &own; before == nil {
		return
	}
	s := sample{at: now, phases: stats.Phase}
	for i := range s.verdicts {
		s.verdicts[i] = stats.Verdict[i] - before.Verdict[i]
	}
	if len(h.ring) < historyRoom {
		h.ring = append(h.ring, s)
	} else {
		h.ring[h.end%historyRoom] = s
	}
	h.end++
}

// after returns the samples after the one with a number; all if there are not that many.
func (h *history) after(number uint64) (list []sample, first uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if first = h.end - uint64(len(h.ring)); number >= first && number <= h.end {
		first = number
	}
	for i := first; i < h.end; i++ {
		list = append(list, h.ring[i%historyRoom])
	}
	return list, first + 1
}

// History implements admin.Viewer.
func (c control) History(_ context.Context, after uint64) (admin.History, error) {
	samples, first := c.history.after(after)
	v := admin.History{
		Started: c.began, StepMs: historyStep.Milliseconds(), First: first, Times: []time.Time{},
		Connections: map[string][]int64{}, Verdicts: map[string][]uint64{},
	}
	for i := range samples {
		v.Times = append(v.Times, samples[i].at.UTC().Truncate(time.Millisecond))
	}
	for p := range dataplane.Phases {
		curve := make([]int64, len(samples))
		for i := range samples {
			curve[i] = samples[i].phases[p]
		}
		v.Connections[dataplane.Phase(p).String()] = curve
	}
	for w := range verdictKinds {
		curve := make([]uint64, len(samples))
		for i := range samples {
			curve[i] = samples[i].verdicts[w]
		}
		v.Verdicts[dataplane.Verdict(w).String()] = curve
	}
	return v, nil
}
