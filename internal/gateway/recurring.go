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
	why     string
}

// series counts the occurrences since the last line.
type series struct {
	message string // of its lines, which are not the first
	args    []any  // the latest ones
	unit    string
	count   int
	timer   *time.Timer

	more func() int // if they are counted elsewhere: those since its last call
	over func()     // called when the series ends
}

// note counts one more occurrence. args are for each line, first only for the first line. unit names what is counted.
func (r *recurring) note(t topic, unit string, args []any, first ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.series[t]; s != nil {
		s.count, s.args = s.count+1, args
		return
	}
	r.write(t.level, t.message, slices.Concat(args, first))
	r.begin(t, &series{message: t.message, args: args, unit: unit})
}

// follow logs the first occurrence of something whose further ones are counted elsewhere, where a lock would cost too much. s
// says how they are logged and counted. first are the arguments of the first line.
func (r *recurring) follow(t topic, s *series, first ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write(t.level, t.message, first)
	r.begin(t, s)
}

// begin waits for more of what was logged.
func (r *recurring) begin(t topic, s *series) {
	if r.over {
		return
	}
	if r.series == nil {
		r.series = map[topic]*series{}
	}
	s.timer = time.AfterFunc(recurEvery, func() { r.tell(t) })
	r.series[t] = s
}

// tell logs the occurrences since the last line, or ends the series if there were none.
func (r *recurring) tell(t topic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.series[t]
	if s == nil {
		return
	}
	if !r.line(t, s) {
		delete(r.series, t)
		if s.over != nil {
			s.over()
		}
		return
	}
	s.timer.Reset(recurEvery)
}

// line logs how often it has happened, if it has.
func (r *recurring) line(t topic, s *series) bool {
	if s.more != nil {
		s.count += s.more()
	}
	if s.count == 0 {
		return false
	}
	r.write(t.level, s.message, slices.Concat(s.args, []any{s.unit, s.count, "within", recurEvery}))
	s.count = 0
	return true
}

func (r *recurring) write(level slog.Level, message string, args []any) {
	r.log.Log(context.Background(), level, message, args...) //nolint:sloglint // each message is a constant of its caller
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
		r.line(t, s)
	}
	r.series = nil
}
