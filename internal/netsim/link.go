package netsim

import (
	"math/rand/v2"
	"time"
)

// Link is one direction of a path. The probabilities are for each frame.
type Link struct {
	Delay     time.Duration // of propagation
	Late      time.Duration // the largest extra delay of a frame that is overtaken
	Reorder   float64       // being overtaken by later frames
	Duplicate float64
	Corrupt   float64 // arriving with a changed octet
	Loss      float64
	BurstLoss float64 // loss while the link is bad, in place of Loss
	Begin     float64 // of a good link to become bad
	End       float64 // of a bad link to become good

	bad bool
}

// Carry calls arrive for each copy of a frame that reaches the other end, with its delay and whether it is corrupted. It
// reports whether any copy arrives.
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
