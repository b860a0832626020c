package top

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/console"
)

// Table is how full the tables of one kind are that the shards have.
type Table struct {
	Name     string  `json:"name"`
	Entries  uint64  `json:"entries"`
	Capacity uint64  `json:"capacity"`
	Fullest  float64 `json:"fullest"` // the part of its table that the fullest shard uses, from 0 to 1
}

// use is the table of one shard.
type use struct{ entries, capacity uint64 }

// count reads the counters.
func (v *Look) count(all []admin.Counter) {
	v.Counters, v.Busy, v.Tables = map[string]uint64{}, map[string]time.Duration{}, []Table{}
	uses := map[[2]string]*use{} // by table and shard
	var order []string
	for i := range all {
		c := &all[i]
		v.Counters[c.Name] += c.Count
		table, shard := c.Labels["table"], c.Labels["shard"]
		switch c.Name {
		case "shard_busy":
			v.Busy[shard] = time.Duration(min(c.Count, 1<<62))
		case "table_entries", "table_capacity":
			u := uses[[2]string{table, shard}]
			if u == nil {
				u = &use{}
				uses[[2]string{table, shard}] = u
			}
			if !slices.Contains(order, table) {
				order = append(order, table)
			}
			if c.Name == "table_entries" {
				u.entries = c.Count
			} else {
				u.capacity = c.Count
			}
		}
	}
	for _, name := range order {
		t := Table{Name: name}
		for key, u := range uses {
			if key[0] == name && u.capacity > 0 {
				t.Entries, t.Capacity = t.Entries+u.entries, t.Capacity+u.capacity
				t.Fullest = max(t.Fullest, float64(u.entries)/float64(u.capacity))
			}
		}
		v.Tables = append(v.Tables, t)
	}
}

// limit is something that can be used up: the entries of tables, or the time of a shard.
type limit struct {
	Table
	load bool // it is a shard's time
}

var limits = list[limit]{
	title: "Limits",
	columns: []column{
		{"LIMIT", false, 0}, {"NOW", true, 2}, {"MOST", true, 3}, {"USED", true, 0}, {"FULLEST SHARD", true, 1}, {"", false, 4},
	},
	items: func(p *Picture, _ *choice) (all []limit) {
		for _, t := range p.Tables {
			all = append(all, limit{Table: t})
		}
		if p.Rates == nil {
			return all
		}
		for shard, busy := range p.Rates.Load {
			all = append(all, limit{Table{Name: "time of shard " + shard, Fullest: busy}, true})
		}
		slices.SortStableFunc(all[len(p.Tables):], func(a, b limit) int {
			return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
		})
		return all
	},
	orders: []order[limit]{
		{"kind", nil},
		{"fullest", most(func(l *limit) float64 { return l.Fullest })},
	},
	row: func(_ *Picture, l *limit) row {
		now, capacity, used := console.Size(l.Entries), console.Size(l.Capacity), l.Fullest
		switch {
		case l.load:
			now, capacity = "-", "-"
		case l.Capacity > 0:
			used = float64(l.Entries) / float64(l.Capacity)
		default:
			capacity = "-"
		}
		r := row{key: l.Name, cells: []string{l.Name, now, capacity, percent(used), percent(l.Fullest), everywhere.bar(int64(l.Fullest*1000), 1000, 20)}}
		r.style = limitStyle(l)
		return r
	},
	about: func(l *limit) []string {
		if l.load {
			return []string{l.Name + ": the part of it in which the shard did not wait for frames was " + percent(l.Fullest)}
		}
		return []string{
			fmt.Sprintf("table of %s: %d entries, room for %d", l.Name, l.Entries, l.Capacity),
			"the fullest shard uses " + percent(l.Fullest) + " of its table; when tables of connections are nearly full, delays are shortened (stress)",
		}
	},
}

// everywhere is what any terminal can show.
var everywhere = Dress{ASCII: true}

// limitStyle is how bad it is that a limit is nearly reached. Where the entries are what is remembered of clients, the oldest give way.
func limitStyle(l *limit) style {
	share := l.Fullest * 100
	switch serious := l.load || l.Name == "connections" || l.Name == "half-open"; {
	case serious && share >= float64(console.UsualThresholds.AlarmConns):
		return bad
	case share >= float64(console.UsualThresholds.WarnConns):
		return warning
	}
	return plain
}

func percent(v float64) string { return fmt.Sprintf("%.1f%%", v*100) }
