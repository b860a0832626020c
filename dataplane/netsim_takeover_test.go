package dataplane

import (
	"testing"
	"time"
)

// TestNetsimTakenOver is TestNetsimProxied with twenty takeovers in each world.
func TestNetsimTakenOver(t *testing.T) { simulate(t, true, 20) }

// takeOvers puts n takeovers on the agenda, evenly spaced. Everything else in the world stays the same.
func (w *world) takeOvers(n int) {
	for i := range n {
		w.later((worldTime+time.Minute)*time.Duration(i+1)/time.Duration(n+1), w.takeOver)
	}
}

func (w *world) takeOver() {
	v, err := save(w.s)
	if err != nil {
		w.fatalf(nil, "save: %v", err)
	}
	cfg := *w.cfg
	cfg.HashKey[0]++
	next, err := resume(&cfg, []saved{v}, nil)
	if err != nil {
		w.fatalf(nil, "resume: %v", err)
	}
	if old, now := counts(w.s), counts(next); old != now {
		w.fatalf(nil, "the shard's counters are\n%s\nand after the takeover\n%s", old, now)
	}
	w.cfg, w.s = &cfg, next
}
