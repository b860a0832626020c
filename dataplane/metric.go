package dataplane

import (
	"iter"

	"hushgate/internal/numbers"
	"hushgate/internal/policy"
)

// Each yields every number of t, in the order of the fields. It is not meant for the packet path.
func (t *Stats) Each() iter.Seq[numbers.Number] { return numbers.Group{}.Each(t) }

// Add adds the numbers of another shard.
func (t *Stats) Add(o *Stats) { numbers.Add(t, o) }

// LabelValue implements numbers.Labeller.
func (*Stats) LabelValue(label string, i int) string { return labelValue(label, i) }

// LabelValue implements numbers.Labeller.
func (*Tables) LabelValue(label string, i int) string { return labelValue(label, i) }

// labelValue returns the label's value for element i of an array.
func labelValue(label string, i int) string {
	switch label {
	case "reason":
		return Drop(i).String()
	case "phase":
		return Phase(i).String()
	case "verdict":
		return Verdict(i).String()
	case "closed_by":
		return Ends(i).String()
	case "outcome":
		return AdoptOutcome(i).String()
	case "answer":
		return AnswerOutcome(i).String()
	case "table":
		return Table(i).String()
	}
	return ""
}

// EachCount yields the numbers of rules and lists of a policy, under their names.
func EachCount(c *policy.Counts) iter.Seq[numbers.Number] {
	return func(yield func(numbers.Number) bool) {
		for _, r := range c.Rules {
			for n := range (numbers.Group{}).Each(r, numbers.Label{Name: "rule", Value: r.Rule.Full()}) {
				if !yield(n) {
					return
				}
			}
		}
		for _, l := range c.Lists {
			for n := range (numbers.Group{}).Each(l, numbers.Label{Name: "list", Value: l.Name}) {
				if !yield(n) {
					return
				}
			}
		}
	}
}
