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

// Report is one check and what it changed.
type Report struct {
	Result  Result
	Up      bool // the server's state now
	Changed bool // by this check
	Counter int  // how settled the state is, for Config.Counter
}

// lookEvery is how often a server is asked for its keywords, and how often one is looked at that is not checked.
const lookEvery = 5 * time.Minute

// Probe checks one server until ctx is done, and reports each check. The first comes at once: until it has come nobody
// knows what the server grants. The second is put off by spread, so that the checks of many servers do not go on going
// out together.
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

// watch is when checks last went beyond what they are for.
type watch struct {
	looked, patient time.Time // zero: never
	silent          bool      // the last check got no greeting in time
}

// next says what a check does that begins now. The first one is patient, and so is one behind a check that got no greeting,
// but seldom: a server behind postscreen, which knows this machine for a day, would be taken for down each day, for good
// if nobody waited; one that hangs is to be found out soon.
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
