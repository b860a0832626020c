package report

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// mostHours is how many hours are shown one by one: two weeks. Longer reports show days.
const mostHours = 14 * 24

// period is a time with its verdicts.
type period struct {
	at time.Time
	counts
}

// periods returns the hours or days of the report from the first one with a record to the last, those between without any included.
func (r *Report) periods() (list []period, days bool) {
	if len(r.hours) == 0 {
		return nil, false
	}
	known := slices.Sorted(maps.Keys(r.hours))
	if (known[len(known)-1]-known[0])/3600 >= mostHours {
		return r.days(known), true
	}
	for i, at := range known {
		if i > 0 {
			for between := known[i-1] + 3600; between < at; between += 3600 {
				list = append(list, r.period(between))
			}
		}
		list = append(list, r.period(at))
	}
	return list, false
}

func (r *Report) period(hour int64) period {
	return period{time.Unix(hour, 0).In(r.To.Location()), r.hours[hour]}
}

// days returns the sums of days.
func (r *Report) days(known []int64) (list []period) {
	day := func(at int64) time.Time {
		t := time.Unix(at, 0).In(r.To.Location())
		return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
	}
	sums := map[time.Time]counts{}
	for _, at := range known {
		d := day(at)
		if sums[d] == nil {
			sums[d] = counts{}
		}
		for v, n := range r.hours[at] {
			sums[d][v] += n
		}
	}
	for d, last := day(known[0]), day(known[len(known)-1]); !d.After(last); d = time.Date(d.Year(), d.Month(), d.Day()+1, 0, 0, 0, 0, d.Location()) {
		list = append(list, period{d, sums[d]})
	}
	return list
}

// verdicts is the table of verdicts by time, with its drawing.
func (r *Report) verdicts() table {
	list, days := r.periods()
	t := table{Title: "Verdicts by hour", Head: append([]string{"hour"}, Verdicts...)}
	format := stamp
	if days {
		t.Title, t.Head[0], format = "Verdicts by day", "day", "2006-01-02"
	}
	for _, p := range list {
		t.Rows = append(t.Rows, cells(p.at.Format(format), p.counts))
	}
	if len(list) > 0 {
		t.Chart = barChart(list, days)
	}
	t.Rows = append(t.Rows, cells("all", r.total))
	return t
}

// marks are the times for which the table about early talkers has a row.
var marks = []time.Duration{
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second,
	5 * time.Second, 6 * time.Second, 8 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second, 30 * time.Second, 45 * time.Second, time.Minute,
}

// curve is the table of when early talkers talk and waiting clients leave, with its drawing and what it means for the delay.
func (r *Report) curve() table {
	t := table{
		Title: "When early talkers talk", Note: r.adviseDelay(),
		Head: []string{"within", "early talkers", "share", "gave up", "share"},
	}
	if r.talk.total == 0 && r.leaves.total == 0 {
		return t
	}
	share := func(n uint64, of *bins) string {
		if of.total == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of.total))
	}
	add := func(name string, talked, left uint64) {
		t.Rows = append(t.Rows, []string{name, fmt.Sprint(talked), share(talked, &r.talk), fmt.Sprint(left), share(left, &r.leaves)})
	}
	var before [2]uint64
	for _, at := range marks {
		talked, left := r.talk.within(at), r.leaves.within(at)
		if now := [2]uint64{talked, left}; now != before {
			add(at.String(), talked, left)
			before = now
		}
		if talked == r.talk.total && left == r.leaves.total {
			break
		}
	}
	if late, left := r.talk.n[binCount], r.leaves.n[binCount]; late+left > 0 {
		add("any time", r.talk.total, r.leaves.total)
	}
	t.Chart = r.curveChart()
	return t
}
