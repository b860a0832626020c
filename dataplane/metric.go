package dataplane

import (
	"iter"
	"reflect"

	"hushgate/internal/policy"
)

// Metric describes one number of Stats, for the log and for other readers.
type Metric struct {
	Name  string // lower case, words joined by _
	Help  string // what is counted
	Label string // "reason", "phase", "verdict", "closed_by", "outcome", "answer", "rule" or "list": distinguishes numbers of one name; empty if there is one
	Value string // the label's value
	Gauge bool   // a present number that can shrink; the others are counters
}

// Each yields every number of t, in the order of the fields. It uses reflection, and is not meant for the packet path.
func (t *Stats) Each() iter.Seq2[Metric, uint64] {
	return func(yield func(Metric, uint64) bool) {
		fields := reflect.ValueOf(t).Elem()
		for i := range fields.NumField() {
			tag := fields.Type().Field(i).Tag
			m := Metric{Name: tag.Get("name"), Help: tag.Get("help"), Label: tag.Get("label")}
			if !eachOf(m, fields.Field(i), yield) {
				return
			}
		}
	}
}

// Add adds the numbers of another shard.
func (t *Stats) Add(o *Stats) {
	sums, more := reflect.ValueOf(t).Elem(), reflect.ValueOf(o).Elem()
	for i := range sums.NumField() {
		addTo(sums.Field(i), more.Field(i))
	}
}

func addTo(sum, more reflect.Value) {
	switch {
	case sum.Kind() == reflect.Array:
		for i := range sum.Len() {
			addTo(sum.Index(i), more.Index(i))
		}
	case sum.CanUint():
		sum.SetUint(sum.Uint() + more.Uint())
	default:
		sum.SetInt(sum.Int() + more.Int())
	}
}

// eachOf yields the numbers of one field.
func eachOf(m Metric, field reflect.Value, yield func(Metric, uint64) bool) bool {
	if field.Kind() == reflect.Uint64 {
		return yield(m, field.Uint())
	}
	if m.Gauge = field.CanInt(); m.Gauge {
		return yield(m, uint64(max(field.Int(), 0)))
	}
	for i := range field.Len() {
		n := field.Index(i)
		m.Value, m.Gauge = labelValue(m.Label, i), n.CanInt()
		v := uint64(0)
		if m.Gauge {
			v = uint64(max(n.Int(), 0))
		} else {
			v = n.Uint()
		}
		if !yield(m, v) {
			return false
		}
	}
	return true
}

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
	}
	return ""
}

// EachCount yields the numbers of rules and lists of a policy, under their names.
func EachCount(c *policy.Counts) iter.Seq2[Metric, uint64] {
	return func(yield func(Metric, uint64) bool) {
		for _, r := range c.Rules {
			m := Metric{
				Name: "rule_matches", Label: "rule", Value: r.Rule.Full(),
				Help: "connections for which a rule was the one that matched, or which a limit, a pass or another built-in rule decided about",
			}
			if !yield(m, r.Decided) {
				return
			}
		}
		for _, l := range c.Lists {
			m := Metric{Name: "list_matches", Label: "list", Value: l.Name, Help: "times that a rule asked for a client's address and it was in a list"}
			if !yield(m, l.Matches) {
				return
			}
		}
	}
}
