// Package mono holds the time of hushgate's core: a count of nanoseconds on a clock that never steps.
//
// The core (dataplane, tcpstate, nat, flowtab) never reads a clock. Its driver passes the time in, and so decides what time
// means: the live gateway uses the machine's monotonic clock, a replay the time stamps of a capture, a test a number that it
// increments.
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

// Clock relates Time to the wall clock: Now is for deadlines, Wall for people. Wall is computed from the wall time of the
// origin, so that two events keep their order and distance in the log when the system's clock is stepped. After a step, or
// after the machine was suspended, Follow applies the difference to later results of Wall. Copies of a Clock follow together.
type Clock struct {
	origin time.Time
	step   *atomic.Int64 // the steps applied by Follow, in ns; nil in a clock that cannot follow
}

// NewClock returns a clock whose origin is now.
func NewClock() Clock { return Clock{origin: time.Now(), step: &atomic.Int64{}} }

// NewClockFrom returns a clock that shows the given time now: it continues the clock of another process.
func NewClockFrom(now Time) Clock {
	return Clock{origin: time.Now().Add(-time.Duration(now)), step: &atomic.Int64{}}
}

// NewClockAt returns a clock with the given origin, for replays and tests.
func NewClockAt(origin time.Time) Clock { return Clock{origin: origin} }

// Now returns the current time.
func (c Clock) Now() Time { return Time(time.Since(c.origin)) }

// Wall returns the wall-clock time of t.
func (c Clock) Wall(t Time) time.Time {
	wall := c.origin.Round(0).Add(time.Duration(t))
	if c.step != nil {
		wall = wall.Add(time.Duration(c.step.Load()))
	}
	return wall
}

// stepLeast is the smallest difference that counts as a step of the wall clock: people notice a second.
const stepLeast = time.Second

// Follow compares Wall with the system's clock, whose present reading is now, and applies the difference if the clock was
// stepped. It returns that difference, or 0. It changes neither Now nor any deadline.
func (c Clock) Follow(now time.Time) time.Duration {
	off := now.Round(0).Sub(c.Wall(Time(now.Sub(c.origin))))
	if c.step == nil || off.Abs() < stepLeast {
		return 0
	}
	c.step.Add(int64(off))
	return off
}
