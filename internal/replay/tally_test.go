package replay

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hushgate/internal/wire"
)

// TestTally checks that rows and curve agree with a simple count, exactly as long as there are few times.
func TestTally(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tally Tally
		var all []Result
		for range rapid.IntRange(0, 50).Draw(t, "n") {
			r := Result{
				Outcome: Outcome(rapid.IntRange(0, 4).Draw(t, "outcome")), Silent: time.Duration(rapid.IntRange(0, 99).Draw(t, "ms")) * ms,
				Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(0, 9).Draw(t, "host"))}), 1),
			}
			all = append(all, r)
			tally.Add(&r)
		}
		delay := time.Duration(rapid.IntRange(0, 100).Draw(t, "delay")) * ms
		want := Row{Delay: delay}
		senders := map[netip.Addr]bool{}
		for _, r := range all {
			switch r.At(delay) {
			case Quiet:
				want.Quiet++
			case EarlyTalker:
				want.EarlyTalked++
				senders[r.Client.Addr()] = true
			case HangUp:
				want.HungUp++
			case Untested:
				want.Untested++
			case Unknown, None, Refused, NoServer:
			}
		}
		want.Senders, want.Networks = len(senders), min(len(senders), 1)
		if got := tally.Rows([]time.Duration{delay})[0]; got != want {
			t.Fatalf("%+v, want %+v", got, want)
		}
		points := tally.Curve(10)
		if n := tally.Outcomes[Talked]; n > 0 && points[len(points)-1].Connections != n {
			t.Fatalf("the curve ends at %+v, not at %d", points[len(points)-1], n)
		}
	})
}

// TestManyTimes checks that bins are accurate to their width when there are more times than are stored exactly.
func TestManyTimes(t *testing.T) {
	var b, exact bins
	rng := rand.New(rand.NewPCG(1, 2))
	for range maxExact + 1000 {
		d := time.Duration(rng.Int64N(int64(60 * time.Second)))
		b.add(d)
		exact.exact = append(exact.exact, d)
	}
	if b.exact != nil {
		t.Fatal("still exact")
	}
	for _, d := range []time.Duration{0, ms, time.Second, 9 * time.Second, 30 * time.Second, time.Hour} {
		got, low, high := b.below(d), exact.below(d-coarseBin), exact.below(d+coarseBin)
		if got < low || got > high {
			t.Errorf("below %v: %d, want %d to %d", d, got, low, high)
		}
	}
}

// TestAnonymiser checks that addresses share a prefix of the same length before and after.
func TestAnonymiser(t *testing.T) {
	a, err := NewAnonymiser()
	if err != nil {
		t.Fatal(err)
	}
	common := func(x, y wire.Addr) (n int) {
		for i := range 128 {
			if (x[i/8]^y[i/8])>>(7-i%8)&1 != 0 {
				return i
			}
		}
		return 128
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) (addr wire.Addr) {
			if rapid.Bool().Draw(t, "v6") {
				return wire.AddrFrom16(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name))
			}
			return wire.AddrFrom4(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, name))
		}
		x, y := draw("x"), draw("y")
		if x.Is4() != y.Is4() {
			return
		}
		ax, ay := a.Address(x), a.Address(y)
		if common(ax, ay) != common(x, y) || ax.Is4() != x.Is4() {
			t.Fatalf("%v, %v became %v, %v", x, y, ax, ay)
		}
	})
}
