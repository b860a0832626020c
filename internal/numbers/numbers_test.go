package numbers

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

type things struct {
	A       uint64 `name:"a" help:"what a is"`
	skipped uint64
	Kind    [2]uint64         `name:"kinds" label:"kind" help:"by kind"`
	Now     [2]int64          `name:"now" label:"kind" help:"present ones"`
	Yes     uint64            `name:"answers" label:"result=yes" help:"by result"`
	No      uint64            `name:"answers" label:"result=no"`
	Waiting uint64            `name:"waiting" gauge:"true" help:"who waits"`
	Below   int               `name:"below" help:"can be negative"`
	Busy    time.Duration     `name:"busy" help:"time at work"`
	Ready   bool              `name:"ready" help:"1 if ready"`
	At      time.Time         `name:"at" help:"when"`
	Codes   map[string]uint64 `name:"codes" label:"code" help:"by code"`
}

func (*things) LabelValue(label string, i int) string { return label + string(rune('0'+i)) }

// TestEach: every kind of field is read as its tags say, and what came before its labels stays in front.
func TestEach(t *testing.T) {
	of := &things{
		1, 99, [2]uint64{2, 3}, [2]int64{4, -5}, 6, 7, 8, -9, 10 * time.Second, true, time.Unix(11, 0), map[string]uint64{"z": 13, "b": 12},
	}
	var got []string
	for n := range (Group{Prefix: "x_"}).Each(of, Label{"of", "it"}) {
		s := n.Name
		for _, l := range n.Labels {
			s += fmt.Sprintf(" %s=%s", l.Name, l.Value)
		}
		if n.Gauge {
			s += " gauge"
		}
		if n.Word != strings.TrimPrefix(n.Name, "x_") || n.Help == "" {
			t.Errorf("%+v", n)
		}
		got = append(got, fmt.Sprintf("%s %d%s: %s", s, n.Value, n.Unit, n.Help))
	}
	want := []string{
		"x_a of=it 1: what a is",
		"x_kinds of=it kind=kind0 2: by kind", "x_kinds of=it kind=kind1 3: by kind",
		"x_now of=it kind=kind0 gauge 4: present ones", "x_now of=it kind=kind1 gauge 0: present ones",
		"x_answers of=it result=yes 6: by result", "x_answers of=it result=no 7: by result",
		"x_waiting of=it gauge 8: who waits", "x_below of=it gauge 0: can be negative",
		"x_busy of=it 10000000000nanoseconds: time at work", "x_ready of=it gauge 1: 1 if ready",
		"x_at of=it gauge 11000000000unix nanoseconds: when",
		"x_codes of=it code=b 12: by code", "x_codes of=it code=z 13: by code",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for n := range (Group{}).Each(of) { // a reader may stop
		if n.Word == "kinds" {
			break
		}
	}
	type one struct {
		A int `name:"a" help:"what a is"`
	}
	for n := range (Group{}).Each(one{5}) { // not only pointers
		if n.Value != 5 {
			t.Errorf("%+v", n)
		}
	}
}

// TestAdd: sums have every number, and nothing else changes.
func TestAdd(t *testing.T) {
	a, b := things{A: 1, skipped: 1, Kind: [2]uint64{1, 2}, Now: [2]int64{3, 4}, Busy: time.Second}, things{A: 10, skipped: 10, Kind: [2]uint64{0, 20}, Now: [2]int64{-1, 0}, Busy: time.Minute}
	Add(&a, &b)
	if want := (things{A: 11, skipped: 1, Kind: [2]uint64{1, 22}, Now: [2]int64{2, 4}, Busy: 61 * time.Second}); !reflect.DeepEqual(a, want) {
		t.Errorf("%+v, want %+v", a, want)
	}
}
