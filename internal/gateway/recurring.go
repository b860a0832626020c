package gateway

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"hushgate/dataplane"
)

// recurring tells of what may happen to one connection after the other: the first time at once, and from then on once a
// minute how often it has happened since, until a minute passes without it.
type recurring struct {
	log *slog.Logger

	mu     sync.Mutex
	series map[topic]*series
	over   bool
}

// recurEvery is how often a line is written.
const recurEvery = time.Minute

// topic is what is told of by itself.
type topic struct {
	level   slog.Level
	message string
	backend string
	server  dataplane.ServerID
	cause   dataplane.Cause
}

// series is what happened behind the first time.
type series struct {
	args  []any // the latest
	unit  string
	count int
	timer *time.Timer
}

// note counts one more occurrence. The args are those of each line, first those of the first line alone; unit is what is
// counted.
func (r *recurring) note(t topic, unit string, args []any, first ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.series[t]; s != nil {
		s.count, s.args = s.count+1, args
		return
	}
	r.write(t, slices.Concat(args, first))
	if r.over {
		return
	}
	if r.series == nil {
		r.series = map[topic]*series{}
	}
	r.series[t] = &series{args: args, unit: unit, timer: time.AfterFunc(recurEvery, func() { r.tell(t) })}
}

// tell writes what has come together, or ends the series.
func (r *recurring) tell(t topic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.series[t]
	if s == nil {
		return
	}
	if s.count == 0 {
		delete(r.series, t)
		return
	}
	r.line(t, s)
	s.timer.Reset(recurEvery)
}

func (r *recurring) line(t topic, s *series) {
	r.write(t, slices.Concat(s.args, []any{s.unit, s.count, "within", recurEvery}))
	s.count = 0
}

func (r *recurring) write(t topic, args []any) {
	r.log.Log(context.Background(), t.level, t.message, args...) //nolint:sloglint // each message is a constant of record.go
}

// servers lists which servers of a backend a message is being told of.
func (r *recurring) servers(message, backend string) (list []dataplane.ServerID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for t := range r.series {
		if t.message == message && t.backend == backend && !slices.Contains(list, t.server) {
			list = append(list, t.server)
		}
	}
	slices.Sort(list)
	return list
}

// close tells what has come together, and of nothing again but once.
func (r *recurring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	for t, s := range r.series {
		s.timer.Stop()
		if s.count > 0 {
			r.line(t, s)
		}
	}
	r.series = nil
}
