package policy

import (
	"testing"

	"pgregory.net/rapid"
)

func TestJudge(t *testing.T) {
	d := &DNS{Sites: []Site{{"zen", 3}, {"bl", 2}, {"other", 2}, {"wl", -2}}, Threshold: 4, AllowThreshold: -2}
	for _, c := range []struct {
		listed, answered []int
		want             Verdict
	}{
		{nil, nil, Verdict{DNSUndecided, 0, -1}},
		{nil, []int{0, 1, 2, 3}, Verdict{DNSNeutral, 0, -1}},
		{[]int{0}, []int{0, 1, 2, 3}, Verdict{DNSNeutral, 3, 0}},
		{[]int{0, 1}, []int{0, 1, 2}, Verdict{DNSUndecided, 5, 0}}, // the allow list can still take it below 4
		{[]int{0, 1}, []int{0, 1, 3}, Verdict{DNSDeny, 5, 0}},
		{[]int{0, 1, 3}, []int{0, 1, 2, 3}, Verdict{DNSNeutral, 3, 0}},
		{[]int{1, 2}, []int{0, 1, 2, 3}, Verdict{DNSDeny, 4, 1}},
		{[]int{3}, []int{3}, Verdict{DNSUndecided, -2, -1}},
		{[]int{3}, []int{0, 1, 2, 3}, Verdict{DNSAllow, -2, -1}},
		{nil, []int{0, 3}, Verdict{DNSUndecided, 0, -1}}, // both of the rest make 4
		{nil, []int{0, 1, 3}, Verdict{DNSNeutral, 0, -1}},
	} {
		var listed, answered SiteSet
		for _, i := range c.listed {
			listed.Add(i)
		}
		for _, i := range c.answered {
			answered.Add(i)
		}
		if got := d.Judge(listed, answered); got != c.want {
			t.Errorf("%v of %v: %+v, want %+v", c.listed, c.answered, got, c.want)
		}
	}
}

// TestJudgeEarly: a verdict before all have answered is the one that comes out, whatever the rest says; and it comes as soon
// as that is so.
func TestJudgeEarly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weight := rapid.IntRange(-3, 3).Filter(func(n int) bool { return n != 0 })
		d := &DNS{Threshold: rapid.IntRange(1, 5).Draw(t, "threshold"), AllowThreshold: rapid.IntRange(-4, 0).Draw(t, "allow")}
		n := rapid.IntRange(1, 6).Draw(t, "sites")
		var answered, listed, all SiteSet
		for i := range n {
			d.Sites = append(d.Sites, Site{Weight: weight.Draw(t, "weight")})
			all.Add(i)
			if rapid.Bool().Draw(t, "answered") {
				answered.Add(i)
				if rapid.Bool().Draw(t, "listed") {
					listed.Add(i)
				}
			}
		}
		early := d.Judge(listed, answered)
		outcomes := map[Effect]bool{}
		for rest := range uint64(1) << n {
			final := listed
			for i := range n {
				if !answered.Has(i) && rest>>i&1 != 0 {
					final.Add(i)
				}
			}
			sum := 0
			for i, s := range d.Sites {
				if final.Has(i) {
					sum += s.Weight
				}
			}
			want := DNSNeutral
			switch {
			case sum >= d.Threshold:
				want = DNSDeny
			case d.AllowThreshold < 0 && sum <= d.AllowThreshold:
				want = DNSAllow
			}
			if got := d.Judge(final, all); got.Effect != want || got.Score != sum {
				t.Fatalf("%+v, want %v with %d", got, want, sum)
			}
			outcomes[want] = true
		}
		if decided := len(outcomes) == 1; decided && !outcomes[early.Effect] || !decided && early.Effect != DNSUndecided {
			t.Fatalf("%v early, and then any of %v", early.Effect, outcomes)
		}
	})
}

func TestStress(t *testing.T) {
	var s Stress
	for _, c := range []struct {
		half, held  int
		on, changed bool
	}{
		{0, 0, false, false},
		{89, 179, false, false},
		{90, 0, true, true},
		{95, 0, true, false},
		{71, 0, true, false},
		{70, 141, true, false},
		{70, 140, false, true},
		{70, 140, false, false},
		{0, 180, true, true},
		{0, 0, false, true},
	} {
		changed := s.Update(Use{c.half, 100}, Use{c.held, 200}, Use{7, 0})
		if s.On() != c.on || changed != c.changed {
			t.Errorf("%+v: on %v, changed %v", c, s.On(), changed)
		}
	}
}
