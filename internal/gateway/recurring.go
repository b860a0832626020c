package gateway

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"hushgate/dataplane"
)

// recurring logs what can happen to many connections in a row. The first occurrence is logged at once; after that, one line
// a minute says how often it has happened, until a minute passes without it.
type recurring struct {
	log *slog.Logger

	mu     sync.Mutex
	series map[topic]*series
	over   bool
}

// recurEvery is the interval between lines.
const recurEvery = time.Minute

// topic is a message with its own series of lines.
type topic struct {
	level   slog.Level
	message string
	backend string
	server  dataplane.ServerID
	cause   dataplane.Cause
}

// series counts the occurrences since the last line.
type series struct {
	args  []any // the latest ones
	unit  string
	count int
	timer *time.Timer
}

// note counts one more occurrence. args are for each line, first only for the first line. unit names what is counted.
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

// tell logs the occurrences since the last line, or ends the series if there were none.
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

// servers lists the servers of a backend for which a message is being repeated.
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

// close logs all counts. Later occurrences are logged at most once.
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
