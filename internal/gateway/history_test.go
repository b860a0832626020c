package gateway

import (
	"slices"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
)

// TestHistory: samples count from the one before them, the oldest make room, and a reader gets those after the one that it
// names. After a takeover the first numbers are not shown as if all had happened at once.
func TestHistory(t *testing.T) {
	o := newOperated(t, 1)
	stats := dataplane.Stats{}
	stats.Verdict[dataplane.VerdictQuiet] = 1000 // of the process before
	at := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	take := func(quiet uint64, held int64) {
		stats.Verdict[dataplane.VerdictQuiet] += quiet
		stats.Phase[dataplane.PhaseHeld] = held
		at = at.Add(historyStep)
		o.history.add(at, &stats)
	}
	check := func(after, first uint64, quiet []uint64, held []int64) {
		t.Helper()
		v, err := o.History(t.Context(), after)
		if err != nil || v.First != first || len(v.Times) != len(quiet) || !slices.Equal(v.Verdicts["quiet"], quiet) || !slices.Equal(v.Connections["held"], held) {
			t.Errorf("after %d: %v, first %d, %d times, quiet %v, held %v; want first %d, quiet %v, held %v", after, err, v.First, len(v.Times),
				v.Verdicts["quiet"], v.Connections["held"], first, quiet, held)
		}
		if len(v.Verdicts) != verdictKinds || len(v.Connections) != dataplane.Phases || len(v.Verdicts["refused"]) != len(quiet) {
			t.Errorf("after %d: curves of %d verdicts and %d phases", after, len(v.Verdicts), len(v.Connections))
		}
	}
	take(0, 5)
	check(0, 1, []uint64{}, []int64{})
	take(3, 6)
	take(0, 7)
	check(0, 1, []uint64{3, 0}, []int64{6, 7})
	check(1, 2, []uint64{0}, []int64{7})
	check(2, 3, []uint64{}, []int64{})
	check(99, 1, []uint64{3, 0}, []int64{6, 7}) // a number of another process
	for range historyRoom - 1 {
		take(1, 0)
	}
	if v, _ := o.History(t.Context(), 1); v.First != 2 || len(v.Times) != historyRoom || v.Connections["held"][0] != 7 || !v.Times[historyRoom-1].Equal(at) {
		t.Errorf("first %d, %d samples, held %d, last at %v", v.First, len(v.Times), v.Connections["held"][0], v.Times[len(v.Times)-1])
	}
	take(1, 0)
	if v, _ := o.History(t.Context(), 1); v.First != 3 || len(v.Times) != historyRoom {
		t.Errorf("a number that is gone: first %d, %d samples", v.First, len(v.Times))
	}
}

// TestSilences: how long clients kept silent is counted in the class that holds it, by what they did at its end.
func TestSilences(t *testing.T) {
	o := newOperated(t, 1)
	const begin = mono.Time(5 * time.Second)
	end := func(v dataplane.Verdict, firstByte, closed time.Duration, observed bool) {
		e := dataplane.Event{Kind: dataplane.EventClosed, Verdict: v, Established: begin, Closed: begin.Add(closed), Observed: observed}
		if firstByte > 0 {
			e.FirstByte = begin.Add(firstByte)
		}
		o.silences.Take(0, []dataplane.Event{e, {Kind: dataplane.EventObserved, Established: begin, FirstByte: begin + 1}})
	}
	end(dataplane.VerdictEarlyTalker, time.Millisecond, time.Second, false)
	end(dataplane.VerdictEarlyTalker, time.Millisecond+1, time.Second, false)
	end(dataplane.VerdictQuiet, 4*time.Second, time.Minute, true) // talked early, and was let through
	end(dataplane.VerdictQuiet, 25*time.Second, time.Minute, false)
	end(dataplane.VerdictQuiet, time.Hour, 2*time.Hour, false)
	end(dataplane.VerdictRefused, 0, time.Second, false)
	end(dataplane.VerdictHangup, 0, 9*time.Second, false)
	o.silences.Take(0, []dataplane.Event{
		{Kind: dataplane.EventClosed, Verdict: dataplane.VerdictQuiet, Established: begin, FirstByte: begin + 1, Pass: policy.PassOld},
		{Kind: dataplane.EventClosed, Verdict: dataplane.VerdictQuiet, Established: begin, FirstByte: begin + 1, Accepted: true},
	})
	v, err := o.Silences(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(v.BoundsMs) || len(v.EarlyTalk) != len(v.BoundsMs)+1 {
		t.Fatalf("%d bounds %v, %d classes", len(v.BoundsMs), v.BoundsMs, len(v.EarlyTalk))
	}
	for _, c := range []struct {
		name string
		got  []uint64
		want []int64 // the bounds of the classes with one client; 0: beyond the last
	}{{"early talk", v.EarlyTalk, []int64{1, 2, 5000}}, {"quiet", v.Quiet, []int64{30000, 0}}, {"hang-up", v.HangUp, []int64{10000}}} {
		want := make([]uint64, len(v.EarlyTalk))
		for _, bound := range c.want {
			i := slices.Index(v.BoundsMs, bound)
			if bound == 0 {
				i = len(v.BoundsMs)
			}
			want[i]++
		}
		if !slices.Equal(c.got, want) {
			t.Errorf("%s: %v, want %v", c.name, c.got, want)
		}
	}
}
