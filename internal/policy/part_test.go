package policy

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// TestParts: the parts together have what Passes and Offenders have, whatever their size, also when the ring has turned.
func TestParts(t *testing.T) {
	table, err := NewTable(&Config{
		PassTTL: time.Hour, Offences: Offences{After: 3, Within: time.Hour, For: time.Hour}, Frontends: []Frontend{{Name: "ft"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	now := mono.Time(time.Hour)
	m := NewMemory(table, [2]uint64{1, 2}, Bounds{Passes: 50, Offenders: 20}, now)
	client := func(i int) wire.Addr {
		return wire.Addr{10: 0xff, 11: 0xff, 12: 192, 13: 0, 14: 2, 15: byte(i)}
	}
	for i := range 70 {
		m.Passed(client(i), now)
		now = now.Add(time.Second)
	}
	for i := range 30 {
		m.Talked(client(60+i), now)
	}
	m.Unlist(client(75))
	order := func(a, b Pass) int { return cmp.Compare(a.Addr[15], b.Addr[15]) }
	orderOffenders := func(a, b Offender) int { return cmp.Compare(a.Addr[15], b.Addr[15]) }
	passes, offenders := slices.SortedFunc(m.Passes(now), order), slices.SortedFunc(m.Offenders(now), orderOffenders)
	if len(passes) != 40 || len(offenders) != 19 {
		t.Fatalf("%d passes, %d offenders", len(passes), len(offenders))
	}
	for _, n := range []int{1, 7, 50, 70, 1000} {
		var p Part
		rounds := 1
		for m.SavePart(&p, n, now) {
			rounds++
		}
		slices.SortFunc(p.Passes, order)
		slices.SortFunc(p.Offenders, orderOffenders)
		if !slices.Equal(p.Passes, passes) {
			t.Errorf("parts of %d: %v, want %v", n, p.Passes, passes)
		}
		if !slices.EqualFunc(p.Offenders, offenders, func(a, b Offender) bool {
			return a.Addr == b.Addr && a.Left == b.Left && slices.Equal(a.Ages, b.Ages)
		}) {
			t.Errorf("parts of %d: %v, want %v", n, p.Offenders, offenders)
		}
		if want := (70 + n - 1) / n; rounds != want {
			t.Errorf("parts of %d: %d of them, want %d", n, rounds, want)
		}
	}
	if m.SavePart(new(Part), 0, now) != true {
		t.Error("a part without places is the last")
	}
}
