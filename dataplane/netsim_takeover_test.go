package dataplane

import (
	"testing"
	"time"
)

// TestNetsimTakenOver is TestNetsimProxied in worlds in which one shard after the other takes over.
func TestNetsimTakenOver(t *testing.T) { simulate(t, true, 20) }

// takeOvers puts so many takeovers on the agenda, at even distances: what else happens in the world stays as it is.
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
		w.fatalf(nil, "the shard counts\n%s\nand behind the takeover\n%s", old, now)
	}
	w.cfg, w.s = &cfg, next
}
