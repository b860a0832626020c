package netsim

import (
	"math/rand/v2"
	"time"
)

// Link is one direction of a path. The probabilities are those of each frame.
type Link struct {
	Delay     time.Duration // of propagation
	Late      time.Duration // up to so much more for a frame that is overtaken
	Reorder   float64       // overtaken by those behind it
	Duplicate float64
	Corrupt   float64 // one octet of it arrives changed
	Loss      float64
	BurstLoss float64 // while the link is bad, instead of Loss
	Begin     float64 // of a good link to become bad
	End       float64 // of a bad link to become good

	bad bool
}

// Carry calls arrive for each copy of a frame that reaches the other end: after how long, and whether corrupted. It
// reports whether there was any.
func (l *Link) Carry(r *rand.Rand, arrive func(after time.Duration, corrupt bool)) bool {
	change, loss := l.Begin, l.Loss
	if l.bad {
		change, loss = l.End, l.BurstLoss
	}
	if hit(r, change) {
		l.bad = !l.bad
	}
	copies := 1
	if hit(r, l.Duplicate) {
		copies = 2
	}
	arrived := false
	for range copies {
		if hit(r, loss) {
			continue
		}
		after := l.Delay
		if l.Late > 0 && hit(r, l.Reorder) {
			after += time.Duration(r.Int64N(int64(l.Late)))
		}
		arrive(after, hit(r, l.Corrupt))
		arrived = true
	}
	return arrived
}

func hit(r *rand.Rand, p float64) bool { return p > 0 && r.Float64() < p }
