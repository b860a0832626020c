package report

import (
	"time"

	"hushgate/internal/logread"
)

// outage is when something was down.
type outage struct {
	since time.Time // zero: it is up
	total time.Duration
	times int
}

func (o *outage) begin(r *Report, at time.Time) {
	if !o.since.IsZero() {
		return
	}
	o.since = at
	if !at.Before(r.From) {
		o.times++
	}
}

// end ends an outage. One that began before the report's time counts from there on.
func (o *outage) end(r *Report, at time.Time) {
	if o.since.IsZero() {
		return
	}
	o.total += r.overlap(o.since, at)
	if o.since.Before(r.From) && at.After(r.From) {
		o.times++
	}
	o.since = time.Time{}
}

// closed returns what the outage would be if it ended with the report.
func (o outage) closed(r *Report) outage {
	since := o.since
	o.end(r, r.To)
	o.since = since
	return o
}

func (r *Report) overlap(from, to time.Time) time.Duration {
	if from.Before(r.From) {
		from = r.From
	}
	if to.After(r.To) {
		to = r.To
	}
	return max(0, to.Sub(from))
}

// server is what logs say of a server: what checks have found, and what was done by hand.
type server struct {
	down, hand outage
	drained    bool // by hand, and still checked
}

// restartSettles is how long after it went down a server may still accept a connection that was on its way.
const restartSettles = 5 * time.Second

// server follows the state of servers. A log that begins with the end of an outage does not tell when it began: the outage then counts
// from the beginning of the report.
func (r *Report) server(rec *logread.Record) {
	switch rec.Kind {
	case logread.Connection:
		r.accepted(rec)
		return
	case logread.BackendDown:
		if b := r.backend(rec.Backend); b != nil {
			b.begin(r, rec.At)
		}
		return
	case logread.ServerDown, logread.ServerUp, logread.ServerMaint, logread.ServerDrain, logread.ServerReady, logread.ServerUndrained:
	case logread.Summary, logread.LinesLost, logread.Offender, logread.ListFailed:
		return
	}
	key := [2]string{rec.Backend, rec.Server}
	s := r.servers[key]
	if s == nil {
		if len(r.servers) >= maxNames {
			return
		}
		s = &server{}
		r.servers[key] = s
		before := r.From.Add(-1)
		switch rec.Kind { //nolint:exhaustive // the others do not tell how it was before
		case logread.ServerUp:
			s.down.begin(r, before)
		case logread.ServerReady, logread.ServerUndrained:
			s.hand.begin(r, before)
		}
	}
	r.change(s, rec)
}

func (r *Report) change(s *server, rec *logread.Record) {
	switch rec.Kind { //nolint:exhaustive // see server
	case logread.ServerDown: // said only of a server that was up; if it was down, a restart of hushgate lies between, or the line came twice
		if rec.At.Sub(s.down.since) > restartSettles {
			s.down.end(r, rec.At)
		}
		s.down.begin(r, rec.At)
	case logread.ServerUp:
		s.down.end(r, rec.At)
		r.available(rec)
	case logread.ServerMaint: // it is not checked any more
		s.down.end(r, rec.At)
		s.hand.begin(r, rec.At)
		s.drained = false
	case logread.ServerDrain:
		s.hand.begin(r, rec.At)
		s.drained = true
	case logread.ServerReady:
		s.down.end(r, rec.At)
		s.hand.end(r, rec.At)
		r.available(rec)
	case logread.ServerUndrained:
		s.hand.end(r, rec.At)
		if s.down.since.IsZero() {
			r.available(rec)
		}
	}
}

// accepted notes that a server took a connection: then it is up. A restart of hushgate, after which each server counts as up until its
// first check, has no line of its own.
func (r *Report) accepted(rec *logread.Record) {
	if !rec.Connected || rec.Total < 0 || rec.Held < 0 {
		return
	}
	chosen := rec.At.Add(rec.Held - rec.Total)
	if s := r.servers[[2]string{rec.Backend, rec.Server}]; s != nil && chosen.Sub(s.down.since) > restartSettles {
		s.down.end(r, chosen)
	}
	if b := r.backends[rec.Backend]; b != nil && chosen.Sub(b.since) > restartSettles {
		b.end(r, chosen)
	}
}

// available notes that a server of a backend takes new connections.
func (r *Report) available(rec *logread.Record) {
	if b := r.backends[rec.Backend]; b != nil {
		b.end(r, rec.At)
	}
}

func (r *Report) backend(name string) *outage {
	if r.backends[name] == nil && len(r.backends) < maxNames {
		r.backends[name] = &outage{}
	}
	return r.backends[name]
}
