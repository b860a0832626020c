package dataplane

import (
	"iter"
	"reflect"
)

// Metric is one number that Stats has, as it is shown: in the log, and to whoever else asks.
type Metric struct {
	Name  string // in the log and in metrics: lower case, words joined by _
	Help  string // what is counted
	Label string // what tells the numbers of one name apart: "reason", "phase", "verdict", "closed_by"; empty if there is one alone
	Value string // the label's value
	Gauge bool   // it says how many there are now; the others only grow
}

// Each yields every number of t, in the order of its fields. It uses reflection, and is for readers outside the packet path.
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

// eachOf yields the numbers of one field.
func eachOf(m Metric, field reflect.Value, yield func(Metric, uint64) bool) bool {
	if field.Kind() == reflect.Uint64 {
		return yield(m, field.Uint())
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

// labelValue names number i of an array whose numbers are told apart by label.
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
	}
	return ""
}
