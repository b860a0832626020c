// Package mono holds the time of hushgate's core: a count of nanoseconds on a clock that never steps.
//
// The core (dataplane, tcpstate, nat, flowtab) never reads a clock. Whoever drives it, the live gateway, a replay, a
// test, passes the time in, and so decides what time is: the machine's monotonic clock, a capture's time stamps, or
// a number that a test counts up.
package mono

import (
	"math"
	"sync/atomic"
	"time"
)

// Time is a moment, in nanoseconds since an origin that the driver chooses. Differences are meaningful, values are not.
type Time int64

// Never is later than every deadline.
const Never Time = math.MaxInt64

// Add returns the moment d after t; it stays at Never once there.
func (t Time) Add(d time.Duration) Time {
	if t == Never {
		return Never
	}
	return t + Time(d)
}

// Sub returns the duration from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Clock couples Time to the wall clock: Now for deadlines, Wall for what people read. Wall is computed from the
// origin's wall time, so two events keep their order and distance in the log when the system's clock is stepped. When it
// was, or stood still with the machine, Follow takes the step over, for what is told from then on. Copies of a Clock
// follow together.
type Clock struct {
	origin time.Time
	step   *atomic.Int64 // what Follow took over, in ns; nil in a clock that cannot follow
}

// NewClock returns a clock whose origin is the present moment.
func NewClock() Clock { return Clock{origin: time.Now(), step: &atomic.Int64{}} }

// NewClockFrom returns a clock that says now at the present moment: one that goes on from another process's.
func NewClockFrom(now Time) Clock {
	return Clock{origin: time.Now().Add(-time.Duration(now)), step: &atomic.Int64{}}
}

// NewClockAt returns a clock with the given origin, for replays and tests.
func NewClockAt(origin time.Time) Clock { return Clock{origin: origin} }

// Now returns the present moment.
func (c Clock) Now() Time { return Time(time.Since(c.origin)) }

// Wall returns the wall-clock time of t.
func (c Clock) Wall(t Time) time.Time {
	wall := c.origin.Round(0).Add(time.Duration(t))
	if c.step != nil {
		wall = wall.Add(time.Duration(c.step.Load()))
	}
	return wall
}

// stepLeast is how far the wall clock must be off to have been stepped: a second is what people see.
const stepLeast = time.Second

// Follow compares Wall with the system's clock, of which now is a reading, and takes over what it was stepped by; it
// returns that, 0 if it was not stepped. Now is not touched by it, nor is any deadline.
func (c Clock) Follow(now time.Time) time.Duration {
	off := now.Round(0).Sub(c.Wall(Time(now.Sub(c.origin))))
	if c.step == nil || off.Abs() < stepLeast {
		return 0
	}
	c.step.Add(int64(off))
	return off
}
