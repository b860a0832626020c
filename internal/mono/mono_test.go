package mono

import (
	"testing"
	"time"
)

// TestFollow checks that a step of the wall clock changes the wall time of a moment, but not the moment.
func TestFollow(t *testing.T) {
	c, start := NewClock(), time.Now().Add(-time.Hour)
	for _, off := range []time.Duration{300 * time.Millisecond, -500 * time.Millisecond} { // drift, not a step
		c.step.Add(int64(off))
		if got := c.Follow(time.Now()); got != 0 {
			t.Errorf("off by %v: followed by %v", off, got)
		}
		c.step.Add(int64(-off))
	}
	later := Time(10 * time.Second)
	before := c.Wall(later)
	for _, step := range []time.Duration{time.Hour, -3 * time.Hour, 2 * time.Hour} {
		c.step.Add(int64(-step)) // as if the system's clock had been set forward by step
		copied := c
		if got := copied.Follow(time.Now()); (got - step).Abs() > 100*time.Millisecond {
			t.Errorf("the clock was set by %v, followed by %v", step, got)
		}
		if d := c.Wall(later).Sub(before).Abs(); d > 100*time.Millisecond {
			t.Errorf("after a step of %v the wall clock is off by %v", step, d)
		}
		if got := c.Follow(time.Now()); got != 0 {
			t.Errorf("followed a second time, by %v", got)
		}
	}
	if now := c.Now(); now < 0 || now > Time(time.Minute) {
		t.Errorf("the monotonic clock is at %v", now)
	}
	fixed := NewClockAt(start)
	if got := fixed.Follow(time.Now().Add(time.Hour)); got != 0 || !fixed.Wall(0).Equal(start) {
		t.Errorf("the clock of a replay followed by %v", got)
	}
}
