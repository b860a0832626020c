package policy

// Stress is whether a shard's tables are so full that delays are shortened. It begins when one of them is 90 % full, and ends
// when none is more than 70 % full, as in postscreen. The zero value is calm.
type Stress struct{ on bool }

// The shares of a table, in percent.
const (
	stressBegins = 90
	stressEnds   = 70
)

// Use is how full a table is. A Limit of 0 is never reached.
type Use struct{ Used, Limit int }

// On reports whether there is stress.
func (s *Stress) On() bool { return s.on }

// Update looks at the tables, and reports whether stress began or ended.
func (s *Stress) Update(tables ...Use) (changed bool) {
	share := stressBegins
	if s.on {
		share = stressEnds
	}
	above := false
	for _, u := range tables {
		used, limit := int64(u.Used)*100, int64(u.Limit)*int64(share)
		above = above || u.Limit > 0 && (used > limit || used == limit && !s.on)
	}
	changed = above != s.on
	s.on = above
	return changed
}
