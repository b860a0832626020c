package dataplane

import (
	"fmt"
	"math"
)

// ShareTreatments gives all shards of another process one list of treatments, for a takeover in which connections come to other
// shards than they were in: each shard numbers the treatments by itself. The function that it returns gives a connection of one of
// those shards its number in the new list.
func ShareTreatments(states []*ShardState) (renumber func(shard int, v *FlowState)) {
	treated, older := union[TreatedState]{}, union[oldTreatments]{}
	treated.add(TreatedState{}) // what nobody has
	numbers := make([]numbering, len(states))
	for i, v := range states {
		if v.Treatments != nil && len(v.Treatments) != len(v.Texts) {
			return func(int, *FlowState) {} // Resume refuses this state
		}
		for _, t := range v.Treated {
			numbers[i].treated = append(numbers[i].treated, treated.add(t))
		}
		for g, texts := range v.Texts {
			one := oldTreatments{texts: texts}
			if v.Treatments != nil {
				one.rest = v.Treatments[g]
			}
			numbers[i].older = append(numbers[i].older, older.add(one))
		}
	}
	for _, v := range states {
		if v.Treated != nil {
			v.Treated = treated.list
		}
		if v.Texts == nil {
			continue
		}
		rest := v.Treatments != nil
		v.Texts, v.Treatments = nil, nil
		for _, one := range older.list {
			v.Texts = append(v.Texts, one.texts)
			if rest {
				v.Treatments = append(v.Treatments, one.rest)
			}
		}
	}
	return func(shard int, v *FlowState) { numbers[shard].change(v) }
}

// numbering has the new numbers of a shard's treatments, by the old ones.
type numbering struct{ treated, older []int }

func (n *numbering) change(v *FlowState) {
	if len(n.treated) > 0 {
		v.Treated = uint16(renumbered(n.treated, int(v.Treated), math.MaxUint16))
	}
	if len(n.older) > 0 {
		v.Generation = uint8(renumbered(n.older, int(v.Generation), math.MaxUint8))
	}
}

// renumbered returns a new number. One that is not known remains unknown: Restore tells.
func renumbered(numbers []int, old, unknown int) int {
	if old >= len(numbers) {
		return unknown
	}
	return min(numbers[old], unknown)
}

// oldTreatments are a generation of treatments of an older release, by service.
type oldTreatments struct {
	texts [][]string
	rest  []GenerationState
}

// union is a list without equal elements.
type union[T any] struct {
	list  []T
	known map[string]int
}

// add returns the number of an element.
func (u *union[T]) add(x T) int {
	key := fmt.Sprintf("%#v", x)
	n, known := u.known[key]
	if !known {
		if u.known == nil {
			u.known = map[string]int{}
		}
		n = len(u.list)
		u.known[key] = n
		u.list = append(u.list, x)
	}
	return n
}
