package numbers

import (
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Number is one number, as it was when it was read.
type Number struct {
	Name   string  // lower case, words joined by _; with the prefix of its group
	Word   string  // the name without the prefix
	Help   string  // what is counted
	Labels []Label // what distinguishes numbers of one name, those of the whole struct first
	Unit   Unit
	Gauge  bool   // a present number that can shrink; the others are counters
	Value  uint64 // in Unit; one below 0 is shown as 0
}

// Label distinguishes numbers of one name.
type Label struct{ Name, Value string }

// Unit says what a value of 1 is.
type Unit string

// The units.
const (
	Count       Unit = ""
	Nanoseconds Unit = "nanoseconds"
	Moment      Unit = "unix nanoseconds" // since 1970; 0: never
)

// Labeller names the elements of a struct's arrays.
type Labeller interface {
	LabelValue(label string, i int) string
}

// Group is a kind of thing that has numbers.
type Group struct {
	Message string // by which the log tells them
	Prefix  string // of their names
}

// Each yields every number of a struct, or of a pointer to one, in the order of the fields. It uses reflection, and is not meant for the packet path.
func (g Group) Each(of any, labels ...Label) iter.Seq[Number] {
	return func(yield func(Number) bool) {
		v := reflect.Indirect(reflect.ValueOf(of))
		namer, _ := of.(Labeller)
		help := ""
		for i := range v.NumField() {
			about := v.Type().Field(i)
			word := about.Tag.Get("name")
			if word == "" {
				continue
			}
			if h := about.Tag.Get("help"); h != "" {
				help = h
			}
			n := Number{Name: g.Prefix + word, Word: word, Help: help, Labels: labels, Gauge: about.Tag.Get("gauge") != ""}
			if !each(n, about.Tag.Get("label"), v.Field(i), namer, yield) {
				return
			}
		}
	}
}

// each yields the numbers of one field.
func each(n Number, label string, field reflect.Value, namer Labeller, yield func(Number) bool) bool {
	if name, value, fixed := strings.Cut(label, "="); fixed {
		return yield(n.of(field).with(name, value))
	}
	switch field.Kind() {
	case reflect.Array:
		for i := range field.Len() {
			if !yield(n.of(field.Index(i)).with(label, namer.LabelValue(label, i))) {
				return false
			}
		}
		return true
	case reflect.Map:
		values := field.Interface().(map[string]uint64)
		for _, key := range slices.Sorted(maps.Keys(values)) {
			if !yield(n.of(reflect.ValueOf(values[key])).with(label, key)) {
				return false
			}
		}
		return true
	default:
		return yield(n.of(field))
	}
}

// with adds a label.
func (n Number) with(name, value string) Number {
	n.Labels = append(slices.Clip(n.Labels), Label{name, value})
	return n
}

// of sets the value, and what follows from its type.
func (n Number) of(v reflect.Value) Number {
	switch t := v.Interface().(type) {
	case time.Duration:
		n.Unit, n.Value = Nanoseconds, uint64(max(t, 0))
		return n
	case time.Time:
		n.Unit, n.Gauge = Moment, true
		if !t.IsZero() {
			n.Value = uint64(max(t.UnixNano(), 0))
		}
		return n
	case bool:
		n.Gauge = true
		if t {
			n.Value = 1
		}
		return n
	}
	if v.CanInt() {
		n.Gauge, n.Value = true, uint64(max(v.Int(), 0))
		return n
	}
	n.Value = v.Uint()
	return n
}

// Add adds every number of a struct to that of another one of the same type. Both are pointers. Moments and truth values are not added.
func Add(sum, more any) { add(reflect.ValueOf(sum).Elem(), reflect.ValueOf(more).Elem()) }

func add(sum, more reflect.Value) {
	switch {
	case sum.Kind() == reflect.Struct:
		for i := range sum.NumField() {
			if sum.Type().Field(i).Tag.Get("name") != "" {
				add(sum.Field(i), more.Field(i))
			}
		}
	case sum.Kind() == reflect.Array:
		for i := range sum.Len() {
			add(sum.Index(i), more.Index(i))
		}
	case sum.CanUint():
		sum.SetUint(sum.Uint() + more.Uint())
	case sum.CanInt():
		sum.SetInt(sum.Int() + more.Int())
	}
}
