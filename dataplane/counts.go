package dataplane

import "hushgate/internal/policy"

// Counts are a shard's present numbers, for those who look at it from outside.
type Counts struct {
	Stats    Stats
	Services []int // by ServiceID: connections whose handshake is complete, and that have not ended
	Servers  []int // by ServerID: connections that it has, or is being asked to take
	Policy   policy.Counts
	Tables   Tables
	Stress   bool // tables are so full that policy shortens delays
}

// Counts returns a copy of the present numbers. It costs as much as the tables of services, servers and rules are long, however many
// connections there are.
func (s *Shard) Counts() Counts {
	return Counts{
		Stats: s.Stats(), Tables: s.Tables(), Stress: s.stress.On(), Policy: s.PolicyCounts(),
		Services: append([]int(nil), s.actives...), Servers: append([]int(nil), s.servers...),
	}
}
