package gateway

import (
	"context"
	"sync/atomic"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
)

// silenceBounds are the upper bounds of the classes of how long clients kept silent, six to a decade: on a
// logarithmic scale bots, which talk within a round trip or a few seconds, and mail servers, which wait, part.
var silenceBounds = []time.Duration{
	1 * ms, 2 * ms, 3 * ms, 5 * ms, 7 * ms, 10 * ms, 15 * ms, 20 * ms, 30 * ms, 50 * ms, 70 * ms, 100 * ms, 150 * ms, 200 * ms, 300 * ms,
	500 * ms, 700 * ms, 1 * sec, 1500 * ms, 2 * sec, 3 * sec, 5 * sec, 7 * sec, 10 * sec, 15 * sec, 20 * sec, 30 * sec, 50 * sec, 70 * sec,
	100 * sec, 150 * sec, 200 * sec, 300 * sec, 500 * sec,
}

const (
	ms  = time.Millisecond
	sec = time.Second
)

// silences counts for the control API how long clients kept silent. It is a sink of every shard.
type silences struct {
	began                time.Time
	early, quiet, hangUp classes
}

// classes has one number for each bound, and one for what is beyond the last.
type classes [35]atomic.Uint64

// Take implements drive.Sink.
func (s *silences) Take(_ int, events []dataplane.Event) {
	for i := range events {
		if e := &events[i]; e.Kind == dataplane.EventClosed {
			s.closed(e)
		}
	}
}

func (s *silences) closed(e *dataplane.Event) {
	switch {
	case e.Verdict == dataplane.VerdictHangup:
		s.hangUp.count(e.Established, e.Closed)
	case e.Verdict == dataplane.VerdictEarlyTalker, e.Observed:
		s.early.count(e.Established, e.FirstByte)
	case e.Accepted, e.Pass == policy.PassOld: // it had nothing to wait for
	default:
		s.quiet.count(e.Established, e.FirstByte)
	}
}

// count counts the time between two events, if both have happened.
func (c *classes) count(from, to mono.Time) {
	if from == 0 || to == 0 {
		return
	}
	d, i := to.Sub(from), 0
	for i < len(silenceBounds) && d > silenceBounds[i] {
		i++
	}
	c[i].Add(1)
}

func (c *classes) list() []uint64 {
	list := make([]uint64, len(c))
	for i := range c {
		list[i] = c[i].Load()
	}
	return list
}

// Silences implements admin.Viewer.
func (c control) Silences(context.Context) (admin.Silences, error) {
	v := admin.Silences{
		Since: c.silences.began, EarlyTalk: c.silences.early.list(), Quiet: c.silences.quiet.list(), HangUp: c.silences.hangUp.list(),
	}
	for _, b := range silenceBounds {
		v.BoundsMs = append(v.BoundsMs, b.Milliseconds())
	}
	return v, nil
}
