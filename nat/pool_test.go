package nat

import (
	"testing"

	"pgregory.net/rapid"

	"hushgate/internal/wire"
)

func up(weights ...int) (m []Member) {
	for _, w := range weights {
		m = append(m, Member{Weight: w, Up: true})
	}
	return m
}

func TestSmooth(t *testing.T) {
	p := NewPool(up(2, 1))
	got := ""
	for range 6 {
		i, _ := p.Pick(Set{})
		got += string(rune('a' + i))
	}
	if got != "abaaba" {
		t.Errorf("weights 2 and 1 gave %s", got)
	}
}

// TestFair checks that over a whole cycle each server gets exactly its share, and that within a cycle no server's share is
// off by more than the number of servers.
func TestFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(0, 20), 1, 6).Draw(t, "weights")
		p := NewPool(up(weights...))
		sum := 0
		for _, w := range weights {
			sum += w
		}
		counts := make([]int, len(weights))
		for n := 1; n <= 2*sum; n++ {
			i, ok := p.Pick(Set{})
			if !ok {
				t.Fatal("no server was picked")
			}
			counts[i]++
			for j, w := range weights {
				if off := counts[j]*sum - n*w; off > sum*len(weights) || -off > sum*len(weights) {
					t.Fatalf("after %d picks server %d had %d", n, j, counts[j])
				}
			}
		}
		for j, w := range weights {
			if counts[j] != 2*w {
				t.Fatalf("server %d of weight %d had %d of %d", j, w, counts[j], 2*sum)
			}
		}
	})
}

func TestComeAndGo(t *testing.T) {
	p := NewPool(up(1, 1))
	p.SetUp(0, false)
	for range 100 {
		if i, ok := p.Pick(Set{}); !ok || i != 1 {
			t.Fatalf("picked %d, %v", i, ok)
		}
	}
	p.SetUp(0, true)
	got := [2]int{}
	for range 10 {
		i, _ := p.Pick(Set{})
		got[i]++
	}
	if got != [2]int{5, 5} {
		t.Errorf("after its return: %v", got)
	}
	if i, ok := p.Pick(Set{}.With(0)); !ok || i != 1 {
		t.Errorf("without 0: %d, %v", i, ok)
	}
	if p.Another(Set{}.With(0).With(1)) {
		t.Error("there is another beside both")
	}
	if _, ok := p.Pick(Set{}.With(0).With(1)); ok {
		t.Error("picked one that was left out")
	}
}

func TestBackups(t *testing.T) {
	m := up(1, 1, 1)
	m[1].Backup, m[2].Backup = true, true
	p := NewPool(m)
	for range 5 {
		if i, _ := p.Pick(Set{}); i != 0 {
			t.Fatalf("picked the backup %d", i)
		}
	}
	p.SetUp(0, false)
	for range 5 {
		if i, ok := p.Pick(Set{}); !ok || i != 1 {
			t.Fatalf("picked %d: the first backup is used alone", i)
		}
	}
	p.SetUp(1, false)
	if i, ok := p.Pick(Set{}); !ok || i != 2 {
		t.Errorf("picked %d, %v", i, ok)
	}
}

func TestOffer(t *testing.T) {
	known := func(mss uint16, scale int8, sack, ts bool) Options {
		return Options{MSS: mss, WindowScale: scale, SACK: sack, Timestamps: ts, Known: true}
	}
	for _, c := range []struct {
		name    string
		options []Options
		down    int // how many of the first are down
		want    Options
	}{
		{"nothing known", []Options{{}}, 0, Options{MSS: 65535, WindowScale: DefaultScale, SACK: true}},
		{"one", []Options{known(1460, 9, true, true)}, 0, known(1460, 9, true, true)},
		{"the meet", []Options{known(1460, 9, true, false), known(1400, 7, false, true)}, 0, known(1400, 7, false, false)},
		{"one without scaling", []Options{known(1460, 9, true, true), known(1460, wire.NoScale, true, true)}, 0, known(1460, wire.NoScale, true, true)},
		{"no MSS option", []Options{known(0, 7, true, true)}, 0, known(536, 7, true, true)},
		{"a server that is down does not count", []Options{known(500, 1, false, false), known(1460, 7, true, true)}, 1, known(1460, 7, true, true)},
		{"unless all are", []Options{known(1300, 5, true, true)}, 1, known(1300, 5, true, true)},
	} {
		p := NewPool(up(make([]int, len(c.options))...))
		for i, o := range c.options {
			p.SetOptions(i, o)
			p.SetUp(i, i >= c.down)
		}
		c.want.Known = false
		if got := p.Offer(); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestSet(t *testing.T) {
	s := Set{}.With(0).With(63).With(64).With(255)
	u := s.Union(Set{}.With(7))
	for i := range MaxMembers {
		want := i == 0 || i == 63 || i == 64 || i == 255
		if s.Has(i) != want || u.Has(i) != (want || i == 7) {
			t.Errorf("member %d", i)
		}
	}
}
