package health

import (
	"context"
	"net"
	"time"
)

// Dialer connects to a server; *net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Report is one check and its effect on the server's state.
type Report struct {
	Result  Result
	Up      bool // the server's state now
	Changed bool // by this check
	Counter int  // how settled the state is, for Config.Counter
}

// lookEvery is how often a server is asked for its keywords, and how often a server without checks is visited.
const lookEvery = 5 * time.Minute

// Probe checks one server until ctx is done, and reports each check. The first check comes at once, because before it the
// server's TCP options are not known. The second is delayed by spread, so that the checks of many servers are not all sent
// at the same time.
func Probe(ctx context.Context, c *Config, spread time.Duration, dial Dialer, report func(Report)) {
	status := NewStatus(c.Rise, c.Fall)
	switch {
	case c.Down:
		status.health = min(max(c.Counter, 0), c.Rise-1)
	case c.Counter > 0:
		status.health = min(max(c.Counter, c.Rise), c.Rise+c.Fall-1)
	}
	wait := time.Duration(0)
	var w watch
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		also := w.next(c, time.Now())
		r := Check(ctx, c, dial, also)
		if ctx.Err() != nil {
			return
		}
		w.note(also, &r, time.Now())
		if c.Observe {
			report(Report{Result: r, Up: true})
			wait = lookEvery
			continue
		}
		changed := status.Note(r.OK())
		report(Report{Result: r, Up: status.Up(), Changed: changed, Counter: status.health})
		wait = status.Wait(c) + spread
		spread = 0
	}
}

// watch records when checks last did more than usual.
type watch struct {
	looked, patient time.Time // zero: never
	silent          bool      // the last check got no greeting in time
}

// next says what the check that begins now does. The first check is patient, and so is, but seldom, one after a check that
// got no greeting. A postscreen server remembers this machine for a day. Without a patient check it would count as down each
// day, and never come up again. A server that hangs must be found out soon.
func (w *watch) next(c *Config, now time.Time) Beyond {
	return Beyond{
		Look:    w.looked.IsZero() || c.SMTP && now.Sub(w.looked) >= lookEvery,
		Patient: w.patient.IsZero() || w.silent && now.Sub(w.patient) >= lookEvery,
	}
}

func (w *watch) note(also Beyond, r *Result, now time.Time) {
	if also.Look && r.OK() {
		w.looked = now
	}
	if also.Patient {
		w.patient = now
	}
	w.silent = r.Silent
}
