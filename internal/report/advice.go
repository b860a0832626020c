package report

import (
	"fmt"
	"time"

	"hushgate/internal/logread"
)

// enough is how many early talkers make an advice.
const enough = 100

// caught is the share of early talkers that an advised delay would still have caught.
const caught = 0.99

// delay returns what the numbers say of the delay: what it is, and which shorter one would do; 0 if that is not known.
func (r *Report) delay() (now, shorter time.Duration) {
	now = r.waits.usual()
	at, ok := r.talk.quantile(caught)
	const step = 500 * time.Millisecond
	if at = (at + step - 1) / step * step; ok && r.talk.total >= enough && now > 0 && 2*at < now {
		shorter = at
	}
	return now, shorter
}

// adviseDelay says what the numbers mean for the delay. Nobody knows who would have talked after the delay.
func (r *Report) adviseDelay() string {
	if r.talk.total == 0 {
		return ""
	}
	if r.talk.total < enough {
		return fmt.Sprintf("%d early talkers with a time are too few for an advice about the delay: it needs %d.", r.talk.total, enough)
	}
	at, ok := r.talk.quantile(caught)
	if !ok {
		return fmt.Sprintf("More than 1 %% of %d early talkers talked after a minute or later: a shorter delay would let them pass.", r.talk.total)
	}
	s := fmt.Sprintf("99 %% of %d early talkers had talked within %v", r.talk.total, at)
	switch now, shorter := r.delay(); {
	case now == 0:
		return s + ". How long clients must wait is not known from these records; a delay shorter than that would let more of them pass."
	case shorter > 0:
		s += fmt.Sprintf("; most clients that waited did so for %v. A delay of %v would have caught as many. Bots that wait longer than the present delay are not known.",
			now.Round(100*time.Millisecond), shorter)
		if n := r.leaves.total - r.leaves.within(shorter); n > 0 {
			s += fmt.Sprintf(" %d of the %d clients that gave up had waited for that long.", n, r.leaves.total)
		}
		return s
	default:
		return s + fmt.Sprintf("; most clients that waited did so for %v. Many talk late: a longer delay may catch more. Try it with on-early-talk: observe.", now)
	}
}

// advice says what a reader must know about the numbers.
func (r *Report) advice() (list []string) {
	all := r.total.sum()
	add := func(n uint64, format string, args ...any) {
		if n > 0 {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	if all == 0 {
		list = append(list, "There are no records of this time.")
	}
	add(r.observed, "%d early talkers were only observed, and let in (on-early-talk: observe).", r.observed)
	add(r.unlogged, "%d connections came so fast that they were only counted: networks, signatures and times are those of a sample.", r.unlogged)
	add(r.lost, "%d lines were lost on their way into the log: the numbers are too small.", r.lost)
	add(r.others, "%d connections were of networks beyond the first %d.", r.others, maxNetworks)
	if r.captured && all > 0 && all == r.total[logread.EarlyTalker] {
		list = append(list, "The captures have early talkers alone, as those that hushgate keeps: the report knows nothing of other clients.")
	}
	return append(list, r.remarks...)
}
