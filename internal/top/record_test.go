package top

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"hushgate/internal/admin"
)

// at returns a look with some numbers.
func at(seconds int, pid int, verdicts map[string]uint64, toClient, live uint64, more bool) Look {
	return Look{
		At: moment.Add(time.Duration(seconds) * time.Second), Status: admin.Status{PID: pid, Started: moment}, More: more,
		Frontends: []admin.Frontend{{Name: "ft", Verdicts: verdicts, BytesToClient: toClient}},
		Counters:  map[string]uint64{"opened": 10 * uint64(seconds)}, Connections: []admin.Connection{{Client: "198.18.0.1:1", BytesToClient: live}},
	}
}

// TestRates: what is compared, and what cannot be.
func TestRates(t *testing.T) {
	none := map[string]uint64{}
	lingering := at(1, 7, none, 1000, 1000, false)
	lingering.Connections[0].Phase = "lingering"
	early := at(2, 7, map[string]uint64{"quiet": 9}, 100, 0, false)
	early.At = early.At.Add(leastSpan / 2)
	for _, c := range []struct {
		name  string
		looks []Look
		want  *Rates
	}{
		{"one look", []Look{at(0, 7, none, 0, 0, false)}, nil},
		{
			"two looks",
			[]Look{at(0, 7, map[string]uint64{"quiet": 5}, 100, 0, false), at(2, 7, map[string]uint64{"quiet": 9, "refused": 2}, 200, 100, false)},
			&Rates{Seconds: 2, Opened: 10, Verdicts: map[string]float64{"quiet": 2, "refused": 1}, ToClient: 100, WholeOctets: true},
		},
		{"another process", []Look{at(0, 7, none, 0, 0, false), at(2, 9, none, 0, 0, false)}, nil},
		{
			"numbers that fell",
			[]Look{at(0, 7, map[string]uint64{"quiet": 5}, 0, 0, false), at(2, 7, map[string]uint64{"quiet": 1}, 0, 0, false)},
			&Rates{Seconds: 2, Opened: 10, Verdicts: map[string]float64{"quiet": 0}, WholeOctets: true},
		},
		{
			"a connection that ended between two questions",
			[]Look{at(0, 7, none, 0, 900, false), at(1, 7, none, 0, 0, false), at(2, 7, none, 1000, 0, false)},
			&Rates{Seconds: 1, Opened: 10, Verdicts: map[string]float64{}, ToClient: 100, WholeOctets: true},
		},
		{
			"an ended connection that has a record",
			[]Look{at(0, 7, none, 0, 900, false), lingering},
			&Rates{Seconds: 1, Opened: 10, Verdicts: map[string]float64{}, ToClient: 100, WholeOctets: true},
		},
		{
			"too many connections",
			[]Look{at(0, 7, none, 100, 900, true), at(1, 7, none, 300, 0, true)},
			&Rates{Seconds: 1, Opened: 10, Verdicts: map[string]float64{}, ToClient: 200},
		},
		{
			"too many connections from now on",
			[]Look{at(0, 7, none, 100, 900, false), at(1, 7, none, 300, 0, true)},
			&Rates{Seconds: 1, Opened: 10, Verdicts: map[string]float64{}},
		},
		{"soon again", []Look{at(0, 7, none, 0, 0, false), at(2, 7, none, 0, 0, false), early}, &Rates{Seconds: 2, Opened: 10, Verdicts: map[string]float64{}, WholeOctets: true}},
		{"no time has passed", []Look{at(0, 7, none, 0, 0, false), at(0, 7, none, 0, 0, false)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r record
			for _, v := range c.looks {
				r.see(v)
			}
			if (r.rates == nil) != (c.want == nil) {
				t.Fatalf("%+v, want %+v", r.rates, c.want)
			}
			if c.want == nil {
				return
			}
			got, want := *r.rates, *c.want
			if !maps.Equal(got.Verdicts, want.Verdicts) {
				t.Errorf("verdicts %v, want %v", got.Verdicts, want.Verdicts)
			}
			got.Verdicts, want.Verdicts = nil, nil
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// TestBounded: a flood of clients leaves no more than the bounds, and those with the most connections.
func TestBounded(t *testing.T) {
	var r record
	r.see(at(0, 7, map[string]uint64{}, 0, 0, false))
	at := moment
	for n := range 300 {
		at = at.Add(time.Second)
		b := Batch{At: at}
		for i := range 500 {
			b.Verdicts = append(b.Verdicts, admin.Verdict{Time: at, Client: fmt.Sprintf("10.%d.%d.%d", n%250, i/250, i%250), Verdict: "early-talker"})
		}
		for range 3 {
			b.Verdicts = append(b.Verdicts, admin.Verdict{Time: at, Client: "198.51.100.7", Verdict: "early-talker"})
		}
		r.take(&b)
		r.miss()
	}
	if n := len(r.talkers.clients); n > 2*maxTalkers {
		t.Errorf("%d talkers are kept", n)
	}
	if n := cap(r.recent); n > 4*maxRecent {
		t.Errorf("there is room for %d verdicts", n)
	}
	for range 5000 {
		r.miss()
	}
	if n := cap(r.curves["quiet"]); n > 4*maxSamples {
		t.Errorf("there is room for %d samples", n)
	}
	p := r.picture()
	if len(p.Recent) != maxRecent || len(p.Curves["quiet"]) != maxSamples || p.Forgotten == 0 {
		t.Errorf("%d verdicts, %d samples, %d forgotten", len(p.Recent), len(p.Curves["quiet"]), p.Forgotten)
	}
	list := r.talkers.list(at, nil)
	first, _ := talkerList.rows(&Picture{Talkers: list}, &choice{})
	if first[0].key != "198.51.100.7" || first[0].cells[2] == "0" {
		t.Errorf("the first talker is %v", first[0].cells)
	}
}

// TestTalkers: what a client did is counted for five minutes; clients are addresses or networks.
func TestTalkers(t *testing.T) {
	var k talkers
	k.count([]admin.Verdict{
		{Time: moment, Client: "198.18.0.1", Verdict: "early-talker", BytesToServer: 5},
		{Time: moment, Client: "::ffff:198.18.0.1", Verdict: "hang-up"},
		{Time: moment, Client: "198.18.0.2", Verdict: "quiet"},
		{Time: moment, Client: "2001:db8::1", Verdict: "refused"},
		{Time: moment, Client: "2001:db8::2", Verdict: "quiet"},
		{Time: moment, Client: "nobody", Verdict: "quiet"},
	}, moment)
	present := []admin.Connection{{Client: "[2001:db8::3]:4"}, {Client: "198.18.0.1:4", BytesToClient: 7}, {Client: "198.18.0.1:5", Phase: "lingering", BytesToClient: 100}, {Client: "nobody"}}
	want := []Talker{
		{netip.MustParsePrefix("198.18.0.1/32"), 1, tally{Ended: 2, Early: 1, HangUp: 1, Octets: 12}, moment},
		{netip.MustParsePrefix("198.18.0.2/32"), 0, tally{Ended: 1, Quiet: 1}, moment},
		{netip.MustParsePrefix("2001:db8::/64"), 1, tally{Ended: 2, Other: 1, Quiet: 1}, moment},
	}
	got := k.list(moment, present)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	networks := byNetwork(got)
	if len(networks) != 2 || networks[0].Client.String() != "198.18.0.0/24" || networks[0].Ended != 3 || networks[0].Connections != 1 || networks[1].Client.String() != "2001:db8::/48" {
		t.Errorf("networks: %v", networks)
	}
	if left := k.list(moment.Add(4*time.Minute), nil); len(left) != 3 {
		t.Errorf("after 4 minutes: %v", left)
	}
	if left := k.list(moment.Add(6*time.Minute), present[:1]); len(left) != 1 || left[0].Ended != 0 {
		t.Errorf("after 6 minutes: %v", left)
	}
}
