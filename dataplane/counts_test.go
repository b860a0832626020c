package dataplane

import "testing"

// TestStatsAdd: sums have every number, also those that shrink.
func TestStatsAdd(t *testing.T) {
	a := Stats{Frames: 1, SYNs: 2}
	a.Phase[PhaseHeld], a.Verdict[VerdictQuiet], a.Dropped[DropChecksum] = 3, 4, 5
	b := Stats{Frames: 10, Spliced: 20}
	b.Phase[PhaseHeld], b.Verdict[VerdictQuiet] = -1, 40
	a.Add(&b)
	want := Stats{Frames: 11, SYNs: 2, Spliced: 20}
	want.Phase[PhaseHeld], want.Verdict[VerdictQuiet], want.Dropped[DropChecksum] = 2, 44, 5
	if a != want {
		t.Errorf("%+v", a)
	}
}
